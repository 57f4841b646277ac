"""``python -m ledger.measure``: what the ledger costs on this machine, as a table or as one JSON object.

Exit status: 0 measured; 1 not, the reason on standard error; 2 used wrongly. Set ``PYTHONHASHSEED=0`` for
figures that repeat as well as they can.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from ledger.gateway.spidev import SpiDevice, WiringError
from ledger.gateway.sx1278 import RadioError
from ledger.measure.derivation import DerivationError
from ledger.measure.session import DEFAULT_COMMITS, DEFAULT_ROUNDS, Plan, measure
from ledger.measure.timing import CoreError
from ledger.store import StoreError


def main(arguments: list[str] | None = None) -> int:
    """Measure as told on the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    port = None
    try:
        if options.spi is not None:
            port = SpiDevice(*options.spi)
        document = measure(Plan(options.folder, options.rounds, options.commits, options.core), port)
    except (CoreError, StoreError, RadioError, WiringError, DerivationError) as error:
        print(f"ledger.measure: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"ledger.measure: {error.filename or options.folder}: {error.strerror or error}", file=sys.stderr
        )
        return 1
    finally:
        if port is not None:
            port.close()
    print(json.dumps(document) if options.json else _table(document))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ledger.measure", description="What the ledger costs here."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="DIR",
        help="folder on the card that the store lies on",
    )
    parser.add_argument(
        "--rounds", type=_whole(1, 1000), default=DEFAULT_ROUNDS, metavar="N", help="rounds that count"
    )
    parser.add_argument(
        "--commits",
        type=_whole(1, 100_000),
        default=DEFAULT_COMMITS,
        metavar="N",
        help="commits per count of writes",
    )
    parser.add_argument("--core", type=_whole(0, 4095), default=None, metavar="N", help="core to stay on")
    parser.add_argument(
        "--spi", type=_spi, metavar="BUS.SELECT", help="measure transfers to the radio chip there too, as 0.0"
    )
    return parser


def _spi(text: str) -> tuple[int, int]:
    matched = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", text)
    if matched is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no bus and chip select, as 0.0")
    return int(matched[1]), int(matched[2])


class _whole:  # noqa: N801  # argparse names the type in its message
    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not self._low <= int(text) <= self._high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {self._low} to {self._high}")
        return int(text)


def _table(document: dict[str, Any]) -> str:
    board = document["board"]
    lines = [f"{board['model']}, core {document['core']} of {board['cores']}, {document['rounds']} rounds"]
    for name, entry in document["operation"].items():
        lines.append(
            f"{name:16} {entry['cost_ns']:14,.0f} ns  spread {entry['spread']:.4f}  per {entry['per']}"
        )
    for name, entry in document["composite"].items():
        lines.append(
            f"{name:20} {entry['cpu_ns']:14,.0f} ns  spread {entry['spread']:.4f}"
            f"  charged {entry['charged_ns'] / entry['cpu_ns']:.2f} of it"
        )
    card = document["card"]
    if card is not None:
        lines.append(
            f"a commit writes {card['writes_per_commit']:.2f} times, {card['bytes_per_commit']:,.0f} bytes"
        )
    lines += [f"doubt: {doubt}" for doubt in document["doubts"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
