"""What the parts of a rig draw from their supply: charge as a function of what they do.

A part tells the charge it has drawn until a time, so that an energy between two times is exact whenever what
the part does is known exactly (cycles of a core, time in a mode, CPU seconds). Where only a current can be
asked, `Sampled` holds each sample until the next. Charges are integers in fC (uA x ns); currents are those at
the nominal supply voltage.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bench.radio.decibel import linear_power
from bench.radio.registers import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FEMTOCOULOMBS_PER_MICROCOULOMB: Final = 10**9
"""1 uA for 1 ns is 1 fC."""


class Part(Protocol):
    """Something that draws current. Asked with times that do not fall."""

    def charge_fc(self, until_ns: int) -> int:
        """Charge drawn until a time since the part was made, were it powered all along; never falls."""
        ...


# The Uno


UNO_BOARD_UA: Final = 32_200
"""An Uno R3 fed with 5 V by USB whose ATmega328P is powered down and whose LED L is off: the USB chip, the
regulator and the power LED. Measured: gadgetmakersblog.com/arduino-power-consumption (46.5 mA awake, 34.4 mA
asleep with the LED on, which took 2.2 mA)."""

ATMEGA328P_ACTIVE_UA: Final = 10_400
"""Active, 16 MHz, 5 V. Atmel-8271, table 29-12 (ATmega328P DC characteristics): 5.2 mA at 8 MHz and 5 V,
typically; doubled, as the current of CMOS follows the clock. With UNO_BOARD_UA that makes 42.6 mA, 8 % below
the board measured above, whose sketch is not known."""

ATMEGA328P_IDLE_UA: Final = 2_400
"""Idle, 16 MHz, 5 V: 1.2 mA at 8 MHz in the same table, doubled."""

ATMEGA328P_POWER_DOWN_UA: Final = 4
"""Power-down with the watchdog on: 4.2 uA at 3 V in the same table, which has no row for 5 V."""

UNO_BROWN_OUT_MV: Final = 2_700
"""The Uno's extended fuse is 0xFD (boards.txt of the Arduino AVR core 1.8), of which BODLEVEL 2:0 is 101:
2.7 V typically (Atmel-8271, BODLEVEL fuse coding)."""

BROWN_OUT_HYSTERESIS_MV: Final = 50
"""VHYST of the same chip's brown-out detector, typically (Atmel-8271, system and reset characteristics)."""


@dataclass(frozen=True, slots=True)
class CoreUsage:
    """Cycles of an Uno's core since its power-on, and how many of them it slept, by depth."""

    cycles: int
    idle_cycles: int
    power_down_cycles: int
    """All modes that stop the clock of the timers: power-down, power-save, standby."""


UNO_CYCLE_NS_TIMES_2: Final = 125
"""A cycle at 16 MHz is 62.5 ns."""


class UnoPart:
    """An Uno: its board for as long as it is on, its core by what the core did.

    `usage` gives the core's counters at the time of asking, None while it has no power; when they fall, it
    was switched off and on.
    """

    def __init__(self, usage: Callable[[], CoreUsage | None], from_ns: int = 0) -> None:
        self._usage = usage
        self._from_ns = from_ns
        self._last = CoreUsage(0, 0, 0)
        self._core_fc_times_2 = 0

    def charge_fc(self, until_ns: int) -> int:
        """Charge until now."""
        usage = self._usage()
        if usage is not None:
            self._count(usage)
        return (until_ns - self._from_ns) * UNO_BOARD_UA + self._core_fc_times_2 // 2

    def _count(self, usage: CoreUsage) -> None:
        last = self._last if usage.cycles >= self._last.cycles else CoreUsage(0, 0, 0)
        idle = usage.idle_cycles - last.idle_cycles
        power_down = usage.power_down_cycles - last.power_down_cycles
        active = usage.cycles - last.cycles - idle - power_down
        self._last = usage
        self._core_fc_times_2 += UNO_CYCLE_NS_TIMES_2 * (
            active * ATMEGA328P_ACTIVE_UA + idle * ATMEGA328P_IDLE_UA + power_down * ATMEGA328P_POWER_DOWN_UA
        )


