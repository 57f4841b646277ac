"""An Uno's own time: its crystal or resonator against the world's nanoseconds."""

from dataclasses import dataclass

CYCLE_HZ = 16_000_000
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class UnoClock:
    """A 16 MHz clock that started at `origin_ns` and runs `error_ppb` fast (parts per billion).

    Boards differ: +2021 ppm was measured on one Uno with a ceramic resonator (forum.arduino.cc, topic 69316).
    """

    origin_ns: int
    error_ppb: int = 0

    def ns_at(self, cycle: int) -> int:
        """World time at which `cycle` begins, rounded down."""
        return self.origin_ns + cycle * _BILLION * _BILLION // (CYCLE_HZ * (_BILLION + self.error_ppb))

    def cycle_at(self, t_ns: int) -> int:
        """The first cycle that begins at or after `t_ns`; 0 before the origin."""
        elapsed_ns = max(0, t_ns - self.origin_ns)
        return -(-elapsed_ns * CYCLE_HZ * (_BILLION + self.error_ppb) // (_BILLION * _BILLION))
