"""Islands: parts of the world with a calendar of their own, joined only by letters that take their time.

No letter arrives sooner than the lookahead after it was sent. So all islands may play the next stretch of
that length without knowing what the others do in it, in one process or in several: the outcome is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bench.world.simulation import NS_PER_S, Simulation
from bench.world.trace import Record, Trace

# Islands without appointments are asked for their records at least this often.
_ROLL_CALL_NS = 10 * NS_PER_S

Receive = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to an address on another island, and when it arrives."""

    island: str
    address: str
    arrival_ns: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of a stretch: settled records, letters to others, the time of the next appointment."""

    records: list[Record]
    letters: list[Letter]
    next_ns: int | None


class Island:
    """A simulation and a trace, with a letter box."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.simulation = Simulation()
        self.trace = Trace()
        self._records: list[Record] = []
        self._letters: list[Letter] = []
        self._receivers: dict[str, Receive] = {}
        self.trace.subscribe(self._records.append)

    def receive_at(self, address: str, receive: Receive) -> None:
        """Have letters to this address handed to `receive` when they arrive."""
        self._receivers[address] = receive

    def send(self, letter: Letter) -> None:
        """Give a letter to another island to the post."""
        self._letters.append(letter)

    def advance(self, until_ns: int, letters: Sequence[Letter]) -> Report:
        """Take letters in, play until just before `until_ns`, and report."""
        for letter in letters:
            receive = partial(self._receivers[letter.address], letter.payload)
            self.simulation.at(letter.arrival_ns, letter.address, receive)
        self.simulation.run(until_ns)
        self.trace.settle(until_ns)
        report = Report(self._records[:], self._letters[:], self.simulation.next_ns())
        self._records.clear()
        self._letters.clear()
        return report


class Host(Protocol):
    """Where islands are played; `begin` and `end` frame a stretch, so that hosts can play it side by side."""

    @property
    def islands(self) -> Sequence[str]:
        """The names of its islands."""

    def begin(self, until_ns: int, letters: Sequence[Letter]) -> None:
        """Start to play a stretch."""

    def end(self) -> Report:
        """Wait for its end; the report is that of all its islands together."""


class LocalHost:
    """Plays islands in this process."""

    def __init__(self, islands: Sequence[Island]) -> None:
        self._islands = {island.name: island for island in islands}
        self._stretch: tuple[int, Sequence[Letter]] = 0, ()

    @property
    def islands(self) -> Sequence[str]:
        """The names of its islands."""
        return tuple(self._islands)

    def begin(self, until_ns: int, letters: Sequence[Letter]) -> None:
        """Note what to play; this process does it when it is asked for the end."""
        self._stretch = until_ns, letters

    def end(self) -> Report:
        """Play the stretch on every island."""
        until_ns, letters = self._stretch
        reports = [
            island.advance(until_ns, [letter for letter in letters if letter.island == name])
            for name, island in self._islands.items()
        ]
        due = [report.next_ns for report in reports if report.next_ns is not None]
        return Report(
            [record for report in reports for record in report.records],
            [letter for report in reports for letter in report.letters],
            min(due, default=None),
        )


class Conductor:
    """Lets hosts play in step, and brings their records into one trace."""

    def __init__(self, hosts: Sequence[Host], lookahead_ns: int, trace: Trace) -> None:
        assert lookahead_ns > 0, "islands without a delay between them are one island"
        self._hosts = hosts
        self._lookahead_ns = lookahead_ns
        self._trace = trace
        self._host_of = {name: index for index, host in enumerate(hosts) for name in host.islands}
        self._next_ns: list[int | None] = [0] * len(hosts)
        self._settled_ns = [0] * len(hosts)
        self._post: list[list[Letter]] = [[] for _ in hosts]
        self._called_ns = 0
        self._untold: list[Record] = []

    def play(self, until_ns: int) -> None:
        """Play on until just before `until_ns`, and settle the trace up to there."""
        while (begin_ns := self._earliest_ns()) is not None and begin_ns < until_ns:
            self._play_stretch(min(until_ns, begin_ns + self._lookahead_ns), until_ns)
        self._step(range(len(self._hosts)), until_ns)
        self._tell()

    def _earliest_ns(self) -> int | None:
        due = [next_ns for next_ns in self._next_ns if next_ns is not None]
        due += [letter.arrival_ns for letters in self._post for letter in letters]
        return min(due, default=None)

    def _play_stretch(self, end_ns: int, until_ns: int) -> None:
        if end_ns - self._called_ns >= _ROLL_CALL_NS or end_ns == until_ns:
            self._called_ns = end_ns
            self._step(range(len(self._hosts)), end_ns)
            return
        self._step([index for index in range(len(self._hosts)) if self._has_something(index, end_ns)], end_ns)

    def _has_something(self, index: int, end_ns: int) -> bool:
        next_ns = self._next_ns[index]
        return (next_ns is not None and next_ns < end_ns) or bool(self._post[index])

    def _step(self, indices: Sequence[int], end_ns: int) -> None:
        for index in indices:
            self._hosts[index].begin(end_ns, self._post[index])
            self._post[index] = []
        # Hosts of other processes are at work now: a good time to tell what the last stretch brought.
        self._tell()
        for index in indices:
            report = self._hosts[index].end()
            self._next_ns[index] = report.next_ns
            self._settled_ns[index] = end_ns
            self._untold += report.records
            for letter in report.letters:
                self._post[self._host_of[letter.island]].append(letter)

    def _tell(self) -> None:
        for record in self._untold:
            self._trace.add(record)
        self._untold.clear()
        self._trace.settle(min(self._settled_ns))
