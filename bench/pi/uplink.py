"""The way between a Pi and the server: delay, jitter, loss and outages, seeded."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace


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


@dataclass(slots=True)
class UplinkEnd:
    """What one end does with what arrives, and with the link coming and going."""

    receive: Callable[[bytes], None]
    up: Callable[[], None]
    down: Callable[[], None]
    sent_bytes: int = 0
    lost_messages: int = 0


class Uplink:
    """A path for whole messages between two named ends, in order, each delivered at most once."""

    def __init__(
        self, name: str, plan: UplinkPlan, stream: Stream, simulation: Simulation, trace: Trace
    ) -> None:
        self.name = name
        self._plan = plan
        self._stream = stream
        self._simulation = simulation
        self._trace = trace
        self._ends: dict[str, UplinkEnd] = {}
        self._sent: dict[str, int] = {}
        self._last_arrival_ns: dict[str, int] = {}

    def attach(self, name: str, end: UplinkEnd) -> None:
        """Give the path one of its two ends."""
        assert len(self._ends) < 2, f"{self.name} has both its ends"
        self._ends[name] = end

    def open(self) -> None:
        """Begin: tell both ends when the path is up, and of each outage as it comes and goes."""
        if self._plan.is_up(self._simulation.now_ns):
            self._announce(up=True)
        for from_ns, to_ns in self._plan.outages:
            if from_ns > self._simulation.now_ns:
                self._simulation.at(from_ns, self.name, lambda: self._announce(up=False))
            self._simulation.at(to_ns, self.name, lambda: self._announce(up=True))

    def send(self, sender: str, payload: bytes) -> None:
        """Send a message from the end of this name to the other."""
        now_ns = self._simulation.now_ns
        index = self._sent[sender] = self._sent.get(sender, 0) + 1
        end = self._ends[sender]
        end.sent_bytes += len(payload)
        chance = self._stream.child(sender)
        arrival_ns = now_ns + self._plan.delay_ns + chance.below(self._plan.jitter_ns + 1, 2 * index)
        arrival_ns = max(arrival_ns, self._last_arrival_ns.get(sender, 0))
        cut = any(from_ns <= arrival_ns and now_ns < to_ns for from_ns, to_ns in self._plan.outages)
        if cut or chance.happens(self._plan.loss_ppm, 2 * index + 1):
            end.lost_messages += 1
            self._trace.record(now_ns, self.name, "lost", sender=sender, octets=len(payload), cut=cut)
            return
        self._last_arrival_ns[sender] = arrival_ns
        (receiver,) = (other for name, other in self._ends.items() if name != sender)
        self._simulation.at(arrival_ns, self.name, lambda: receiver.receive(payload))

    def _announce(self, *, up: bool) -> None:
        self._trace.record(self._simulation.now_ns, self.name, "up" if up else "down")
        for end in self._ends.values():
            (end.up if up else end.down)()