# The radio


SX1278_SLEEP_UA: Final = 0
"""0.2 uA (SX1276/77/78/79 datasheet, rev. 7, table 6, IDDSL), less than is counted here."""

SX1278_STANDBY_UA: Final = 1_600
"""IDDST of the same table."""

SX1278_SYNTHESIS_UA: Final = 5_800
"""IDDFS of the same table: frequency synthesis."""

SX1278_RECEIVE_UA: Final = 12_000
"""IDDR of the same table, bands 2 and 3 (below 525 MHz)."""

SX1278_BOOST_UA: Final = 87_000
"""IDDT of the same table: +17 dBm at PA_BOOST. It has 120 mA at +20 dBm besides."""

SX1278_RFO_UA: Final = 29_000
"""IDDT of the same table: +13 dBm at RFO_LF. It has 20 mA at +7 dBm besides."""

_BOOST_CDBM: Final = 1700
_RFO_CDBM: Final = 1300


def sx1278_current_ua(mode: Mode, power_cdbm: int = _BOOST_CDBM, *, boost: bool = True) -> int:
    """Current of an SX1278 in a mode; `power_cdbm` and `boost` (the PA_BOOST pin) count while it transmits.

    The amplifier's part grows with the amplitude, as in a class-B stage: from the datasheet's value at
    +17 dBm this gives 120.5 mA at +20 dBm (datasheet: 120), and from that at +13 dBm on RFO 17.4 mA at
    +7 dBm (datasheet: 20).
    """
    match mode:
        case Mode.SLEEP:
            return SX1278_SLEEP_UA
        case Mode.STANDBY:
            return SX1278_STANDBY_UA
        case Mode.FREQUENCY_SYNTHESIS_TX | Mode.FREQUENCY_SYNTHESIS_RX:
            return SX1278_SYNTHESIS_UA
        case Mode.TRANSMIT:
            known_ua, known_cdbm = (SX1278_BOOST_UA, _BOOST_CDBM) if boost else (SX1278_RFO_UA, _RFO_CDBM)
            # Half the decibels of a power are those of its amplitude.
            amplitude = linear_power((power_cdbm - known_cdbm) // 2)
            return SX1278_SYNTHESIS_UA + (known_ua - SX1278_SYNTHESIS_UA) * amplitude // linear_power(0)
    return SX1278_RECEIVE_UA


class RadioPart:
    """An SX1278: its mode is sampled, while it rests or listens, and its packets are counted in full.

    A packet on the air is far shorter than the time between two samples, so whoever sees it go out tells it
    by `transmitted`, from any thread; it is drawn from the next time of asking on, for as long as it lasted.
    """

    def __init__(self, mode: Callable[[], Mode], from_ns: int = 0) -> None:
        self._mode = mode
        self._resting = Sampled(self._resting_ua, from_ns)
        self._last_ns = from_ns
        self._packets: deque[tuple[int, int]] = deque()
        self._packets_fc = 0

    def transmitted(self, duration_ns: int, power_cdbm: int, *, boost: bool = True) -> None:
        """A packet went out."""
        extra_ua = sx1278_current_ua(Mode.TRANSMIT, power_cdbm, boost=boost) - SX1278_STANDBY_UA
        self._packets.append((duration_ns, extra_ua))

    def charge_fc(self, until_ns: int) -> int:
        """Charge until a time."""
        left_ns = until_ns - self._last_ns
        self._last_ns = until_ns
        while left_ns > 0 and self._packets:
            duration_ns, extra_ua = self._packets.popleft()
            drawn_ns = min(left_ns, duration_ns)
            self._packets_fc += drawn_ns * extra_ua
            left_ns -= drawn_ns
            if drawn_ns < duration_ns:
                self._packets.appendleft((duration_ns - drawn_ns, extra_ua))
        return self._resting.charge_fc(until_ns) + self._packets_fc

    def _resting_ua(self, _t_ns: int) -> int:
        mode = self._mode()
        return SX1278_STANDBY_UA if mode is Mode.TRANSMIT else sx1278_current_ua(mode)


# The Pi


PI_IDLE_UA: Final = 260_000
"""A Raspberry Pi 3B that idles: 260 mA (pidramble, "Power consumption"); another meter found 320 mA."""

PI_FULL_UA: Final = 730_000
"""The same with all four cores busy."""

PI_CORES: Final = 4

PI_BROWN_OUT_MV: Final = 3_300
"""Where a Pi 3 stops. Assumed: its step-down converter can no longer hold the 3.3 V of card and pins; a board
has been seen to run at 4 V (raspberrypi.stackexchange.com/questions/72516)."""


class PiPart:
    """A Raspberry Pi 3B: idle current, and more in proportion to its cores' share of work.

    `busy_ns` gives the CPU time of all cores together, until a time; when it falls, the Pi booted anew. What
    is told late, more than the cores can have done since the last look, is drawn as fast as they could.
    """

    def __init__(self, busy_ns: Callable[[int], int], from_ns: int = 0) -> None:
        self._busy_ns = busy_ns
        self._from_ns = self._until_ns = from_ns
        self._last_ns = busy_ns(from_ns)
        self._owed_ns = 0
        self._total_ns = 0

    def charge_fc(self, until_ns: int) -> int:
        """Charge until a time."""
        busy_ns = self._busy_ns(until_ns)
        self._owed_ns = self._owed_ns + busy_ns - self._last_ns if busy_ns >= self._last_ns else busy_ns
        self._last_ns = busy_ns
        done_ns = min(self._owed_ns, PI_CORES * (until_ns - self._until_ns))
        self._owed_ns -= done_ns
        self._total_ns += done_ns
        self._until_ns = until_ns
        work_fc = self._total_ns * (PI_FULL_UA - PI_IDLE_UA) // PI_CORES
        return (until_ns - self._from_ns) * PI_IDLE_UA + work_fc


# Parts of which a current is known


class Sampled:
    """A part whose current can be asked: each sample holds until the next, however far that is."""

    def __init__(self, current_ua: Callable[[int], int], from_ns: int = 0) -> None:
        self._current_ua = current_ua
        self._steps = SteppedCurrent(current_ua(from_ns), from_ns)

    def charge_fc(self, until_ns: int) -> int:
        """Charge until a time, and the next sample."""
        charge_fc = self._steps.charge_fc(until_ns)
        self._steps.change(until_ns, self._current_ua(until_ns))
        return charge_fc


class SteppedCurrent:
    """A part that is told whenever its current changes, and so knows its charge exactly."""

    def __init__(self, current_ua: int, from_ns: int = 0) -> None:
        self._current_ua = current_ua
        self._since_ns = from_ns
        self._before_fc = 0

    def change(self, at_ns: int, current_ua: int) -> None:
        """From `at_ns` on, the part draws another current. Raises ValueError for a time before the last."""
        if at_ns < self._since_ns:
            raise ValueError(f"a change at {at_ns} ns, after one at {self._since_ns} ns")
        self._before_fc += (at_ns - self._since_ns) * self._current_ua
        self._since_ns, self._current_ua = at_ns, current_ua

    def charge_fc(self, until_ns: int) -> int:
        """Charge until a time, which may not lie before the last change."""
        return self._before_fc + (until_ns - self._since_ns) * self._current_ua


class LoadModel:
    """The sum of parts."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)

    def charge_fc(self, until_ns: int) -> int:
        """Charge of all parts until a time."""
        return sum(part.charge_fc(until_ns) for part in self._parts)


@dataclass(frozen=True, slots=True)
class Load:
    """A board on a lead of the supply: what it draws, and what becomes of it with its voltage.

    `power_changed` is called with False when the voltage falls below `brown_out_mv` and with True when it has
    risen above it by the hysteresis.
    """

    name: str
    part: Part
    brown_out_mv: int
    power_changed: Callable[[bool], None]
