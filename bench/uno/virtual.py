"""The virtual seat of an Uno: the emulated chip, its radio and its sensors, in virtual time.

The core runs ahead on its own until it touches something shared; there it waits for the world to catch up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import Atmega328p, Pin, SleepMode, Stop
from bench.uno.clock import UnoClock
from bench.uno.image import SRAM_START, FirmwareImage
from bench.uno.marker import Marker
from bench.uno.translation.library import Translation
from bench.uno.workshop.defect import told_fault
from bench.world.simulation import Appointment, Simulation
from bench.world.trace import Trace

RADIO_SELECT = Pin.PB2
RADIO_RESET = Pin.PB1
RADIO_DIO0 = Pin.PD2

# An awake core next to an appointment of equal time must still move on.
_LEAST_STEP_CYCLES = 16
_CONSOLE_LINE_LIMIT = 200


class Radio(Protocol):
    """What an Uno's pins need of the radio chip beside it."""

    dio0: Callable[[bool], None] | None

    @property
    def quiet(self) -> bool:
        """Nothing can come out of the chip without a bus access."""

    def select(self) -> None:
        """Chip select goes low."""

    def deselect(self) -> None:
        """Chip select goes high."""

    def transfer(self, mosi: int) -> int:
        """One byte over SPI."""

    def touches_medium(self, mosi: int) -> bool:
        """Whether this next byte reads or changes anything that others share."""

    def reset(self) -> None:
        """The reset line is pulled low."""


@dataclass(frozen=True, slots=True)
class UnoFigures:
    """What one Uno spent in a trial, exact in the model's cycles."""

    cycles: int
    active_cycles: int
    sleep_cycles: dict[str, int]
    seal_cycles: tuple[int, ...]
    lowest_stack: int
    free_sram_bytes: int
    fault: str | None


