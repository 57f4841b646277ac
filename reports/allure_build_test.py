import json
import re
import shutil
from pathlib import Path

import pytest

from reports.allure_build import INSTALL, build_report, find_allure, without_counter
from reports.allure_extras import categories, write_extras
from reports.model import SCHEMA_PATH, ReportError

SAMPLE_PATH = SCHEMA_PATH.with_name("sample.json")

# A stand-in for the Allure command: it checks nothing and writes what the configuration asks for.
STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo "{version}"; exit 0; fi
config="$3"
output=$(sed -n 's/.*"output": "\\([^"]*\\)".*/\\1/p' "$config")
cp "$config" "{kept}"
if [ -n "{failing}" ]; then echo "no heap" >&2; exit 3; fi
mkdir -p "$output"
cat > "$output/index.html" <<'PAGE'
<body>
    <script async src="https://www.googletagmanager.com/gtag/js?id=G-1"></script>
    <script>
        gtag('config', 'G-1');
    </script>
    <script>kept()</script>
</body>
PAGE
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    directory = tmp_path / "allure-results"
    write_extras(directory, {"rig": "virtual"}, "bench 0.1.0")
    (directory / "1-result.json").write_text("{}")
    return directory


def stand_in(tmp_path: Path, version: str = "3.18.0", failing: str = "") -> Path:
    command = tmp_path / "tools" / "node_modules" / ".bin" / "allure"
    command.parent.mkdir(parents=True)
    command.write_text(STAND_IN.format(version=version, kept=tmp_path / "kept.json", failing=failing))
    command.chmod(0o755)
    return tmp_path / "tools"


@pytest.fixture
def _node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in needs no Node.js; the search path has none of either."""
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/node" if name == "node" else None)


@pytest.mark.usefixtures("_node")
def test_the_report_is_one_file_with_categories_and_attachments_passed_on(
    results: Path, tmp_path: Path
) -> None:
    report = tmp_path / "build" / "report" / "index.html"
    report.parent.mkdir(parents=True)
    (report.parent / "capacity.json").write_text("stays")
    history = tmp_path / "history.jsonl"
    assert build_report(results, report, stand_in(tmp_path), "x", (SAMPLE_PATH,), history) == report

    assert sorted(path.name for path in report.parent.iterdir()) == ["capacity.json", "index.html"]
    text = report.read_text()
    assert "googletagmanager" not in text
    assert "gtag" not in text
    assert "<script>kept()</script>" in text
    configuration = json.loads((tmp_path / "kept.json").read_text())
    assert configuration["plugins"]["awesome"]["options"]["singleFile"] is True
    assert configuration["categories"] == categories()
    assert configuration["globalAttachments"] == [str(SAMPLE_PATH)]
    assert configuration["historyPath"] == str(history)


def test_another_visitor_counter_is_refused() -> None:
    with pytest.raises(ReportError, match="counts visitors"):
        without_counter('<script defer src="https://www.googletagmanager.com/x.js"></script>')
    assert without_counter("<body>googletagmanager.com in a test's message</body>")


@pytest.mark.usefixtures("_node")
@pytest.mark.parametrize(
    ("version", "failing", "message"), [("2.30.0", "", "version 3 is needed"), ("3.18.0", "yes", "no heap")]
)
def test_what_allure_cannot_do_is_told(
    version: str, failing: str, message: str, results: Path, tmp_path: Path
) -> None:
    tools = stand_in(tmp_path, version, failing)
    with pytest.raises(ReportError, match=message):
        build_report(results, tmp_path / "index.html", tools)
    assert not (tmp_path / "index.html").exists()


@pytest.mark.usefixtures("_node")
def test_absent_allure_says_how_to_install_it(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=re.escape(f"npm install --prefix {tmp_path} allure@3")):
        build_report(results, tmp_path / "index.html", tmp_path)


def test_absent_node_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = stand_in(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ReportError, match="apt-get install nodejs npm"):
        find_allure(tools)


def test_no_results_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="run pytest with --alluredir"):
        build_report(tmp_path, tmp_path / "index.html", tmp_path)


REAL_TOOLS = SCHEMA_PATH.parents[1] / "build" / "tools"
REAL_ALLURE = REAL_TOOLS / "node_modules" / ".bin" / "allure"


@pytest.mark.skipif(
    not REAL_ALLURE.exists(),
    reason=f"no Allure under build/tools; install it: {INSTALL.format(tools='build/tools')}",
)
@pytest.mark.skipif(
    shutil.which("node") is None,
    reason="no Node.js to run Allure; on Debian: apt-get install nodejs npm",
)
def test_the_real_allure_makes_one_file_that_asks_nothing_of_the_network(
    results: Path, tmp_path: Path
) -> None:
    test_result = {
        "uuid": "1",
        "name": "a test",
        "status": "passed",
        "stage": "finished",
        "start": 1,
        "stop": 2,
    }
    (results / "1-result.json").write_text(json.dumps(test_result))
    report = build_report(results, tmp_path / "index.html", REAL_TOOLS, attachments=(SAMPLE_PATH,))
    text = report.read_text("utf-8")
    assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:[^"]*"', text) == []
    assert len(text) > 100_000
