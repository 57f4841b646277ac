"""Which sensor plays which circuit of the data set, and from which row on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.sensors.circuit import Circuit, circuits
from bench.sensors.dataset import DatasetError
from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.sensors.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Assignment:
    """What sensor `index` (counted over all Unos and channels of a branch) plays."""

    index: int
    circuit: Circuit
    offset_row: int
    offset_ns: int

    @property
    def description(self) -> str:
        """A line for the report."""
        begin = f" from row {self.offset_row + 1} ({_days(self.offset_ns)} in)" if self.offset_row else ""
        return f"sensor {self.index}: {self.circuit.name}{begin}"


def assign_sensors(dataset: Dataset, count: int, columns: Sequence[str] = ()) -> tuple[Assignment, ...]:
    """Give each of `count` sensors its circuit: sensor k plays circuit k mod m of m, from a row that depends
    on k div m.

    The first m begin at the first row, the next m in the middle, then at a quarter, at three quarters, an
    eighth, ... (the base-2 van der Corput sequence), so sensors of one circuit differ, and what a sensor
    plays does not depend on how many there are. `columns` names the circuits in place of all. Raises
    DatasetError.
    """
    if count < 0:
        raise DatasetError(f"number of sensors: expected 0 or more, found {count}")
    found = circuits(dataset, columns)
    assignments = []
    for index in range(count):
        turn, which = divmod(index, len(found))
        row = _spread(turn, dataset.rows)
        assignments.append(Assignment(index, found[which], row, int(dataset.starts_ns[row])))
    return tuple(assignments)


def _spread(turn: int, rows: int) -> int:
    """The row at the fraction of the data that has the bits of `turn` in reverse behind its point."""
    width = turn.bit_length()
    reverse = int(f"{turn:0{width or 1}b}"[::-1], 2)
    return reverse * rows >> width


def _days(offset_ns: int) -> str:
    minutes = offset_ns // (60 * NS_PER_S)
    days, minutes = divmod(minutes, 24 * 60)
    return f"{days} d {minutes // 60:02}:{minutes % 60:02}"
