"""Two Unos on a table: the stimulus Uno, its lines wired to a metering Uno's, and the host's serial line."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from bench.uno.atmega328p import Pin, Stop
from bench.uno.build import build_stimulus
from bench.uno.clock import UnoClock
from bench.uno.workshop.inspection import InspectedAtmega328p

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.uno.image import FirmwareImage
    from bench.uno.workshop.inspection import PinChange
    from firmware.conftest import Table

LINES = (
    *(Pin.PD3, Pin.PD4, Pin.PD5, Pin.PD6, Pin.PD7, Pin.PB0),
    *(Pin.PC0, Pin.PC1, Pin.PC2, Pin.PC3, Pin.PC4, Pin.PC5),
)
TICK_CYCLES = 64
_TIMER1_INTERRUPTS, _TIMER1_LOW = 0x6F, 0x84


@cache
def stimulus_image() -> FirmwareImage:
    return build_stimulus()


class StimulusUno:
    """The stimulus Uno with its lines pulled up, as they are at a metering Uno, and what it did to them."""

    def __init__(self, clock: UnoClock | None = None, damage: Callable[[bytes], bytes] = bytes) -> None:
        self.image = stimulus_image()
        self.clock = clock or UnoClock(0)
        self._damage = damage
        self.core = InspectedAtmega328p(self.image.flash)
        assert self.image.stack_floor is not None
        self.core.set_stack_floor(self.image.stack_floor)
        for pin in LINES:
            self.core.set_pin(pin, True)
        self.core.log_pins()
        self.edges: list[PinChange] = []
        self.meter: Table | None = None
        self.meter_clock = UnoClock(0)
        self._begin()

    def _begin(self) -> None:
        """Let the sketch start its clock, and see at which cycle Timer1 counts on."""
        while not self.core.read_data(_TIMER1_INTERRUPTS, 1)[0]:
            self.core.run(self.core.cycle + 1)
        tick = self._low_tick()
        while self._low_tick() == tick:
            self.core.run(self.core.cycle + 1)
        beat = self.core.cycle // TICK_CYCLES  # the prescaler has run since the chip came out of reset
        self.first_tick_cycle = (beat - self._low_tick()) * TICK_CYCLES

    def _low_tick(self) -> int:
        return self.core.read_data(_TIMER1_LOW, 1)[0]

    def wire_to(self, meter: Table, clock: UnoClock) -> None:
        """Pin to pin, grounds joined. Each Uno has its own clock."""
        self.meter, self.meter_clock = meter, clock
        for pin in LINES:
            meter.core.set_pin(pin, True)

    # ---- the world's time ----

    def now_ns(self) -> int:
        return self.clock.ns_at(self.core.cycle)

    def run_until(self, t_ns: int) -> None:
        """Let the world go on; what the sketch says meanwhile is thrown away."""
        while (cycle := self.clock.cycle_at(t_ns)) > self.core.cycle:
            self._run(cycle)
        self.settle()

    def _run(self, cycle: int) -> int | None:
        match self.core.run(cycle):
            case Stop.UART:
                return self.core.uart_byte
            case Stop.FAULT:
                fault = self.core.fault
                assert fault is not None
                raise AssertionError(f"{fault.kind} in {self.image.symbol_at(fault.program_counter)}")
            case _:
                return None

    def settle(self) -> None:
        """Carry the edges since the last call to the meter, and let it follow."""
        fresh = [change for change in self.core.take_pin_changes() if change.pin in LINES]
        self.edges += fresh
        if self.meter is None:
            return
        for edge in fresh:
            cycle = self.meter_clock.cycle_at(self.clock.ns_at(edge.cycle))
            self.meter.core.schedule_edges(edge.pin, [cycle], first_high=edge.high)
        self.meter.run_to(self.meter_clock.cycle_at(self.now_ns()))

    # ---- the serial line, as the host has it ----

    def write(self, data: bytes) -> None:
        self.core.uart_send(self._damage(data))

    def read(self, timeout_ns: int) -> bytes:
        """The next byte; nothing when it takes longer."""
        deadline = self.clock.cycle_at(self.now_ns() + timeout_ns)
        while self.core.cycle < deadline:
            byte = self._run(deadline)
            if byte is not None:
                return self._damage(bytes([byte]))
        return b""

    # ---- looking inside ----

    def cycle_of(self, tick: int) -> int:
        """The cycle at which a tick begins."""
        return self.first_tick_cycle + tick * TICK_CYCLES

    @property
    def free_sram_bytes(self) -> int:
        assert self.image.stack_floor is not None
        return self.core.lowest_stack - self.image.stack_floor


@pytest.fixture
def stimulus() -> StimulusUno:
    return StimulusUno()
