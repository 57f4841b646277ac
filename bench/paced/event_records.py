"""What a daemon of the ledger told, as records of a trial's trace and as sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.world.trace import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.world.trace import Value

_SUMS: Final = "status"
"""An event that is told every ten seconds and at the end of a process; it sums up what is told besides."""
_BIRTH: Final = "started"
"""The first event of a process."""


@dataclass(frozen=True, slots=True)
class EventRecords:
    """The events of one daemon over all its lives."""

    records: list[Record]
    spent: Counter[str]
    """By `ledger.effects.Operation`, without what a killed life did after its last status."""
    rejected: Counter[str]
    repeats: int
    blocks: int
    resident_peak_bytes: int

    @classmethod
    def of(cls, source: str, events: Iterable[Mapping[str, Any]], offset_ns: int) -> EventRecords:
        """Read events in the order of telling; `offset_ns` is the Unix time of the world's zero."""
        told = [event for event in events if isinstance(event.get("t_ns"), int) and "event" in event]
        sums = [event for event in told if event["event"] == _SUMS]
        news = [event for event in told if event["event"] != _SUMS]
        return cls(
            records=[
                Record(max(0, event["t_ns"] - offset_ns), source, str(event["event"]), _fields(event))
                for event in news
            ],
            spent=_over_lives(told),
            rejected=Counter(str(event["reason"]) for event in news if event["event"] == "rejected"),
            repeats=sum(event["event"] == "reading_stored" and bool(event.get("repeat")) for event in news),
            blocks=sum(event["event"] == "block_stored" for event in news),
            resident_peak_bytes=max((int(event.get("rss_bytes", 0)) for event in sums), default=0),
        )


def _fields(event: Mapping[str, Any]) -> dict[str, Value]:
    """What a trace can hold: plain values, everything else as text."""
    return {
        name: value if isinstance(value, int | str) else str(value)
        for name, value in event.items()
        if name not in ("t_ns", "event")
    }


def _over_lives(told: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Add up counts that begin at 0 again with each life of the process, which begins by telling so."""
    total: Counter[str] = Counter()
    last: Mapping[str, int] = {}
    for event in told:
        if event["event"] == _BIRTH:
            total.update(last)
            last = {}
        elif event["event"] == _SUMS:
            last = event.get("spent", {})
    total.update(last)
    return total
