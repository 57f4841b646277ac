"""Build the Allure report as one HTML file with the Allure 3 command line, installed by npm.

    npm install --prefix build/tools allure@3

The finished file is made to need no network: Allure's page loads a visitor counter, which is cut out.
"""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from reports.model import ReportError

INSTALL = "npm install --prefix {tools} allure@3"

_COUNTER = re.compile(
    r"<script async src=\"https://www\.googletagmanager\.com/[^>]*></script>\s*<script>.*?</script>\s*",
    re.DOTALL,
)
_COUNTER_HOST = "googletagmanager.com"


def find_allure(tools: Path) -> Path:
    """The Allure 3 command under the tools folder, or on the search path.

    Raises:
        ReportError: when there is none, or no Node.js to run it, with the command that installs it.
    """
    install = INSTALL.format(tools=tools)
    own = tools / "node_modules" / ".bin" / "allure"
    elsewhere = shutil.which("allure")
    command = own if own.is_file() else Path(elsewhere) if elsewhere else None
    if command is None:
        raise ReportError(f"the Allure 3 command line is not installed under {tools}; install it: {install}")
    if shutil.which("node") is None:
        raise ReportError(
            "Node.js is not installed, and Allure 3 needs it; on Debian: apt-get install nodejs npm"
        )
    version = _run([str(command), "--version"]).strip()
    if not version.startswith("3."):
        raise ReportError(
            f"{command} is Allure {version or 'of unknown version'}, version 3 is needed; {install}"
        )
    return command


def build_report(
    results_directory: Path,
    report_path: Path,
    tools: Path,
    name: str = "DAG bench",
    attachments: tuple[Path, ...] = (),
    history_path: Path | None = None,
) -> Path:
    """Make one HTML file from an allure-results folder; returns its path.

    `attachments` are files that belong to the whole run; `history_path` is a JSONL file that carries
    outcomes from run to run and is extended by this one.

    Raises:
        ReportError: when there are no results, no Allure, or Allure gives up; with what it said.
    """
    if not any(results_directory.glob("*-result.json")):
        raise ReportError(
            f"{results_directory}: no Allure results in it; run pytest with --alluredir={results_directory}"
        )
    allure = find_allure(tools)
    with tempfile.TemporaryDirectory(prefix="allure-report-") as scratch:
        generated = Path(scratch) / "report"
        configuration = Path(scratch) / "allurerc.json"
        configuration.write_text(
            json.dumps(_configuration(results_directory, generated, name, attachments, history_path)),
            encoding="utf-8",
        )
        # The working directory is a scratch one, because Allure looks there for a configuration of its own.
        said = _run(
            [
                str(allure.resolve()),
                "generate",
                "--config",
                str(configuration),
                str(results_directory.resolve()),
            ],
            directory=Path(scratch),
        )
        index = generated / "index.html"
        if not index.is_file():
            raise ReportError(f"Allure wrote no report: {said.strip()[-400:]}")
        text = without_counter(index.read_text(encoding="utf-8"))
    try:
        report_path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = report_path.with_name(report_path.name + ".part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(report_path)
    except OSError as error:
        raise ReportError(f"{report_path}: cannot be written: {error}") from error
    return report_path


def without_counter(page: str) -> str:
    """The report without the visitor counter. Raises ReportError when one is left, rather than ship it."""
    cleaned = _COUNTER.sub("", page)
    if re.search(rf"<script[^>]*{re.escape(_COUNTER_HOST)}", cleaned):
        raise ReportError(
            "this version of Allure counts visitors in a way that is not known here; install 3.18"
        )
    return cleaned


def _configuration(
    results_directory: Path,
    generated: Path,
    name: str,
    attachments: tuple[Path, ...],
    history_path: Path | None,
) -> dict[str, object]:
    options = {"reportName": name, "singleFile": True, "groupBy": ["suite"], "reportLanguage": "en"}
    configuration: dict[str, object] = {
        "name": name,
        "output": str(generated),
        "plugins": {"awesome": {"options": options}},
    }
    stored_categories = results_directory / "categories.json"
    if stored_categories.is_file():
        configuration["categories"] = json.loads(stored_categories.read_text(encoding="utf-8"))
    if attachments:
        configuration["globalAttachments"] = [str(path.resolve()) for path in attachments]
    if history_path is not None:
        configuration["historyPath"] = str(history_path.resolve())
        configuration["appendHistory"] = True
    return configuration


def _run(command: list[str], directory: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    except OSError as error:
        raise ReportError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise ReportError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout
