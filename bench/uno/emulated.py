"""The emulated seat of an Uno: the virtual seat's chip, paced to the wall clock, on a board as a lab has it.

`EmulatedBoard` is what lies on the desk and outlives power and trials; `EmulatedUno` is its chip from
power-on to power-off, an actor of the paced world.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import BOOT_SECTION, CLOCK_HZ, EEPROM_BYTES, FLASH_BYTES, Pin, ResetCause
from bench.uno.boot_loader import build_boot_loader
from bench.uno.clock import UnoClock
from bench.uno.emulated_port import BoardLine, NetworkPort, PseudoTerminal
from bench.uno.image import FirmwareImage
from bench.uno.marker import Marker
from bench.uno.virtual import Radio, UnoFigures, VirtualUno
from bench.world.paced import PacedWorld

_RECEIVE: Final = Pin.PD0
"""The board's USB interface keeps this line high while nobody sends."""
_FOR_EVER_NS: Final = 1 << 62
_START_UP_CYCLES: Final = 65 * CLOCK_HZ // 1000
"""Less than a reset takes (14 CK + 65 ms with the Uno's fuses)."""
_TURN: Final = 1 << 64


class BoardError(ValueError):
    """A board cannot do what it was asked for, or its stored memory is none; the message says the mend."""


@dataclass(frozen=True, slots=True)
class BoardMemory:
    """What a chip keeps without power: all of flash, boot section included, and the EEPROM."""

    flash: bytes
    eeprom: bytes


@dataclass(frozen=True, slots=True)
class _Pulses:
    """Pulses on a pin, in world time."""

    pin: Pin
    falling_ns: Sequence[int]
    width_ns: int


@dataclass(frozen=True, slots=True)
class _Waveform:
    """A voltage on an analogue input, in cycles of the chip's clock."""

    channel: int
    segments: Sequence[AnalogSegment]


class EmulatedUno(VirtualUno):
    """A board's chip while it has power. What is public may be called from any thread.

    The world sets `leash_ns`. Markers are understood while `known` is what flash holds: they are the bench's
    own view, which no real board gives.
    """

    leash_ns: int | None = None

    def __init__(
        self,
        name: str,
        memory: BoardMemory,
        radio: Radio,
        clock: UnoClock,
        world: PacedWorld,
        transmitted: Callable[[bytes], None],
        known: FirmwareImage | None = None,
    ) -> None:
        super().__init__(
            name,
            FirmwareImage("unknown firmware", memory.flash[:BOOT_SECTION]),
            memory.eeprom,
            radio,
            clock,
            world.simulation,
            world.trace,
            _FOR_EVER_NS,
            boot_loader=memory.flash[BOOT_SECTION:],
        )
        self._world = world
        self._transmitted = transmitted
        self._known = known
        self._unknown = self._image
        self._pulses: list[_Pulses] = []
        self._waveforms: list[_Waveform] = []
        self._core.set_pin(_RECEIVE, True)

    # ---- what the outside does ----

    def power_on(self) -> None:
        """Start the chip at its clock's origin."""
        self._world.leash(self)
        self._world.call(super().power_on)

    def power_off(self) -> BoardMemory:
        """Stop the chip, now: a byte or page being programmed is torn. What it keeps is returned."""

        def cut() -> BoardMemory:
            self._act(lambda: self._core.reset(ResetCause.POWER_ON))
            if self._appointment is not None:
                self._appointment.cancel()
            self._radio.reset()
            self._radio.dio0 = None
            self._world.unleash(self)
            return self.memory

        return self._world.call(cut)

    def reset(self) -> None:
        """Pull RESET low for a moment. This also ends a fault."""

        def pull() -> None:
            self._pending = None
            while self._fault is not None and self._core.cycle < self._present_cycle():
                # A chip that has faulted stands still; held in reset, its time goes on.
                self._core.reset(ResetCause.EXTERNAL)
                self._catch_up(min(self._present_cycle(), self._core.cycle + _START_UP_CYCLES))
            self._fault = None
            self._core.reset(ResetCause.EXTERNAL)
            self._record("reset", cause="external")

        self._world.call(lambda: self._act(pull))

    def receive(self, data: bytes) -> None:
        """Bytes for RXD, which they reach at the rate the chip is set to."""
        self._world.call(lambda: self._act(lambda: self._core.uart_send(data)))

    def play_pulses(self, pin: Pin, falling_ns: Sequence[int], width_ns: int) -> None:
        """Let a pulse output pull `pin` low for `width_ns` at each of these world times that is to come."""

        def play() -> None:
            to_come = [t_ns for t_ns in falling_ns if self.clock.cycle_at(t_ns) > self._core.cycle]
            VirtualUno.play_pulses(self, pin, to_come, width_ns)

        self._pulses.append(_Pulses(pin, falling_ns, width_ns))
        self._world.call(lambda: self._act(play))

    def play_waveform(self, channel: int, segments: Sequence[AnalogSegment]) -> None:
        """Put a voltage on an analogue input."""
        self._waveforms.append(_Waveform(channel, segments))
        self._world.call(lambda: self._act(lambda: VirtualUno.play_waveform(self, channel, segments)))

    def take_signals(self, before: "EmulatedUno") -> None:
        """Carry on with what plays into the board's pins, which a power cut does not end."""
        for pulses in before._pulses:
            self.play_pulses(pulses.pin, pulses.falling_ns, pulses.width_ns)
        shift_cycles = before.clock.cycle_at(self.clock.origin_ns)
        for waveform in before._waveforms:
            self.play_waveform(waveform.channel, _shifted(waveform.segments, shift_cycles))

    # ---- what the outside sees ----

    def figures(self) -> UnoFigures:
        """What was spent since power-on, up to the present: a chip that sleeps is asked as well."""

        def look() -> UnoFigures:
            self._act(lambda: None)
            return VirtualUno.figures(self)

        return self._world.call(look)

    @property
    def memory(self) -> BoardMemory:
        """What flash and EEPROM hold now."""
        return self._world.call(lambda: BoardMemory(self._core.flash, self._core.eeprom))

    # ---- otherwise than in virtual time ----

    def _horizon_cycle(self) -> int:
        if self.leash_ns is None:
            return self._core.cycle
        return min(super()._horizon_cycle(), self.clock.cycle_at(self.leash_ns))

    def _present_cycle(self) -> int:
        return self.clock.cycle_at(self._simulation.now_ns)

    def _attend_console(self, byte: int) -> None:
        self._transmitted(bytes([byte]))

    def _attend_mark(self, code: int, argument: int) -> None:
        if code == Marker.BOOT:
            self._recognise()
        if self._image is self._known:
            super()._attend_mark(code, argument)

    def _recognise(self) -> None:
        known = self._known
        is_known = known is not None and self._core.flash.startswith(known.flash)
        self._image = known if known is not None and is_known else self._unknown
        self._stack_floor = self._image.stack_floor or self._stack_floor
        self._core.set_stack_floor(self._stack_floor)


