"""The emulated ATmega328P: a narrow, typed face on the C core in `core/`.

Sans-I/O: the core runs until a cycle or until something outside must look, and returns why. Time is in
cycles of the 16 MHz clock since power-on, also while that clock is stopped by a sleep mode. Nothing here
depends on how a run is cut into pieces. Timing follows the datasheet DS40002061 (ATmega48A to 328P).
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

from bench.sensors.signal import AnalogSegment
from bench.uno._core import ffi, lib
from bench.uno.translation.library import Translation

CLOCK_HZ: Final = 16_000_000
FLASH_BYTES: Final = 32 * 1024
EEPROM_BYTES: Final = 1024
BOOT_SECTION: Final = 0x7E00
"""Byte address of the Uno's boot section, the last 512 bytes of flash."""
DATA_SPACE_BYTES: Final = 0x900
AIN0: Final = 8
"""Analog channel of the comparator's plus input, pin PD6; channels 0 to 7 are those of the ADC."""
AIN1: Final = 9
"""Its minus input, pin PD7."""
ANALOG_CHANNELS: Final = 10
MAX_CYCLE: Final = (1 << 64) - 2
_NEVER: Final = (1 << 64) - 1
_UV_LIMIT: Final = 1_000_000_000


class CoreError(ValueError):
    """The host asked something of the core that makes no sense; the message names it."""


class Stop(enum.IntEnum):
    """Why `run` returned."""

    LIMIT = lib.STOP_LIMIT
    """The cycle asked for was reached."""
    SPI = lib.STOP_SPI
    """SPDR was written in master mode: see `spi_mosi`, answer with `spi_reply`."""
    PIN = lib.STOP_PIN
    """The chip changed a watched pin: see `pin_changed`, `pin_level`."""
    MARK = lib.STOP_MARK
    """GPIOR0 was written: see `mark_code`, `mark_argument`."""
    UART = lib.STOP_UART
    """A byte has completely left TXD: see `uart_byte`."""
    FAULT = lib.STOP_FAULT
    """The firmware did what no firmware should: see `fault`. The core stays in this state until a `reset`."""
    HALT = lib.STOP_HALT
    """The cycle asked for was reached asleep, and nothing inside can ever wake the CPU."""


_STOPS: Final[tuple[Stop, ...]] = tuple(sorted(Stop))


class Pin(enum.IntEnum):
    """The port pins, by the chip's names. Arduino D0-D7 are PD0-PD7, D8-D13 PB0-PB5, A0-A5 PC0-PC5."""

    PB0 = 0
    PB1 = 1
    PB2 = 2
    PB3 = 3
    PB4 = 4
    PB5 = 5
    PC0 = 8
    PC1 = 9
    PC2 = 10
    PC3 = 11
    PC4 = 12
    PC5 = 13
    PC6 = 14
    PD0 = 16
    PD1 = 17
    PD2 = 18
    PD3 = 19
    PD4 = 20
    PD5 = 21
    PD6 = 22
    PD7 = 23


class ResetCause(enum.IntEnum):
    """What MCUSR will say. A watchdog reset comes from inside only."""

    POWER_ON = lib.RESET_POWER_ON
    EXTERNAL = lib.RESET_EXTERNAL
    BROWN_OUT = lib.RESET_BROWN_OUT


class SleepMode(enum.IntEnum):
    """SM2:0 of SMCR (datasheet table 10-2)."""

    IDLE = 0
    ADC_NOISE_REDUCTION = 1
    POWER_DOWN = 2
    POWER_SAVE = 3
    STANDBY = 6
    EXTENDED_STANDBY = 7


