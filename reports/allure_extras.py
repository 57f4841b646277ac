"""What the Allure report shows besides the tests: the environment, the categories, and who ran it.

Allure reads `environment.properties`, `categories.json` and `executor.json` from its results folder
(Allure 3 takes categories from its own configuration; reports.allure_build passes these on).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.model import CapacityResult, ReportError
from reports.style import AXIS_NAMES, words

INFRASTRUCTURE_ERRORS = (
    "RigError",
    "InfrastructureError",
    "ConnectionError",
    "TimeoutError",
    "OSError",
)
"""Exceptions that say that the rig failed and not what it tests, by the end of their class name."""

Category = dict[str, str | list[str]]


def categories(infrastructure_errors: Sequence[str] = INFRASTRUCTURE_ERRORS) -> list[Category]:
    """Which failure is whose, first match first: a criterion that failed is never infrastructure."""
    rig_failed = "|".join(infrastructure_errors)
    return [
        {"name": "System under test: an assertion did not hold", "matchedStatuses": ["failed"]},
        {
            "name": "Infrastructure: the rig could not be brought to a known state",
            "matchedStatuses": ["broken"],
            "traceRegex": rf"\b\w*({rig_failed})\b",
        },
        {"name": "System under test or test code: an unexpected exception", "matchedStatuses": ["broken"]},
        {"name": "Not run: this rig lacks what the test needs", "matchedStatuses": ["skipped"]},
    ]


def environment(result: CapacityResult) -> dict[str, str]:
    """What a reader must know to repeat the run, and the capacities, as names and values."""
    entries = {"rig": result["rig"]["name"]}
    for capacity in result["capacities"]:
        held, failed = capacity["largest_held"], capacity["smallest_failed"]
        beside = f", {failed} failed" if failed is not None else ""
        bound = words(capacity["bound_by"] or "not known")
        name = AXIS_NAMES[capacity["axis"]]
        entries[name] = f"{held if held is not None else 'none'} held{beside}; bound by {bound}"
    entries["seeds"] = ", ".join(map(str, result["seeds"]))
    entries["bench"] = result["bench_version"]
    for image in result["firmware"]:
        entries[f"firmware {image['profile']} sha256"] = image["sha256"]
    for data_set in result["data_sets"]:
        entries[f"{data_set['name']} sha256"] = data_set["sha256"]
    entries["rig sha256"] = result["rig"]["sha256"]
    return entries


def write_extras(
    results_directory: Path,
    environment_entries: Mapping[str, str],
    build_name: str,
    infrastructure_errors: Sequence[str] = INFRASTRUCTURE_ERRORS,
) -> None:
    """Write the three files into an allure-results folder, which is made when it is not there yet.

    Raises:
        ReportError: when the folder cannot be written.
    """
    executor = {"name": "DAG bench", "type": "bench", "buildName": build_name, "reportName": "DAG bench"}
    files = {
        "environment.properties": properties(environment_entries),
        "categories.json": json.dumps(categories(infrastructure_errors), indent=2) + "\n",
        "executor.json": json.dumps(executor, indent=2, ensure_ascii=False) + "\n",
    }
    try:
        results_directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (results_directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{results_directory}: cannot be written: {error}") from error


def properties(entries: Mapping[str, str]) -> str:
    """Java properties text (java.util.Properties), in the order of the entries."""
    return "".join(
        f"{_escaped(key, in_key=True)}={_escaped(value, in_key=False)}\n" for key, value in entries.items()
    )


def _escaped(text: str, in_key: bool) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if in_key:
        for special in " :=#!":
            escaped = escaped.replace(special, f"\\{special}")
    elif escaped.startswith(" "):
        escaped = f"\\{escaped}"
    return escaped
