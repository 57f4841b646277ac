import json
import re
from pathlib import Path

import pytest

from reports.allure_extras import categories, environment, properties, write_extras
from reports.model import SCHEMA_PATH, ReportError, load

SAMPLE_PATH = SCHEMA_PATH.with_name("sample.json")


def parsed(text: str) -> dict[str, str]:
    """Read properties by the rules of java.util.Properties, as far as they are used here."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"((?:\\.|[^\\=: ])+)=(.*)", line)
        assert match, line
        found[_plain(match[1])] = _plain(match[2])
    return found


def _plain(text: str) -> str:
    names = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(r"\\(.)", lambda escape: names.get(escape[1], escape[1]), text)


def test_properties_come_back_whatever_is_in_them() -> None:
    entries = {
        "rig": "virtual village",
        "a b:c=d": " leading",
        "#x!": "tab\tnew\nline \\ back",
        "path": "C:\\new = old",
    }
    assert parsed(properties(entries)) == entries
    assert list(parsed(properties(entries))) == list(entries)


def test_the_environment_names_what_repeats_the_run_and_the_capacities() -> None:
    result = load(SAMPLE_PATH)
    entries = environment(result)
    assert entries["rig sha256"] == result["rig"]["sha256"]
    assert entries["firmware collect sha256"] == result["firmware"][0]["sha256"]
    assert entries["seeds"] == "7, 8, 9"
    assert entries["Unos per Pi"] == "10 held, 11 failed; bound by delivered"
    assert entries["sensors per Uno"] == "12 held; bound by pins"


@pytest.mark.parametrize(
    ("status", "trace", "category"),
    [
        ("failed", "AssertionError: RigError is named in the message", "System under test: an assertion"),
        ("broken", "bench.rig.seats.RigError: no such port", "Infrastructure"),
        ("broken", "fabric.exceptions.ConnectionError", "Infrastructure"),
        ("broken", "KeyError: 'issuer'", "System under test or test code"),
        ("skipped", "", "Not run"),
    ],
)
def test_the_first_category_that_matches_tells_rig_and_product_apart(
    status: str, trace: str, category: str
) -> None:
    first = next(
        entry["name"]
        for entry in categories()
        if status in entry["matchedStatuses"] and re.search(str(entry.get("traceRegex", "")), trace)
    )
    assert str(first).startswith(category)


def test_the_three_files_are_written_where_there_was_no_folder(tmp_path: Path) -> None:
    write_extras(tmp_path / "new" / "allure-results", {"rig": "virtual"}, "bench 0.1.0, seed 7", ["LabError"])

    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "new" / "allure-results").iterdir()}
    assert set(written) == {"environment.properties", "categories.json", "executor.json"}
    assert written["environment.properties"] == "rig=virtual\n"
    assert json.loads(written["executor.json"])["buildName"] == "bench 0.1.0, seed 7"
    assert "LabError" in written["categories.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="file: cannot be written"):
        write_extras(tmp_path / "file", {}, "x")
