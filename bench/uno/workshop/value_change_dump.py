"""The pins over time as a value change dump (IEEE 1364-2005, clause 18), which GTKWave and PulseView open."""

import heapq
from collections.abc import Callable
from typing import Final

from bench.uno.atmega328p import Pin
from bench.uno.workshop.inspection import InspectedAtmega328p
from bench.uno.workshop.pins import PIN_BY_NAME

TICKS_PER_CYCLE: Final = 625
"""A cycle of 16 MHz is 62.5 ns; the dump counts in 100 ps."""

_LATE_CYCLES: Final = 2048
"""Bits of an SPI byte are told when it is over, at most 8 x 128 cycles after its first."""
_IDENTIFIERS: Final = {pin: chr(ord("!") + place) for place, pin in enumerate(PIN_BY_NAME.values())}


class ValueChangeDump:
    """Writes every change of the Uno's pins, from now on. Bits on TXD, RXD and the SPI lines are included."""

    def __init__(self, chip: InspectedAtmega328p, write: Callable[[str], object]) -> None:
        self._chip = chip
        self._write = write
        self._waiting: list[tuple[int, int, Pin, bool]] = []
        self._taken = 0
        self._levels = {pin: chip.pin_high(pin) for pin in _IDENTIFIERS}
        self._told_cycle = -1
        chip.log_pins()
        write("$version bench uno run $end\n$timescale 100 ps $end\n$scope module uno $end\n")
        for name, pin in PIN_BY_NAME.items():
            write(f"$var wire 1 {_IDENTIFIERS[pin]} {name} $end\n")
        write("$upscope $end\n$enddefinitions $end\n")
        self._tell_time(chip.cycle)
        write("$dumpvars\n")
        for pin, high in self._levels.items():
            self._tell_level(pin, high)
        write("$end\n")

    def settle(self) -> None:
        """Writes what can no longer be preceded by anything."""
        self._take()
        self._write_before(self._chip.cycle - _LATE_CYCLES)

    def close(self) -> None:
        """Writes the rest up to now, and the time."""
        self._take()
        self._write_before(self._chip.cycle + 1)
        self._tell_time(self._chip.cycle)

    def _take(self) -> None:
        for change in self._chip.take_pin_changes():
            if change.pin in _IDENTIFIERS:
                self._taken += 1
                heapq.heappush(self._waiting, (change.cycle, self._taken, change.pin, change.high))

    def _write_before(self, cycle: int) -> None:
        while self._waiting and self._waiting[0][0] < cycle:
            at, _, pin, high = heapq.heappop(self._waiting)
            if self._levels[pin] != high:
                self._levels[pin] = high
                self._tell_time(at)
                self._tell_level(pin, high)

    def _tell_time(self, cycle: int) -> None:
        if cycle > self._told_cycle:
            self._told_cycle = cycle
            self._write(f"#{cycle * TICKS_PER_CYCLE}\n")

    def _tell_level(self, pin: Pin, high: bool) -> None:
        self._write(f"{int(high)}{_IDENTIFIERS[pin]}\n")