class VirtualUno:
    """One emulated Uno with its radio, an actor of the simulation.

    `until_ns` is where the trial ends: no core runs further ahead than that.
    """

    def __init__(
        self,
        name: str,
        image: FirmwareImage,
        eeprom: bytes,
        radio: Radio,
        clock: UnoClock,
        simulation: Simulation,
        trace: Trace,
        until_ns: int,
        translation: Translation | None = None,
        boot_loader: bytes | None = None,
    ) -> None:
        self.name = name
        self.clock = clock
        self._image = image
        self._radio = radio
        self._simulation = simulation
        self._trace = trace
        self._until_cycle = clock.cycle_at(until_ns)
        self._appointment: Appointment | None = None
        self._attending = False
        self._pending: Stop | None = None
        self._console = bytearray()
        self._counter = -1
        self._seal_began = 0
        self._seal_cycles: list[int] = []
        self._fault: str | None = None
        self._stack_floor = image.stack_floor or SRAM_START
        self._core = Atmega328p(image.flash, eeprom, translation, boot_loader)
        self._core.set_stack_floor(self._stack_floor)
        self._core.set_pin(RADIO_DIO0, False)
        self._core.watch(RADIO_SELECT)
        self._core.watch(RADIO_RESET)
        radio.dio0 = self._dio0

    def play_pulses(self, pin: Pin, falling_ns: Sequence[int], width_ns: int) -> None:
        """Let a pulse output pull `pin` low for `width_ns` at each of these world times (ascending)."""
        self._core.set_pin(pin, True)
        at = self.clock.cycle_at
        edges = [cycle for t_ns in falling_ns for cycle in (at(t_ns), at(t_ns + width_ns))]
        self._core.schedule_edges(pin, edges, first_high=False)

    def play_waveform(self, channel: int, segments: Sequence[AnalogSegment]) -> None:
        """Put a voltage on an analogue input."""
        self._core.set_analog(channel, segments)

    def power_on(self) -> None:
        """Start the chip at its clock's origin."""
        self._appointment = self._simulation.at(self.clock.origin_ns, self.name, self._run)

    def figures(self) -> UnoFigures:
        """What was spent so far."""
        core = self._core
        return UnoFigures(
            cycles=core.cycle,
            active_cycles=core.active_cycles,
            sleep_cycles={SleepMode(mode).name.lower(): spent for mode, spent in core.sleep_cycles.items()},
            seal_cycles=tuple(self._seal_cycles),
            lowest_stack=core.lowest_stack,
            # The stack pointer points at the byte that the next push takes.
            free_sram_bytes=core.lowest_stack + 1 - self._stack_floor,
            fault=self._fault,
        )

    def _run(self) -> None:
        self._appointment = None
        while self._fault is None:
            stop, self._pending = self._pending, None
            if stop is None:
                stop = self._core.run(self._horizon_cycle())
            if stop in (Stop.LIMIT, Stop.HALT):
                self._wait()
                return
            core_ns = self.clock.ns_at(self._core.cycle)
            if core_ns > self._simulation.now_ns and self._is_shared(stop):
                self._pending = stop
                self._appointment = self._simulation.at(core_ns, self.name, self._run)
                return
            self._attend(stop)

    def _horizon_cycle(self) -> int:
        """How far the core may go before someone else could reach it: only an active radio can be reached."""
        if self._radio.quiet:
            return self._until_cycle
        next_ns = self._simulation.next_ns()
        if next_ns is None:
            return self._until_cycle
        cycle = max(self.clock.cycle_at(next_ns), self._core.cycle + _LEAST_STEP_CYCLES)
        return min(self._until_cycle, cycle)

    def _wait(self) -> None:
        if self._core.cycle >= self._until_cycle:
            return
        wake_cycle = self._core.wake_cycle()
        if wake_cycle is None:
            if self._radio.quiet:
                self._record("halted")
            return
        wake_ns = max(self._simulation.now_ns, self.clock.ns_at(min(wake_cycle, self._until_cycle)))
        self._appointment = self._simulation.at(wake_ns, self.name, self._run)

    def _is_shared(self, stop: Stop) -> bool:
        match stop:
            case Stop.SPI:
                return self._radio.touches_medium(self._core.spi_mosi)
            case Stop.PIN:
                return self._core.pin_changed is RADIO_RESET
            case _:
                return False

    def _attend(self, stop: Stop) -> None:
        self._attending = True
        match stop:
            case Stop.SPI:
                self._core.spi_reply(self._radio.transfer(self._core.spi_mosi))
            case Stop.PIN:
                self._attend_pin(self._core.pin_changed, self._core.pin_level)
            case Stop.MARK:
                self._attend_mark(self._core.mark_code, self._core.mark_argument)
            case Stop.UART:
                self._attend_console(self._core.uart_byte)
            case Stop.FAULT:
                self._fault = self._told_fault()
                self._record("fault", reason=self._fault)
        self._attending = False

    def _told_fault(self) -> str:
        fault = self._core.fault
        assert fault is not None, "the core stopped for a fault and does not tell it"
        return told_fault(self._image, fault)

    def _attend_pin(self, pin: Pin, high: bool) -> None:
        if pin is RADIO_RESET:
            if not high:
                self._radio.reset()
        elif high:
            self._radio.deselect()
        else:
            self._radio.select()

    def _attend_mark(self, code: int, argument: int) -> None:
        match Marker(code):
            case Marker.BOOT:
                self._counter = -1
                self._record("boot", epoch=argument)
            case Marker.SNAPSHOT:
                self._counter = self._unwrapped(argument)
                length = self._peek("frame_plaintext_length", 1)[0]
                plaintext = self._peek("frame_plaintext", length)
                self._record("snapshot", counter=self._counter, plaintext=plaintext)
            case Marker.SEAL_BEGIN:
                self._seal_began = self._core.cycle
            case Marker.SEAL_END:
                self._seal_cycles.append(self._core.cycle - self._seal_began)
            case Marker.DROPPED | Marker.SENT | Marker.ACKED as marker:
                self._record(marker.name.lower(), counter=self._unwrapped(argument))
            case marker:
                self._record(marker.name.lower(), argument=argument)

    def _peek(self, symbol: str, count: int) -> bytes:
        return self._core.read_data(self._image.symbol(symbol).address, count)

    def _unwrapped(self, argument: int) -> int:
        """The full counter behind its low 16 bits: the one nearest to the newest snapshot."""
        distance = (argument - self._counter + 0x8000) & 0xFFFF
        return self._counter + distance - 0x8000

    def _attend_console(self, byte: int) -> None:
        if byte == ord("\n") or len(self._console) == _CONSOLE_LINE_LIMIT:
            self._record("console", text=self._console.decode("ascii", "replace").rstrip("\r"))
            self._console.clear()
        if byte != ord("\n"):
            self._console.append(byte)

    def _dio0(self, high: bool) -> None:
        """The radio's interrupt line moves, now."""
        if self._attending:
            self._core.set_pin(RADIO_DIO0, high)
        else:
            self._act(lambda: self._core.set_pin(RADIO_DIO0, high))

    def _act(self, action: Callable[[], None]) -> None:
        """Let something outside act on the chip, now; a sleeping core has waited for it."""
        if self._fault is None:
            self._catch_up(self.clock.cycle_at(self._simulation.now_ns))
        action()
        if self._pending is None and self._fault is None:
            self._go_on()

    def _catch_up(self, cycle: int) -> None:
        if self._core.cycle < cycle:
            stop = self._core.run(cycle)
            assert stop in (Stop.LIMIT, Stop.HALT), f"{self.name} was left behind awake: {stop.name}"

    def _go_on(self) -> None:
        """Run again from now on, whatever the core was waiting for."""
        if self._appointment is not None:
            self._appointment.cancel()
        self._appointment = self._simulation.at(self._simulation.now_ns, self.name, self._run)

    def _record(self, kind: str, **fields: int | str | bytes | bool) -> None:
        t_ns = max(self._simulation.now_ns, self.clock.ns_at(self._core.cycle))
        self._trace.record(t_ns, self.name, kind, **fields)
