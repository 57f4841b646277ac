"""Judges a rig by all suites and builds the report from what they leave."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.campaign import RESULT_FILE
from bench.rig.loader import load_rig
from reports.__main__ import build as build_pages
from reports.__main__ import clear as clear_pages
from reports.allure_build import build_report, find_allure
from reports.allure_extras import environment, write_extras
from reports.model import ReportError, load

_RESULTS = "allure-results"
_TOOLS = Path("build/tools")


def run_suites(rig: Path, seed: int, report: Path, *, short: bool) -> int:
    """Run pytest on the suites, then build `index.html` and `capacity.html`; returns pytest's exit status.

    Raises RigError for a wrong rig file, ReportError where the report cannot be built, and KeyboardInterrupt
    when one has ended the suites.
    """
    named = load_rig(rig).name
    find_allure(_TOOLS)
    _clear(report)
    print(f"bench: judging {named!r} ({rig}), seed {seed}", flush=True)
    command = [
        *(sys.executable, "-m", "pytest", "--rig", str(rig), "--seed", str(seed)),
        *("--report", str(report), "--alluredir", str(report / _RESULTS), "-v"),
        *(["--short"] if short else []),
    ]
    status = _judge(command)
    result_path = report / RESULT_FILE
    if not result_path.exists():
        print("bench: the run left no capacities, and no report; what ended it stands above", file=sys.stderr)
        return status or 1
    result = load(result_path)
    write_extras(report / _RESULTS, environment(result), f"{named}, seed {seed}")
    capacity_page = build_pages(result_path, report)
    index = build_report(
        report / _RESULTS, report / "index.html", _TOOLS, attachments=(result_path, capacity_page)
    )
    print(f"bench: capacities in {capacity_page} and {result_path}")
    print(f"bench: report in {index}")
    return status


def _clear(report: Path) -> None:
    """Make the folder, and take an earlier run's report out of it. Raises ReportError."""
    results = report / _RESULTS
    try:
        if results.exists():
            shutil.rmtree(results)
        results.mkdir(parents=True)
        (report / RESULT_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(
            f"{report} cannot be written ({error.strerror or error}): name another folder by --report"
        ) from None
    clear_pages(report)


def _judge(command: Sequence[str]) -> int:
    """Run pytest to its end; returns its exit status.

    A Ctrl-C reaches pytest as well, which then writes what was found and takes the rig down. That is waited
    for; a second one ends it at once. Either is raised on.
    """
    with subprocess.Popen(command) as suites:
        try:
            return suites.wait()
        except KeyboardInterrupt:
            try:
                print("\nbench: stopping; the rig is taken down (Ctrl-C again: at once)", file=sys.stderr)
                suites.wait()
            except KeyboardInterrupt:
                suites.kill()
            raise
