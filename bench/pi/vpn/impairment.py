"""What becomes of each datagram on its way: passed, lost, cut or overrun, and how late.

Decisions come from counter-based streams by the datagram's index, two draws each as in the virtual uplink
(`bench.pi.uplink`), so that the same sequence of datagrams meets the same fate in every repetition.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bench.pi.uplink import UplinkPlan
from bench.world.streams import Stream


class Fate(StrEnum):
    """What a datagram comes to."""

    PASSED = "passed"
    LOST = "lost"
    """By chance, as the plan's loss says."""
    CUT = "cut"
    """In an outage, of the plan or on demand."""
    OVERRUN = "overrun"
    """More was under way than the plan lets be."""


@dataclass(frozen=True, slots=True)
class PathPlan:
    """How one direction of the way behaves.

    `uplink` holds delay, jitter, loss and outages, times in ns after the zero of the run. No more than
    `queue_octets` are under way at once, so that a flood costs no memory.
    """

    uplink: UplinkPlan = field(default_factory=lambda: UplinkPlan(delay_ns=0))
    queue_octets: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.queue_octets <= 0:
            raise ValueError(f"queue_octets must be positive, found {self.queue_octets}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of one datagram. Times in ns after the zero of the run; `index` counts from 1."""

    index: int
    octets: int
    sent_ns: int
    arrival_ns: int
    """When it arrives, or would have arrived."""
    fate: Fate
    outage: int | None = None
    """Which of the plan's outages cut it."""


class Path:
    """One direction of the way: takes datagrams in, in order of time, and decides."""

    def __init__(self, plan: PathPlan, stream: Stream) -> None:
        self._plan = plan
        self._stream = stream
        self._index = 0

    def judge(self, octets: int, sent_ns: int, waiting_octets: int) -> Verdict:
        """Decide on the next datagram, sent at `sent_ns` while `waiting_octets` are still under way."""
        self._index += 1
        index, plan, uplink = self._index, self._plan, self._plan.uplink
        jitter_ns = self._stream.below(uplink.jitter_ns + 1, 2 * index)
        arrival_ns = sent_ns + uplink.delay_ns + jitter_ns
        outage = _outage(uplink, sent_ns, arrival_ns)
        if outage is not None:
            return Verdict(index, octets, sent_ns, arrival_ns, Fate.CUT, outage)
        if waiting_octets + octets > plan.queue_octets:
            return Verdict(index, octets, sent_ns, arrival_ns, Fate.OVERRUN)
        if self._stream.happens(uplink.loss_ppm, 2 * index + 1):
            return Verdict(index, octets, sent_ns, arrival_ns, Fate.LOST)
        return Verdict(index, octets, sent_ns, arrival_ns, Fate.PASSED)


def _outage(uplink: UplinkPlan, sent_ns: int, arrival_ns: int) -> int | None:
    for number, (from_ns, to_ns) in enumerate(uplink.outages):
        if from_ns <= arrival_ns and sent_ns < to_ns:
            return number
    return None