def _shifted(segments: Sequence[AnalogSegment], shift_cycles: int) -> list[AnalogSegment]:
    """The same voltage for a chip that starts so many cycles later."""
    moved = []
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        begin = segment.from_cycle - shift_cycles
        if begin >= 0:
            moved.append(replace(segment, from_cycle=begin))
        elif following is None or following.from_cycle > shift_cycles:
            phase = (segment.phase - begin * segment.phase_step) % _TURN
            moved.append(replace(segment, from_cycle=0, phase=phase))
    return moved


class EmulatedBoard:
    """An Uno on the desk: its chip's memory, its boot loader, and its serial port at a path that stays.

    With a `directory`, memory is read from there and written back at every power-off. The files can be read
    by their owner alone, since the EEPROM holds the board's key.
    """

    def __init__(self, name: str, directory: Path | None = None, boot_loader: bytes | None = None) -> None:
        self.name = name
        self._files = None if directory is None else _MemoryFiles(directory, name)
        stored = None if self._files is None else self._files.read()
        self._memory = (
            _fresh(build_boot_loader() if boot_loader is None else boot_loader) if stored is None else stored
        )
        self._terminal = PseudoTerminal()
        self._lines: list[BoardLine] = [self._terminal]
        self._asserting = 0
        self._world: PacedWorld | None = None
        self._uno: EmulatedUno | None = None
        self._before: tuple[PacedWorld, EmulatedUno] | None = None

    # ---- the desk ----

    @property
    def port(self) -> str:
        """The path of its serial port, as `/dev/ttyACM0` is that of a real one."""
        return self._terminal.path

    def serve(self, protocol: Literal["socket", "rfc2217"], host: str = "127.0.0.1", port: int = 0) -> str:
        """Offer the serial port by TCP as well, and return the URL for pyserial; port 0 is a free one."""
        line = NetworkPort(protocol, host, port)
        self._lines.append(line)
        if self._world is not None:
            world = self._world
            world.call(lambda: line.attach(world, self))
        return line.url

    @property
    def dtr(self) -> bool:
        """Whether a host asserts DTR at one of its ports."""
        return self._asserting > 0

    @property
    def memory(self) -> BoardMemory:
        """What flash and EEPROM hold now."""
        return self._memory if self._uno is None else self._uno.memory

    @memory.setter
    def memory(self, memory: BoardMemory) -> None:
        """Programmed from outside, as with an ISP programmer; the board must be off."""
        if self._uno is not None:
            raise BoardError(f"{self.name} has power; switch it off before its memory is replaced")
        self._memory = memory

    def close(self) -> None:
        """Take the board off the desk: power off, ports gone."""
        if self._uno is not None:
            self.power_off()
        for line in self._lines:
            line.close()
        self._lines.clear()

    # ---- power ----

    @property
    def uno(self) -> EmulatedUno | None:
        """The chip while it has power."""
        return self._uno

    def power_on(
        self, world: PacedWorld, radio: Radio, clock: UnoClock, known: FirmwareImage | None = None
    ) -> EmulatedUno:
        """Give it power at the clock's origin, or now where that is past. `known`: see `EmulatedUno`.

        After a power cut in the same world, the signals on its pins go on.
        """

        def switch() -> EmulatedUno:
            origin_ns = max(clock.origin_ns, world.simulation.now_ns)
            uno = EmulatedUno(
                self.name, self._memory, radio, replace(clock, origin_ns=origin_ns), world, self._send, known
            )
            for line in self._lines:
                line.attach(world, self)
            self._world, self._uno = world, uno
            uno.power_on()
            if self._before is not None and self._before[0] is world:
                uno.take_signals(self._before[1])
            world.trace.record(world.simulation.now_ns, self.name, "power", on=True)
            return uno

        if self._uno is not None:
            raise BoardError(f"{self.name} has power already; switch it off first")
        return world.call(switch)

    def power_off(self) -> None:
        """Cut its power, at whatever moment this is."""
        world, uno = self._world, self._uno
        if world is None or uno is None:
            raise BoardError(f"{self.name} has no power that could be switched off")

        def switch() -> None:
            self._memory = uno.power_off()
            self._uno = self._world = None
            self._before = world, uno
            for line in self._lines:
                line.detach()
            world.trace.record(world.simulation.now_ns, self.name, "power", on=False)

        world.call(switch)
        if self._files is not None:
            self._files.write(self._memory)

    # ---- between chip and ports ----

    def receive(self, data: bytes) -> None:
        """Bytes from a port."""
        if self._uno is not None:
            self._uno.receive(data)

    def set_dtr(self, asserted: bool) -> None:
        """DTR of a port: the chip is reset when the first asserts it."""
        before = self._asserting
        self._asserting += 1 if asserted else -1
        if not before and self._uno is not None:
            self._uno.reset()

    def _send(self, data: bytes) -> None:
        for line in self._lines:
            line.send(data)


