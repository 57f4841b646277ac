"""Judges a rig by all suites and builds the report from what they leave."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench.campaign import RESULT_FILE
from bench.rig.loader import load_rig
from reports.__main__ import build as build_pages
from reports.allure_build import build_report, find_allure
from reports.allure_extras import environment, write_extras
from reports.model import load

_RESULTS = "allure-results"
_TOOLS = Path("build/tools")


def run_suites(rig: Path, seed: int, report: Path, *, short: bool) -> int:
    """Run pytest on the suites, then build `index.html` and `capacity.html`; returns pytest's exit status.

    Raises RigError for a wrong rig file, and ReportError where the report cannot be built.
    """
    named = load_rig(rig).name
    find_allure(_TOOLS)
    shutil.rmtree(report / _RESULTS, ignore_errors=True)
    print(f"bench: judging {named!r} ({rig}), seed {seed}", flush=True)
    command = [
        *(sys.executable, "-m", "pytest", "--rig", str(rig), "--seed", str(seed)),
        *("--report", str(report), "--alluredir", str(report / _RESULTS), "-v"),
        *(["--short"] if short else []),
    ]
    status = subprocess.run(command, check=False).returncode
    result_path = report / RESULT_FILE
    if not result_path.exists():
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
