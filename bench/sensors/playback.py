"""A column laid over the time of a trial: from a chosen row on, over and over, with its exact energy."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from bench.sensors.dataset import PICOJOULES_PER_MWH, DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bench.sensors.dataset import Column

MAX_WINDOWS = 5_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a row that a trial plays, and when in the trial."""

    row: int
    start_ns: int
    stop_ns: int


def windows(starts_ns: NDArray[np.int64], span_ns: int, offset_ns: int, duration_ns: int) -> Iterator[Window]:
    """Rows in the order of play over [0, duration_ns) of a trial that begins `offset_ns` into the data.

    `starts_ns` begins with 0 and ascends; after `span_ns` the data starts over. Raises DatasetError when that
    would be so often that the trial could not be reckoned.
    """
    if duration_ns // span_ns * len(starts_ns) > MAX_WINDOWS:
        raise DatasetError(
            f"the data lasts {span_ns} ns and would start over {duration_ns // span_ns} times; give more rows"
        )
    starts = starts_ns.tolist()
    into_ns = offset_ns % span_ns
    row = bisect_right(starts, into_ns) - 1
    begin_ns = into_ns - starts[row]
    t_ns = 0
    while t_ns < duration_ns:
        row_stop_ns = starts[row + 1] if row + 1 < len(starts) else span_ns
        stop_ns = min(duration_ns, t_ns + row_stop_ns - starts[row] - begin_ns)
        yield Window(row, t_ns, stop_ns)
        t_ns = stop_ns
        begin_ns = 0
        row = (row + 1) % len(starts)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a row as played from `start_ns` to `stop_ns` of the trial; negative energy is export."""

    start_ns: int
    stop_ns: int
    row_energy_pj: int
    row_ns: int

    def flowed_pj(self, t_ns: int) -> int:
        """Energy that flowed from `start_ns` until `t_ns` or the end, its fraction cut off (towards zero)."""
        flowed = abs(self.row_energy_pj) * (min(t_ns, self.stop_ns) - self.start_ns) // self.row_ns
        return -flowed if self.row_energy_pj < 0 else flowed


class CumulativeEnergy:
    """Import and export up to any moment, summed over pieces that follow each other from 0 on."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = [piece.start_ns for piece in pieces]
        self._imported = list(
            accumulate((max(0, piece.flowed_pj(piece.stop_ns)) for piece in pieces), initial=0)
        )
        self._exported = list(
            accumulate((max(0, -piece.flowed_pj(piece.stop_ns)) for piece in pieces), initial=0)
        )

    def _until(self, t_ns: int, sums: Sequence[int], sign: int) -> int:
        index = bisect_right(self._starts, t_ns) - 1
        if index < 0:
            return 0
        return sums[index] + max(0, sign * self._pieces[index].flowed_pj(t_ns))

    def imported_pj(self, t_ns: int) -> int:
        """Energy drawn from the grid in [0, t_ns), in pJ."""
        return self._until(t_ns, self._imported, 1)

    def exported_pj(self, t_ns: int) -> int:
        """Energy fed into the grid in [0, t_ns), in pJ."""
        return self._until(t_ns, self._exported, -1)


class Playback:
    """What one sensor measures during a trial: a power or energy column from `offset_ns` on, for
    `duration_ns`.

    Beyond the duration nothing flows.
    """

    def __init__(self, column: Column, offset_ns: int, duration_ns: int) -> None:
        self.column = column
        self.offset_ns = offset_ns
        self.duration_ns = duration_ns
        self.pieces = tuple(_pieces(column, offset_ns, duration_ns))
        self.energy = CumulativeEnergy(self.pieces)

    def power_mw(self, t_ns: int) -> int:
        """Power at `t_ns` of the trial, in mW; negative is export."""
        return self.column.power_mw(self.offset_ns + t_ns)

    def import_energy_mwh(self, t_ns: int) -> int:
        """Whole mWh drawn from the grid in [0, t_ns)."""
        return self.energy.imported_pj(t_ns) // PICOJOULES_PER_MWH

    def export_energy_mwh(self, t_ns: int) -> int:
        """Whole mWh fed into the grid in [0, t_ns)."""
        return self.energy.exported_pj(t_ns) // PICOJOULES_PER_MWH


def _pieces(column: Column, offset_ns: int, duration_ns: int) -> Iterator[Piece]:
    for window in windows(column.starts_ns, column.span_ns, offset_ns, duration_ns):
        yield Piece(
            window.start_ns, window.stop_ns, column.row_energy_pj(window.row), column.row_ns(window.row)
        )
