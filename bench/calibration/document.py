"""From what a board measured of itself to a calibration, and to the file that keeps it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from bench.rig.calibration import OPERATIONS, Calibration, Card, Cost
from ledger.effects import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
"""Version of `ledger.measure`'s document that is understood here."""

KEPT_WITHOUT_PORT: Final = frozenset({Operation.RADIO_READ.value, Operation.RADIO_WRITE.value})
"""What is kept from published figures where the board has no SPI port to measure on."""

_SMALLEST_SPREAD: Final = 0.0001


class CalibrationError(RuntimeError):
    """A measurement that no calibration can be made of; the message says why, and the mend."""


def calibration_from(
    measured: Mapping[str, Any], published: Calibration, *, board: str, date: str
) -> tuple[Calibration, frozenset[str]]:
    """Return the calibration of a board, and which operations are kept from the published one.

    Raises CalibrationError when the document is of another version or lacks an operation that has to be
    measured.
    """
    if measured.get("format") != FORMAT:
        raise CalibrationError(
            f"the board measured in format {measured.get('format')!r}, this bench understands {FORMAT}:"
            " deploy the ledger of the same checkout"
        )
    kept = frozenset(name for name in KEPT_WITHOUT_PORT if name not in measured["operation"])
    costs = {name: _cost(name, measured, published, kept, board) for name in OPERATIONS}
    calibration = Calibration(
        board=board,
        label="calibrated",
        date=date,
        cores=measured["board"]["cores"],
        card=_card(measured["card"], published.card),
        operation=costs,
    )
    return calibration, kept


def _cost(
    name: str, measured: Mapping[str, Any], published: Calibration, kept: frozenset[str], board: str
) -> Cost:
    if name in kept:
        prior = published.operation[name]
        return prior.model_copy(
            update={"source": f"kept from the published file, this board has no SPI port: {prior.source}"}
        )
    entry = measured["operation"].get(name)
    if entry is None:
        raise CalibrationError(f"the board did not measure {name}: deploy the ledger of the same checkout")
    return Cost(
        cost_ns=max(1, round(entry["cost_ns"])),
        spread=max(_SMALLEST_SPREAD, round(entry["spread"], 4)),
        per=entry["per"],
        source=(
            f"measured on {board}: {entry['how']}, median of {entry['batches']} batches,"
            f" {entry['calls']:,} in all"
        ),
    )


def _card(counted: Mapping[str, float] | None, published: Card) -> Card:
    time_of_a_write = f"the time of a write is kept: {published.source}"
    if counted is None:
        return published.model_copy(update={"source": f"writes not counted here; {time_of_a_write}"})
    return published.model_copy(
        update={
            "writes_per_commit": max(1, math.ceil(counted["writes_per_commit"])),
            "source": (
                f"writes counted by the kernel over {counted['commits']:.0f} commits:"
                f" {counted['writes_per_commit']:.2f} requests, {counted['bytes_per_commit']:,.0f} bytes and"
                f" {counted['flushes_per_commit']:.2f} flushes each; {time_of_a_write}"
            ),
        }
    )


def file_text(calibration: Calibration, comments: list[str]) -> str:
    """Return the file that `bench.rig.calibration.load_calibration` reads, with comments at its head."""
    lines = [f"# {comment}".rstrip() for comment in comments]
    lines += [
        "",
        f"board = {_quoted(calibration.board)}",
        f"label = {_quoted(calibration.label)}",
        f"date = {_quoted(calibration.date)}",
        f"cores = {calibration.cores}",
        "",
        "[card]",
        f"write_ns = {calibration.card.write_ns:_}",
        f"writes_per_commit = {calibration.card.writes_per_commit}",
        f"spread = {calibration.card.spread}",
        f"source = {_quoted(calibration.card.source)}",
    ]
    for name, cost in calibration.operation.items():
        lines += [
            "",
            f"[operation.{name}]",
            f"cost_ns = {cost.cost_ns:_}",
            f"spread = {cost.spread}",
            f"per = {_quoted(cost.per)}",
            f"source = {_quoted(cost.source)}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # JSON escapes as TOML's basic strings do, except for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
