"""How fast virtual time goes: as the wall clock, or as fast as it can."""

import time
from typing import Final, Protocol

from bench.uno.atmega328p import CLOCK_HZ

_NS_PER_CYCLE: Final = 1_000_000_000 / CLOCK_HZ


class Pace(Protocol):
    """Told where the chip is, now and then."""

    slice_cycles: int

    def keep(self, cycle: int) -> None:
        """Returns when the chip may be at this cycle."""

    def restart(self, cycle: int) -> None:
        """The chip stood still for a while (a debugger had it) and goes on from this cycle."""


class AsFastAsItGoes:
    """Never waits."""

    slice_cycles = CLOCK_HZ // 50

    def keep(self, cycle: int) -> None:
        """Returns at once."""

    def restart(self, cycle: int) -> None:
        """Nothing to do."""


class WallClock:
    """Waits until the wall clock has come as far. A chip that fell behind runs on without waiting."""

    slice_cycles = CLOCK_HZ // 250

    def __init__(self) -> None:
        self.restart(0)

    def keep(self, cycle: int) -> None:
        """Returns when the chip may be at this cycle."""
        ahead_ns = (cycle - self._from_cycle) * _NS_PER_CYCLE - (time.monotonic_ns() - self._from_ns)
        if ahead_ns > 0:
            time.sleep(ahead_ns / 1e9)

    def restart(self, cycle: int) -> None:
        """Cycle and wall clock are together now."""
        self._from_cycle = cycle
        self._from_ns = time.monotonic_ns()
