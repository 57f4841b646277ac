"""What the bench can know of the clock of a device that it only hears from now and then.

A device's clock is a line: its tick n falls at t_ns = t0 + n * ns_per_tick. Whatever is seen of it says of
one tick that it was not before, or not after, some time, and so cuts a half-plane off all (t0, ns_per_tick).
What is left is a convex polygon, kept here in exact rational numbers: the true clock is never outside,
whatever the delays were, and of any tick both bounds are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_MILLION: Final = 1_000_000
RATE_TOLERANCE_PPM: Final = 10_000
"""The ceramic resonator of an Uno (Murata CSTCE16M0V53) is within 0.5 % when new; it ages and warms."""
WANDER_PPM: Final = 20
"""How far the rate may move meanwhile, by warming for instance: a second makes what was seen 20 us vaguer."""


@dataclass(frozen=True, slots=True)
class ClockRegion:
    """All clocks that agree with what was seen; `corners` are (ns at tick `origin`, ns per tick)."""

    origin: int
    corners: tuple[tuple[Fraction, Fraction], ...]

    @classmethod
    def around(
        cls, tick: int, earliest_ns: int, latest_ns: int, ns_per_tick: Fraction, tolerance_ppm: int
    ) -> ClockRegion:
        """Clocks that reach `tick` between two times, at a rate this near to the nominal one."""
        slack = ns_per_tick * tolerance_ppm / _MILLION
        times = (Fraction(earliest_ns), Fraction(latest_ns))
        slow, fast = ns_per_tick + slack, ns_per_tick - slack
        return cls(tick, ((times[0], fast), (times[1], fast), (times[1], slow), (times[0], slow)))

    @property
    def is_empty(self) -> bool:
        """No clock agrees with all that was seen."""
        return not self.corners

    def not_before(self, tick: int, t_ns: int) -> ClockRegion:
        """Those that reach `tick` at `t_ns` or later."""
        return self._cut(tick, t_ns, 1)

    def not_after(self, tick: int, t_ns: int) -> ClockRegion:
        """Those that reach `tick` at `t_ns` or earlier."""
        return self._cut(tick, t_ns, -1)

    def span_ns(self, tick: int) -> tuple[int, int]:
        """The earliest and the latest time at which the clock may reach `tick`, in whole ns outwards."""
        times = [start + (tick - self.origin) * rate for start, rate in self.corners]
        earliest, latest = min(times), max(times)
        return earliest.numerator // earliest.denominator, -(-latest.numerator // latest.denominator)

    def _cut(self, tick: int, t_ns: int, sign: int) -> ClockRegion:
        """Clip the polygon at one line (Sutherland and Hodgman, "Reentrant polygon clipping", 1974)."""
        depths = [sign * (start + (tick - self.origin) * rate - t_ns) for start, rate in self.corners]
        if all(depth >= 0 for depth in depths):
            return self
        kept: list[tuple[Fraction, Fraction]] = []
        for index, (corner, depth) in enumerate(zip(self.corners, depths, strict=True)):
            before, before_depth = self.corners[index - 1], depths[index - 1]
            if (depth < 0) != (before_depth < 0) and depth and before_depth:
                share = depth / (depth - before_depth)
                start = corner[0] + (before[0] - corner[0]) * share
                kept.append((start, corner[1] + (before[1] - corner[1]) * share))
            if depth >= 0:
                kept.append(corner)
        return ClockRegion(self.origin, tuple(dict.fromkeys(kept)))


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One question and its answer: the host's times around it, and the device's ticks in between."""

    asked_ns: int
    received_tick: int
    answered_tick: int
    heard_ns: int


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """A device's clock as the straight line between two moments, at each of which it may be so far off."""

    first_tick: int
    first_ns: int
    first_error_ns: int
    last_tick: int
    last_ns: int
    last_error_ns: int

    def ns_at(self, tick: int) -> int:
        """Time of a tick, to the nearest ns."""
        ticks, length_ns = self.last_tick - self.first_tick, self.last_ns - self.first_ns
        return self.first_ns + (2 * (tick - self.first_tick) * length_ns + ticks) // (2 * ticks)

    def error_ns_at(self, tick: int) -> int:
        """How far off `ns_at` may be for a tick between the two moments: lines diverge evenly."""
        assert self.first_tick <= tick <= self.last_tick, f"tick {tick} lies outside of what is known"
        after, before = tick - self.first_tick, self.last_tick - tick
        weighted = self.first_error_ns * before + self.last_error_ns * after
        return -(-weighted // (after + before)) + 1

    def tick_at(self, t_ns: int) -> int:
        """The tick nearest to a time."""
        ticks, length_ns = self.last_tick - self.first_tick, self.last_ns - self.first_ns
        return self.first_tick + (2 * (t_ns - self.first_ns) * ticks + length_ns) // (2 * length_ns)


class ClockContradictionError(ValueError):
    """No clock near the nominal rate can have given these answers."""


def estimate_clock(trips: Sequence[RoundTrip], ns_per_tick: int, horizon_ns: int) -> ClockEstimate:
    """The clock by its round trips, oldest first: from the first one used until `horizon_ns` after the last.

    A question is received after it was asked, an answer heard after it was given: nothing else is assumed of
    delays. Round trips before one that contradicts those after it (a device that was warmed) are left out.
    Raises ClockContradictionError when the last one contradicts itself.
    """
    last = trips[-1]
    region = ClockRegion.around(
        last.received_tick, last.asked_ns, last.heard_ns, Fraction(ns_per_tick), RATE_TOLERANCE_PPM
    ).not_after(last.answered_tick, last.heard_ns)
    if region.is_empty:
        raise ClockContradictionError(
            f"{last.answered_tick - last.received_tick} ticks between question and answer, which were "
            f"{(last.heard_ns - last.asked_ns) // 1000} us apart"
        )
    first_tick = last.received_tick
    for trip in reversed(trips[:-1]):
        wander_ns = (last.heard_ns - trip.asked_ns) * WANDER_PPM // _MILLION
        narrowed = region.not_before(trip.received_tick, trip.asked_ns - wander_ns)
        narrowed = narrowed.not_after(trip.answered_tick, trip.heard_ns + wander_ns)
        if narrowed.is_empty:
            break
        region, first_tick = narrowed, trip.received_tick
    last_tick = max(first_tick + 1, last.answered_tick + horizon_ns // ns_per_tick)
    return ClockEstimate(
        first_tick, *_middle(region.span_ns(first_tick)), last_tick, *_middle(region.span_ns(last_tick))
    )


def _middle(span_ns: tuple[int, int]) -> tuple[int, int]:
    """The middle of a span and how far the span reaches from there."""
    earliest_ns, latest_ns = span_ns
    return (earliest_ns + latest_ns) // 2, (latest_ns - earliest_ns) // 2 + 1
