"""Rebuild the page and the plots from a stored result: `python -m reports capacity.json -o DIRECTORY`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.capacity_html import page
from reports.model import ReportError, load
from reports.plots import plots


def build(result_path: Path, directory: Path) -> Path:
    """Write `capacity.html` and `plots/*.svg` into the directory; returns the page's path.

    Raises:
        ReportError: when the result cannot be read or the directory not be written.
    """
    result = load(result_path)
    drawn = plots(result)
    page_path = directory / "capacity.html"
    try:
        (directory / "plots").mkdir(parents=True, exist_ok=True)
        for name, svg in drawn.items():
            (directory / "plots" / f"{name}.svg").write_text(svg, encoding="utf-8")
        page_path.write_text(page(result, drawn), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{directory}: cannot be written: {error}") from error
    return page_path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 when the page was written, 1 when the result is no good."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    parser.add_argument("result", type=Path, help="the stored result, capacity.json")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="DIRECTORY", help="default: here"
    )
    options = parser.parse_args(arguments)
    try:
        print(build(options.result, options.output))
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
