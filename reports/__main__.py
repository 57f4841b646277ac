"""Rebuild a report from stored files.

    python -m reports capacity.json -o DIRECTORY
    python -m reports capacity.json -o DIRECTORY --allure-results RESULTS --tools build/tools

The first writes capacity.html and the plots; the second also index.html, the Allure report.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.allure_build import build_report
from reports.allure_extras import environment, write_extras
from reports.capacity_html import page
from reports.model import ReportError, load
from reports.plots import plots

_PAGES = ("capacity.html", "index.html")
_PLOTS = ("airtime", "fan_in_*", "free", "latency", "missing")


def clear(directory: Path) -> None:
    """Remove the pages and plots of an earlier result.

    Raises:
        ReportError: when one of them cannot be removed.
    """
    stale = [directory / name for name in _PAGES]
    stale += [plot for name in _PLOTS for plot in directory.glob(f"plots/{name}.svg")]
    try:
        for path in stale:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(f"{directory}: an earlier report cannot be removed: {error}") from error


def build(result_path: Path, directory: Path) -> Path:
    """Write `capacity.html` and `plots/*.svg` into the directory; returns the page's path.

    Raises:
        ReportError: when the result cannot be read or the directory not be written.
    """
    result = load(result_path)
    page_path = directory / "capacity.html"
    try:
        (directory / "plots").mkdir(parents=True, exist_ok=True)
        drawn = plots(result)
        for name, svg in drawn.items():
            (directory / "plots" / f"{name}.svg").write_text(svg, encoding="utf-8")
        page_path.write_text(page(result, drawn), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{directory}: cannot be written: {error}") from error
    return page_path


def build_with_allure(result_path: Path, directory: Path, results_directory: Path, tools: Path) -> Path:
    """`build`, then `index.html` by Allure with page and result attached; returns the path of index.html.

    Raises:
        ReportError: as `build` and reports.allure_build.build_report.
    """
    page_path = build(result_path, directory)
    result = load(result_path)
    seeds = ", ".join(map(str, result["seeds"]))
    write_extras(results_directory, environment(result), f"bench {result['bench_version']}, seeds {seeds}")
    return build_report(
        results_directory, directory / "index.html", tools, attachments=(page_path, result_path)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 when everything asked for was written, 1 when an input is no good."""
    parser = argparse.ArgumentParser(
        prog="python -m reports", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path, help="the stored result, capacity.json")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="DIRECTORY", help="default: here"
    )
    parser.add_argument("--allure-results", type=Path, metavar="RESULTS", help="folder that pytest wrote")
    parser.add_argument(
        "--tools",
        type=Path,
        default=Path("build/tools"),
        help="where npm installed Allure; default: %(default)s",
    )
    options = parser.parse_args(arguments)
    try:
        if options.allure_results is None:
            written = build(options.result, options.output)
        else:
            written = build_with_allure(options.result, options.output, options.allure_results, options.tools)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
