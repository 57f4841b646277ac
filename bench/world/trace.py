"""The trace: one ordered stream of all that happened, to which files, judges and plots subscribe."""

import hashlib
import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

Value = int | str | bytes | bool


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened: when (ns of virtual time), to whom, what, and its particulars."""

    t_ns: int
    source: str
    kind: str
    fields: dict[str, Value] = field(default_factory=dict)

    def line(self) -> str:
        """The canonical form, one JSON array a line; bytes as hexadecimal digits."""
        fields = {k: v.hex() if isinstance(v, bytes) else v for k, v in self.fields.items()}
        return json.dumps([self.t_ns, self.source, self.kind, fields], separators=(",", ":"), sort_keys=True)


Subscriber = Callable[[Record], None]


class Trace:
    """Puts records into the order of (time, source, order within the source) and hands them on.

    Parts of the virtual world run ahead of each other, so a record waits here until `settle(t_ns)` says
    that nothing earlier can come any more.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str, int, Record]] = []
        self._made = 0
        self._settled_ns = 0
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with each settled record from now on."""
        self._subscribers.append(subscriber)

    def record(self, t_ns: int, source: str, kind: str, /, **fields: Value) -> None:
        """Note that `kind` happened to `source` at `t_ns`, which must not be settled already."""
        self.add(Record(t_ns, source, kind, fields))

    def add(self, record: Record) -> None:
        """Note what another part of the world has recorded; it must not be settled already."""
        if record.t_ns < self._settled_ns:
            raise ValueError(
                f"{record.source} records {record.kind} at {record.t_ns} ns, "
                f"but {self._settled_ns} ns is settled"
            )
        self._made += 1
        heapq.heappush(self._waiting, (record.t_ns, record.source, self._made, record))

    def settle(self, before_ns: int | None = None) -> None:
        """Hand on all records earlier than `before_ns` (all, when None)."""
        while self._waiting and (before_ns is None or self._waiting[0][0] < before_ns):
            record = heapq.heappop(self._waiting)[3]
            for subscriber in self._subscribers:
                subscriber(record)
        if before_ns is not None:
            self._settled_ns = max(self._settled_ns, before_ns)


class TraceFile:
    """Subscriber that writes the canonical lines to a text stream and hashes the same bytes.

    Equal traces have equal hashes, on every host.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def __call__(self, record: Record) -> None:
        """Write one record."""
        line = record.line() + "\n"
        self._file.write(line)
        self._digest.update(line.encode())

    def hexdigest(self) -> str:
        """SHA-256 of the file's content so far."""
        return self._digest.hexdigest()
