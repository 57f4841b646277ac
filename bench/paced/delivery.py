"""Whether all that was measured in a window has found its way, so that it need not be waited for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.world.trace import Record

Measurement = tuple[str, int]
"""The Uno's name and the snapshot's counter."""


class Delivery:
    """Follows a world's records, which only ever grow.

    Of Unos that cannot be looked into it learns nothing, and so never says that all is delivered.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._read = 0
        self._measured: dict[Measurement, int] = {}
        self._settled: set[Measurement] = set()

    def is_complete(self, window_end_ns: int) -> bool:
        """Whether every snapshot taken before this time was acknowledged, or given up by its Uno."""
        end = len(self._records)
        for record in self._records[self._read : end]:
            if "counter" not in record.fields:
                continue
            measurement = record.source, int(record.fields["counter"])
            if record.kind == "snapshot":
                self._measured[measurement] = record.t_ns
            elif record.kind in ("acked", "dropped"):
                self._settled.add(measurement)
        self._read = end
        due = [measurement for measurement, t_ns in self._measured.items() if t_ns < window_end_ns]
        return bool(due) and self._settled.issuperset(due)
