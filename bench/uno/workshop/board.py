"""An Uno on the desk: the inspected chip with a serial line, signals on its pins and perhaps a radio.

Time is virtual and nothing here waits; whoever drives it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import CLOCK_HZ, Pin, Stop
from bench.uno.clock import UnoClock
from bench.uno.image import FirmwareImage
from bench.uno.virtual import RADIO_DIO0, RADIO_RESET, RADIO_SELECT, Radio
from bench.uno.workshop.inspection import InspectedAtmega328p
from bench.world.simulation import Simulation

_PULSE_CYCLES: Final = 30 * CLOCK_HZ // 1000
"""An S0 pulse: low for 30 ms (IEC 62053-31), or half the period where that is shorter."""
_CONTROL_B: Final = 0xC1  # UCSR0B
_RECEIVER_ENABLE: Final = 0x10
_RECEIVE: Final = Pin.PD0
"""The board's USB interface keeps this line high while nobody sends."""
_TURN: Final = 1 << 64
_AHEAD_CYCLES: Final = CLOCK_HZ // 10
"""Pulses are prepared this far ahead, since a run may overshoot its end by an instruction."""


class SignalError(ValueError):
    """A signal that cannot be played; the message says why."""


@dataclass(frozen=True, slots=True)
class PulseTrain:
    """Pulses per second of an open collector: high, and low for 30 ms. The first falls after one period."""

    pin: Pin
    rate_hz: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= CLOCK_HZ // 4:
            raise SignalError(
                f"{self.rate_hz} pulses per second: expected above 0 and at most {CLOCK_HZ // 4}"
            )

    def edges(self, number: int) -> tuple[int, int]:
        """Cycles at which the pulse of this number, from 1, falls and rises."""
        falls = int(number * CLOCK_HZ / self.rate_hz)
        following = int((number + 1) * CLOCK_HZ / self.rate_hz)
        return falls, min(falls + _PULSE_CYCLES, (falls + following) // 2)


@dataclass(frozen=True, slots=True)
class AnalogSignal:
    """A voltage on an ADC channel, with a sine on top where `amplitude_uv` is not 0."""

    channel: int
    offset_uv: int
    amplitude_uv: int = 0
    frequency_hz: Fraction = Fraction(0)

    def segment(self) -> AnalogSegment:
        """The signal from power-on for ever."""
        step = round(_TURN * self.frequency_hz / CLOCK_HZ)
        return AnalogSegment(0, self.offset_uv, self.amplitude_uv, 0, step)


class Board:
    """Runs the chip and answers for what hangs on it. `console` collects what the sketch sends."""

    def __init__(
        self,
        image: FirmwareImage,
        chip: InspectedAtmega328p,
        simulation: Simulation,
        radio: Radio | None = None,
        pulses: Sequence[PulseTrain] = (),
        analog: Sequence[AnalogSignal] = (),
    ) -> None:
        self.image = image
        self.chip = chip
        self.console = bytearray()
        self._simulation = simulation
        self._clock = UnoClock(0)
        self._radio = radio
        self._typed = bytearray()
        self._trains = dict.fromkeys(pulses, 1)
        if image.stack_floor is not None:
            chip.set_stack_floor(image.stack_floor)
        chip.set_pin(_RECEIVE, True)
        for train in pulses:
            chip.set_pin(train.pin, True)
        for signal in analog:
            chip.set_analog(signal.channel, [signal.segment()])
        if radio is not None:
            chip.set_pin(RADIO_DIO0, False)
            chip.watch(RADIO_SELECT)
            chip.watch(RADIO_RESET)
            radio.dio0 = lambda high: chip.set_pin(RADIO_DIO0, high)

    def type(self, data: bytes) -> None:
        """Sends bytes to the sketch; they wait until it has opened its receiver."""
        self._typed += data

    def run(self, until_cycle: int) -> Stop:
        """Runs to a cycle (LIMIT or HALT), an interruption (LIMIT) or a FAULT."""
        self._feed(until_cycle)
        stop = Stop.LIMIT
        while self.chip.cycle < until_cycle:
            stop = self.chip.run(self._horizon(until_cycle))
            self.attend(stop)
            if stop is Stop.FAULT or self.is_interrupted:
                break
        return stop

    @property
    def is_interrupted(self) -> bool:
        """`run` has returned at a breakpoint, or because a watched byte changed."""
        return self.chip.at_breakpoint or self.chip.changed_address is not None

    def step(self, until_cycle: int) -> Stop:
        """Runs one instruction or enters one interrupt (LIMIT, also where `until_cycle` comes first)."""
        self._feed(until_cycle)
        while self.chip.cycle < until_cycle:
            stepped, stop = self.chip.step(self._horizon(until_cycle))
            self.attend(stop)
            if stop is Stop.FAULT:
                return stop
            if stepped:
                break
        return Stop.LIMIT

    def attend(self, stop: Stop) -> None:
        """Does what a stop of the chip asks for."""
        self._catch_up()
        match stop:
            case Stop.SPI:
                chip, radio = self.chip, self._radio
                chip.spi_reply(0xFF if radio is None else radio.transfer(chip.spi_mosi))
            case Stop.PIN:
                self._attend_pin(self.chip.pin_changed, self.chip.pin_level)
            case Stop.UART:
                self.console.append(self.chip.uart_byte)
            case _:
                pass

    def _attend_pin(self, pin: Pin, high: bool) -> None:
        if self._radio is None:
            return
        if pin is RADIO_RESET:
            if not high:
                self._radio.reset()
        elif high:
            self._radio.deselect()
        else:
            self._radio.select()

    def _horizon(self, until_cycle: int) -> int:
        next_ns = self._simulation.next_ns()
        if next_ns is None:
            return until_cycle
        return min(until_cycle, max(self._clock.cycle_at(next_ns), self.chip.cycle + 1))

    def _catch_up(self) -> None:
        """The world reaches the chip's time, what is due at it included."""
        self._simulation.run(max(self._simulation.now_ns, self._clock.ns_at(self.chip.cycle) + 1))

    def _feed(self, until_cycle: int) -> None:
        if self._typed and self.chip.read_data(_CONTROL_B, 1)[0] & _RECEIVER_ENABLE:
            self.chip.uart_send(bytes(self._typed))
            self._typed.clear()
        for train, number in self._trains.items():
            while (edges := train.edges(number))[0] < until_cycle + _AHEAD_CYCLES:
                self.chip.schedule_edges(train.pin, edges, first_high=False)
                number += 1
            self._trains[train] = number
