"""What regulation allows in the band, and an account of what each station used. Violations are counted."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.radio.airtime import bandwidth_hz

if TYPE_CHECKING:
    from bench.radio.modulation import Modulation

HOUR_NS: Final = 3_600_000_000_000
_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class BandLimit:
    """Limits of one band: edges, radiated power, and share of airtime over a rolling window."""

    low_hz: int
    high_hz: int
    power_cdbm: int
    airtime_ppm: int
    window_ns: int = HOUR_NS

    def __post_init__(self) -> None:
        if self.low_hz >= self.high_hz:
            raise ValueError(f"band from {self.low_hz} to {self.high_hz} Hz: the first must be the lower")
        if not 0 <= self.airtime_ppm <= _PPM:
            raise ValueError(f"airtime share is {self.airtime_ppm} ppm: it must be from 0 to {_PPM}")
        if self.window_ns <= 0:
            raise ValueError(f"window of {self.window_ns} ns: it must be positive")


EUROPE_433: Final = BandLimit(433_050_000, 434_790_000, 1000, 100_000)
"""10 mW at 10 % (ERC Recommendation 70-03, annex 1). Radiated power is taken to be the chip's output."""

RUSSIA_433: Final = BandLimit(433_075_000, 434_775_000, 1000, _PPM)
"""10 mW, no duty limit assumed: the primary text is not established, have counsel confirm it."""


class AirtimeAccount:
    """Airtime of one station in a rolling window. Intervals are added in ascending order, without overlap."""

    __slots__ = ("_intervals", "_used_ns", "_window_ns")

    def __init__(self, window_ns: int = HOUR_NS) -> None:
        self._window_ns = window_ns
        self._intervals: deque[tuple[int, int]] = deque()
        self._used_ns = 0

    def add(self, start_ns: int, end_ns: int) -> None:
        """Note a transmission."""
        self._intervals.append((start_ns, end_ns))
        self._used_ns += end_ns - start_ns

    def used_ns(self, until_ns: int) -> int:
        """Airtime within the window that ends at `until_ns`; later calls ask for later windows."""
        intervals, from_ns = self._intervals, until_ns - self._window_ns
        while intervals and intervals[0][0] < from_ns:
            start_ns, end_ns = intervals.popleft()
            self._used_ns -= min(end_ns, from_ns) - start_ns
            if end_ns > from_ns:
                intervals.appendleft((from_ns, end_ns))
        return self._used_ns


class Regulation:
    """Accounts of all stations under one limit, and the violations counted."""

    def __init__(self, limit: BandLimit) -> None:
        self.limit = limit
        self.violation_counts: Counter[tuple[str, str]] = Counter()
        """By station and rule (airtime, band, power)."""
        self._accounts: dict[str, AirtimeAccount] = {}

    def account(self, station: str) -> AirtimeAccount:
        """The station's airtime."""
        if station not in self._accounts:
            self._accounts[station] = AirtimeAccount(self.limit.window_ns)
        return self._accounts[station]

    def violations(
        self, station: str, modulation: Modulation, power_cdbm: int, start_ns: int, end_ns: int
    ) -> list[str]:
        """Enter a transmission into the accounts; the rules it breaks.

        A transmission is entered with its planned end. Over a rolling window, use is greatest at the end of a
        transmission, so that is where the limit is tested.
        """
        limit = self.limit
        broken = []
        half_hz = bandwidth_hz(modulation.bandwidth_code) // 2
        if (
            modulation.frequency_hz - half_hz < limit.low_hz
            or modulation.frequency_hz + half_hz > limit.high_hz
        ):
            broken.append("band")
        if power_cdbm > limit.power_cdbm:
            broken.append("power")
        account = self.account(station)
        account.add(start_ns, end_ns)
        if account.used_ns(end_ns) * _PPM > limit.airtime_ppm * limit.window_ns:
            broken.append("airtime")
        for rule in broken:
            self.violation_counts[station, rule] += 1
        return broken
