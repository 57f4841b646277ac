"""What becomes of each datagram on its way: passed, lost, cut or overrun, and how late.

Decisions come from counter-based streams by the datagram's index, two draws each as in the virtual uplink
(`bench.pi.uplink`), so that the same sequence of datagrams meets the same fate in every repetition.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bench.pi.uplink import UplinkPlan
from bench.world.streams import Stream

NS_PER_S = 1_000_000_000
BITS_PER_OCTET = 8


class Fate(StrEnum):
    """What a datagram comes to."""

    PASSED = "passed"
    LOST = "lost"
    """By chance, as the plan's loss says."""
    CUT = "cut"
    """In an outage, of the plan or on demand."""
    OVERRUN = "overrun"
    """The line's queue was full."""


@dataclass(frozen=True, slots=True)
class PathPlan:
    """How one direction of the way behaves.

    `uplink` holds delay, jitter, loss and outages, times in ns after the zero of the run. `rate_bps` is the
    line's rate in bit/s of UDP payload, None for no limit; before it stands a queue of `queue_octets`. The
    same bound holds what an unlimited line may have under way.
    """

    uplink: UplinkPlan = field(default_factory=lambda: UplinkPlan(delay_ns=0))
    rate_bps: int | None = None
    queue_octets: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.rate_bps is not None and self.rate_bps <= 0:
            raise ValueError(f"rate_bps must be positive or None, found {self.rate_bps}")
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
        self._line_free_ns = 0

    def judge(self, octets: int, sent_ns: int, waiting_octets: int) -> Verdict:
        """Decide on the next datagram, sent at `sent_ns` while `waiting_octets` are still under way."""
        self._index += 1
        index, plan, uplink = self._index, self._plan, self._plan.uplink
        start_ns = max(sent_ns, self._line_free_ns)
        departure_ns = start_ns + self._duration_ns(octets)
        jitter_ns = self._stream.below(uplink.jitter_ns + 1, 2 * index)
        arrival_ns = departure_ns + uplink.delay_ns + jitter_ns
        outage = _outage(uplink, sent_ns, arrival_ns)
        if outage is not None:
            return Verdict(index, octets, sent_ns, arrival_ns, Fate.CUT, outage)
        if self._queued_octets(sent_ns, waiting_octets) + octets > plan.queue_octets:
            return Verdict(index, octets, sent_ns, arrival_ns, Fate.OVERRUN)
        self._line_free_ns = departure_ns
        if self._stream.happens(uplink.loss_ppm, 2 * index + 1):
            return Verdict(index, octets, sent_ns, arrival_ns, Fate.LOST)
        return Verdict(index, octets, sent_ns, arrival_ns, Fate.PASSED)

    def _duration_ns(self, octets: int) -> int:
        if self._plan.rate_bps is None:
            return 0
        return -(-octets * BITS_PER_OCTET * NS_PER_S // self._plan.rate_bps)

    def _queued_octets(self, sent_ns: int, waiting_octets: int) -> int:
        """What stands before the line: for a rated one from its backlog, so that delay is no queue."""
        if self._plan.rate_bps is None:
            return waiting_octets
        backlog_ns = max(0, self._line_free_ns - sent_ns)
        return backlog_ns * self._plan.rate_bps // (BITS_PER_OCTET * NS_PER_S)


def _outage(uplink: UplinkPlan, sent_ns: int, arrival_ns: int) -> int | None:
    for number, (from_ns, to_ns) in enumerate(uplink.outages):
        if from_ns <= arrival_ns and sent_ns < to_ns:
            return number
    return None