_FAULT_NAMES: Final = {
    lib.FAULT_ILLEGAL_OPCODE: "illegal_opcode",
    lib.FAULT_READ_OUTSIDE: "read_outside",
    lib.FAULT_WRITE_OUTSIDE: "write_outside",
    lib.FAULT_STACK_IN_DATA: "stack_in_data",
    lib.FAULT_STACK_OVERFLOW: "stack_overflow",
    lib.FAULT_SELF_PROGRAMMING: "self_programming",
    lib.FAULT_CLOCK_PRESCALER: "clock_prescaler",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong: kind, byte address of the instruction, cycle, the address or opcode in question."""

    kind: str
    program_counter: int
    cycle: int
    detail: int


def _granted(outcome: Any) -> Any:
    """What the core's allocator returned, unless that was nothing."""
    if not outcome:
        raise MemoryError("no memory for the emulated ATmega328P")
    return outcome


class _Program:
    """A decoded flash image and its translation, shared by the cores that run it."""

    __slots__ = ("__weakref__", "_translation", "handle")

    def __init__(self, flash: bytes, translation: Translation | None) -> None:
        self.handle: Any = ffi.gc(_granted(lib.program_create(flash, len(flash))), lib.program_destroy)
        self._translation = translation  # keeps its library loaded
        if translation is not None and translation.address is not None:
            address = ffi.cast("void *", translation.address)
            if not lib.program_translate(self.handle, address):
                raise CoreError("the translation is of another flash image or of another build of the core")


_programs: WeakValueDictionary[tuple[bytes, Translation | None], _Program] = WeakValueDictionary()


def _program(flash: bytes, translation: Translation | None) -> _Program:
    program = _programs.get((flash, translation))
    if program is None:
        program = _programs[flash, translation] = _Program(flash, translation)
    return program


def with_boot_loader(flash: bytes, boot_loader: bytes) -> bytes:
    """All of flash with a boot loader in the boot section. Raises CoreError when there is no room."""
    if len(boot_loader) > FLASH_BYTES - BOOT_SECTION:
        raise CoreError(
            f"the boot loader has {len(boot_loader)} bytes; the boot section holds "
            f"{FLASH_BYTES - BOOT_SECTION}"
        )
    if len(flash) > BOOT_SECTION:
        raise CoreError(
            f"the flash image has {len(flash)} bytes; beside a boot loader there is room for {BOOT_SECTION}"
        )
    return (flash.ljust(BOOT_SECTION, b"\xff") + boot_loader).ljust(FLASH_BYTES, b"\xff")


class Atmega328p:
    """One microcontroller with the Uno's fuses and clock, out of power-on reset at cycle 0."""

    __slots__ = ("_core", "_program")

    def __init__(
        self,
        flash: bytes,
        eeprom: bytes = b"\xff" * EEPROM_BYTES,
        translation: Translation | None = None,
        boot_loader: bytes | None = None,
    ) -> None:
        """Flash image from byte 0 (the rest is erased), EEPROM of exactly 1024 bytes. Raises CoreError.

        A `translation` of this image makes it faster and changes nothing else. With a `boot_loader`, put into
        the boot section, resets lead there (fuse BOOTRST programmed); the translation is then of both.
        """
        if len(flash) > FLASH_BYTES:
            raise CoreError(f"the flash image has {len(flash)} bytes; the ATmega328P holds {FLASH_BYTES}")
        if boot_loader is not None:
            flash = with_boot_loader(flash, boot_loader)
        if len(eeprom) != EEPROM_BYTES:
            raise CoreError(f"the EEPROM image has {len(eeprom)} bytes; it must have {EEPROM_BYTES}")
        self._program = _program(bytes(flash), translation)
        boots = boot_loader is not None
        core = _granted(lib.core_create(self._program.handle, bytes(eeprom), boots))
        self._core: Any = ffi.gc(core, lib.core_destroy)

    # ---- running ----

    @property
    def cycle(self) -> int:
        """Cycles of 16 MHz since power-on."""
        return int(lib.core_cycle(self._core))

    def run(self, until_cycle: int) -> Stop:
        """Executes whole instructions until `cycle >= until_cycle`, or until the host must look."""
        if not 0 <= until_cycle <= MAX_CYCLE:
            raise CoreError(f"cannot run until cycle {until_cycle}; a cycle lies in 0..2^64-2")
        stop: int = lib.core_run(self._core, until_cycle)
        return _STOPS[stop]

    def wake_cycle(self) -> int | None:
        """CPU awake: now. Asleep: no cycle before this can see it wake by itself; None: it cannot at all."""
        cycle = int(lib.core_wake_cycle(self._core))
        return None if cycle == _NEVER else cycle

    def reset(self, cause: ResetCause) -> None:
        """Resets the chip; start-up takes 14 CK + 65 ms. EEPROM and flash survive, SRAM but for a power-on.

        An EEPROM write under way is torn by a power-on or a brown-out, and completes otherwise.
        """
        lib.core_reset(self._core, cause)

    # ---- stops ----

    @property
    def spi_mosi(self) -> int:
        """Stop SPI: the byte the master sends."""
        return int(lib.core_spi_mosi(self._core))

    def spi_reply(self, miso: int) -> None:
        """The slave's byte for the transfer under way; without a reply the master reads 0xFF."""
        lib.core_spi_reply(self._core, miso)

    def watch(self, pin: Pin) -> None:
        """Stops from now on whenever the chip drives or pulls this pin to another level."""
        lib.core_watch(self._core, pin)

    @property
    def pin_changed(self) -> Pin:
        """Stop PIN: which pin. Several that changed at once make as many stops."""
        return Pin(lib.core_pin_changed(self._core))

    @property
    def pin_level(self) -> bool:
        """Stop PIN: high or low."""
        return bool(lib.core_pin_level(self._core))

    @property
    def mark_code(self) -> int:
        """Stop MARK: GPIOR0."""
        return int(lib.core_mark_code(self._core))

    @property
    def mark_argument(self) -> int:
        """Stop MARK: GPIOR2 << 8 | GPIOR1."""
        return int(lib.core_mark_argument(self._core))

    @property
    def uart_byte(self) -> int:
        """Stop UART: the byte sent (its low eight bits with nine-bit frames)."""
        return int(lib.core_uart_byte(self._core))

    @property
    def fault(self) -> Fault | None:
        """Stop FAULT: what went wrong; None while nothing did."""
        fault = lib.core_fault(self._core)
        if fault.kind == lib.FAULT_NONE:
            return None
        return Fault(_FAULT_NAMES[fault.kind], fault.program_counter, fault.cycle, fault.detail)

    # ---- what the outside does ----

    def set_pin(self, pin: Pin, high: bool) -> None:
        """Drives an input pin from outside, from now on."""
        lib.core_set_pin(self._core, pin, high)

    def pin_high(self, pin: Pin) -> bool:
        """The level on a pin now. An input that nobody drives is high with its pull-up, low without."""
        return bool(lib.core_pin_high(self._core, pin))

    def schedule_edges(self, pin: Pin, cycles: Sequence[int], first_high: bool) -> None:
        """Appends alternating edges, each driving the pin at its cycle; no stop is made for them.

        Cycles ascend and are not past. `first_high` counts when no edge of this pin is outstanding; otherwise
        the alternation goes on. Raises CoreError.
        """
        if not cycles:
            return
        outstanding = int(lib.core_last_edge(self._core, pin))
        earliest = max(self.cycle, outstanding + 1)
        for cycle in cycles:
            if not earliest <= cycle <= MAX_CYCLE:
                raise CoreError(
                    f"edge of {pin.name} at cycle {cycle}: must ascend and be {earliest} or later"
                )
            earliest = cycle + 1
        _granted(lib.core_schedule_edges(self._core, pin, list(cycles), len(cycles), first_high))

    def set_analog(self, channel: int, segments: Sequence[AnalogSegment]) -> None:
        """Sets what an analog pin carries, from the first segment's start on; what was set before that stays.

        Raises CoreError when the segments do not ascend or a figure is out of range.
        """
        if not 0 <= channel < ANALOG_CHANNELS:
            raise CoreError(f"analog channel {channel}: the chip has 0..{ANALOG_CHANNELS - 1}")
        starts = [segment.from_cycle for segment in segments]
        if starts != sorted(set(starts)) or (starts and not 0 <= starts[0] <= starts[-1] <= MAX_CYCLE):
            raise CoreError(f"analog segments of channel {channel} must ascend in from_cycle")
        if any(max(abs(segment.offset_uv), abs(segment.amplitude_uv)) > _UV_LIMIT for segment in segments):
            raise CoreError(f"analog segments of channel {channel} go beyond {_UV_LIMIT} microvolts")
        array = ffi.new("struct analog_segment[]", len(segments))
        for place, segment in zip(array, segments, strict=True):
            place.from_cycle = segment.from_cycle
            place.offset_uv = segment.offset_uv
            place.amplitude_uv = segment.amplitude_uv
            place.phase = segment.phase & _NEVER
            place.phase_step = segment.phase_step & _NEVER
        _granted(lib.core_set_analog(self._core, channel, array, len(segments)))

    def uart_send(self, data: bytes) -> None:
        """Sends bytes into RXD, back to back at the rate and format the USART is set to when each begins."""
        _granted(lib.core_uart_send(self._core, data, len(data)))

    # ---- looking inside ----

    def read_data(self, address: int, count: int) -> bytes:
        """Data space (registers, I/O, SRAM) without a read's side effects. Raises CoreError outside it."""
        self._check_data_space(address, count)
        data = ffi.new("uint8_t[]", count)
        lib.core_peek(self._core, address, data, count)
        return bytes(ffi.buffer(data))

    def write_data(self, address: int, data: bytes) -> None:
        """Puts bytes into the working registers (0 to 31) or SRAM (0x100 on). Raises CoreError elsewhere."""
        self._check_data_space(address, len(data))
        if address + len(data) > 0x20 and address < 0x100:
            raise CoreError(f"write_data at 0x{address:03x}: I/O registers can be written by firmware only")
        lib.core_poke(self._core, address, data, len(data))

    @staticmethod
    def _check_data_space(address: int, count: int) -> None:
        if address < 0 or count < 0 or address + count > DATA_SPACE_BYTES:
            raise CoreError(
                f"data 0x{address:03x} + {count} lies outside 0x000..0x{DATA_SPACE_BYTES - 1:03x}"
            )

    @property
    def flash(self) -> bytes:
        """All of flash as programmed; a page under programming shows its old contents until it is done."""
        return bytes(ffi.buffer(lib.core_flash(self._core), FLASH_BYTES))

    @property
    def eeprom(self) -> bytes:
        """The EEPROM's cells; a byte being programmed shows its old value until it is done."""
        return bytes(ffi.buffer(lib.core_eeprom(self._core), EEPROM_BYTES))

    @property
    def program_counter(self) -> int:
        """Byte address of the next instruction."""
        return int(lib.core_program_counter(self._core))

    @program_counter.setter
    def program_counter(self, address: int) -> None:
        lib.core_set_program_counter(self._core, address)

    @property
    def status_register(self) -> int:
        """SREG."""
        return int(lib.core_status_register(self._core))

    @status_register.setter
    def status_register(self, value: int) -> None:
        lib.core_set_status_register(self._core, value)

    @property
    def stack_pointer(self) -> int:
        """SP: the next free byte."""
        return int(lib.core_stack_pointer(self._core))

    def set_stack_floor(self, address: int) -> None:
        """Faults with `stack_in_data` once the stack takes a byte below this address (the ELF's `_end`)."""
        lib.core_set_stack_floor(self._core, address)

    # ---- figures ----

    @property
    def active_cycles(self) -> int:
        """Cycles in which the CPU ran or was halted for an access; with sleep and reset they make `cycle`."""
        return self.cycle - sum(self.sleep_cycles.values()) - self.reset_cycles

    @property
    def sleep_cycles(self) -> dict[SleepMode, int]:
        """Cycles asleep, oscillator start-up included, by mode."""
        return {mode: int(lib.core_sleep_cycles(self._core, mode)) for mode in SleepMode}

    @property
    def reset_cycles(self) -> int:
        """Cycles in reset and start-up after one."""
        return int(lib.core_reset_cycles(self._core))

    @property
    def lowest_stack(self) -> int:
        """The lowest stack pointer seen; what it is between `out SPH` and `out SPL` does not count."""
        return int(lib.core_lowest_stack(self._core))

    # ---- whole state ----

    def save(self) -> bytes:
        """The whole state but the flash image. Equal states give equal bytes (same build of the core)."""
        size = lib.core_state_size(self._core)
        state = ffi.new("uint8_t[]", size)
        lib.core_save(self._core, state)
        return bytes(ffi.buffer(state))

    def restore(self, state: bytes) -> None:
        """Takes over a saved state. Raises CoreError when it is not one of this image and this build."""
        if not lib.core_restore(self._core, state, len(state)):
            raise CoreError(
                "the saved state is damaged, of another firmware image or of another build of the core"
            )