def _fresh(boot_loader: bytes) -> BoardMemory:
    """A board as it comes: nothing but a boot loader."""
    flash = b"\xff" * BOOT_SECTION + boot_loader
    return BoardMemory(flash.ljust(FLASH_BYTES, b"\xff"), b"\xff" * EEPROM_BYTES)


class _MemoryFiles:
    """A board's memory on disk."""

    def __init__(self, directory: Path, name: str) -> None:
        stem = name.replace("/", "-")
        self._flash = directory / f"{stem}.flash"
        self._eeprom = directory / f"{stem}.eeprom"

    def read(self) -> BoardMemory | None:
        """What was written last; None when nothing was."""
        if not self._flash.exists() and not self._eeprom.exists():
            return None
        return BoardMemory(_read(self._flash, FLASH_BYTES), _read(self._eeprom, EEPROM_BYTES))

    def write(self, memory: BoardMemory) -> None:
        """Replace both files."""
        self._flash.parent.mkdir(parents=True, exist_ok=True)
        for path, content in ((self._flash, memory.flash), (self._eeprom, memory.eeprom)):
            written = path.with_name(path.name + ".new")
            descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(written, path)


def _read(path: Path, size: int) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BoardError(f"{path}: cannot be read: {error.strerror}; delete the board's two files") from error
    if len(content) != size:
        raise BoardError(f"{path}: has {len(content)} bytes, expected {size}; delete the board's two files")
    return content
