"""The way between a Pi and the server: delay, jitter, loss and outages, seeded."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.world.island import Island, Letter
from bench.world.streams import Stream


@dataclass(frozen=True, slots=True)
class UplinkPlan:
    """How the way behaves. `outages` are pairs (from, to) of virtual time, ascending and apart."""

    delay_ns: int
    jitter_ns: int = 0
    loss_ppm: int = 0
    outages: tuple[tuple[int, int], ...] = ()

    def is_up(self, t_ns: int) -> bool:
        """Whether anything passes at this time."""
        return not any(from_ns <= t_ns < to_ns for from_ns, to_ns in self.outages)

    def cuts(self, sent_ns: int, arrival_ns: int) -> bool:
        """Whether an outage falls into the way of a message."""
        return any(from_ns <= arrival_ns and sent_ns < to_ns for from_ns, to_ns in self.outages)


class UplinkEnd:
    """One end of the way, on the island of its holder: whole messages, in order, each delivered at most once.

    `name` is the way's, `peer` the island at its other end.
    """

    def __init__(self, name: str, plan: UplinkPlan, stream: Stream, island: Island, peer: str) -> None:
        self.name = name
        self.sent_bytes = 0
        self.lost_messages = 0
        self._plan = plan
        self._chance = stream.child(island.name)
        self._island = island
        self._peer = peer
        self._sent = 0
        self._last_arrival_ns = 0
        self._announce: Callable[[bool], None] = _ignore

    def attach(self, receive: Callable[[bytes], None], announce: Callable[[bool], None]) -> None:
        """Hand messages to `receive`; tell `announce` when the way comes up (True) or goes down (False)."""
        self._announce = announce
        self._island.receive_at(self.name, receive)

    def open(self) -> None:
        """Begin: tell the holder when the way is up, and of each outage as it comes and goes."""
        simulation = self._island.simulation
        if self._plan.is_up(simulation.now_ns):
            self._tell(True)
        for from_ns, to_ns in self._plan.outages:
            if from_ns > simulation.now_ns:
                simulation.at(from_ns, self.name, lambda: self._tell(False))
            simulation.at(to_ns, self.name, lambda: self._tell(True))

    def send(self, payload: bytes) -> None:
        """Send a message to the other end."""
        now_ns = self._island.simulation.now_ns
        self._sent += 1
        self.sent_bytes += len(payload)
        arrival_ns = now_ns + self._plan.delay_ns
        arrival_ns += self._chance.below(self._plan.jitter_ns + 1, 2 * self._sent)
        arrival_ns = max(arrival_ns, self._last_arrival_ns)
        cut = self._plan.cuts(now_ns, arrival_ns)
        if cut or self._chance.happens(self._plan.loss_ppm, 2 * self._sent + 1):
            self.lost_messages += 1
            self._record("lost", octets=len(payload), cut=cut)
            return
        self._last_arrival_ns = arrival_ns
        self._island.send(Letter(self._peer, self.name, arrival_ns, payload))

    def _tell(self, up: bool) -> None:
        self._record("up" if up else "down")
        self._announce(up)

    def _record(self, what: str, **fields: int | bool) -> None:
        # Both ends speak of one way: each as its own source, so that the order does not hang on who is first.
        island = self._island
        island.trace.record(island.simulation.now_ns, f"{self.name} at {island.name}", what, **fields)


def _ignore(_up: bool) -> None:
    """Nobody is told."""
