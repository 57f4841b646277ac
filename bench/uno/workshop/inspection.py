"""The emulated chip under a developer's eyes: breakpoints, steps, pins over time, where the cycles went.

It does the same at the same cycles as one that nobody inspects; inspected running is slower.
"""

import enum
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bench.uno._core import ffi, lib
from bench.uno.atmega328p import (
    DATA_SPACE_BYTES,
    EEPROM_BYTES,
    FLASH_BYTES,
    MAX_CYCLE,
    Atmega328p,
    CoreError,
    Pin,
    Stop,
)
from bench.uno.translation.library import Translation

_PINS: Final = {int(pin): pin for pin in Pin}


class PinChange(NamedTuple):
    """A pin is at a level from this cycle on. Bits of the USART and SPI come whole frames at a time."""

    cycle: int
    pin: Pin
    high: bool


class Origin(enum.Enum):
    """How a restart came about, besides one from outside."""

    WATCHDOG = "watchdog"
    JUMP = "jump"


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often the program began anew, and where (byte address) and when it last did so."""

    count: int
    program_counter: int
    cycle: int


@dataclass(frozen=True, slots=True)
class CycleCounts:
    """Where cycles went, by byte address; addresses without a cycle are left out.

    `own`: cycles of the instruction there; four of entering an interrupt count with its vector, and halts
    (EEPROM access, waking) with the instruction before. `whole`: cycles from entering a function or vector to
    its return, without interrupts between and sleep; recursion counts once. `calls`: times it was entered.
    """

    own: dict[int, int]
    whole: dict[int, int]
    calls: dict[int, int]


class InspectedAtmega328p(Atmega328p):
    """An :class:`Atmega328p` that tells more. Until asked for something it runs as fast as any."""

    __slots__ = ("_profiled", "_watched", "breakpoints", "counts_jumps")

    def __init__(
        self, flash: bytes, eeprom: bytes = b"\xff" * EEPROM_BYTES, translation: Translation | None = None
    ) -> None:
        super().__init__(flash, eeprom, translation)
        _demand(lib.core_inspect(self._core))
        self.breakpoints: set[int] = set()
        self.counts_jumps = False
        """Whether `restarts(Origin.JUMP)` counts; running is then slower. Watchdog resets count always."""
        self._profiled = False
        self._watched = 0

    def run(self, until_cycle: int) -> Stop:
        """As :meth:`Atmega328p.run`; also returns LIMIT at a breakpoint and after a watched byte changed.

        `at_breakpoint` and `changed_address` tell whether that is so. Running on passes over that breakpoint.
        """
        if not self._is_slow:
            return super().run(until_cycle)
        if not 0 <= until_cycle <= MAX_CYCLE:
            raise CoreError(f"cannot run until cycle {until_cycle}; a cycle lies in 0..2^64-2")
        return Stop(lib.core_run_inspected(self._core, until_cycle))

    def step(self, until_cycle: int) -> tuple[bool, Stop]:
        """Runs one instruction, or enters one interrupt, after any sleep: whether it did, and the stop."""
        stop = ffi.new("enum stop *")
        stepped = lib.core_step(self._core, min(until_cycle, MAX_CYCLE), stop)
        return bool(stepped), Stop(stop[0])

    @property
    def _is_slow(self) -> bool:
        """Something must be looked at after every instruction."""
        return bool(self.breakpoints) or self._watched > 0 or self.counts_jumps or self._profiled

    # ---- breakpoints ----

    def set_breakpoint(self, address: int) -> None:
        """Stop before the instruction at this byte address. Raises CoreError outside flash."""
        if not 0 <= address < FLASH_BYTES or address % 2:
            raise CoreError(f"no instruction can begin at flash address 0x{address:x}")
        self.breakpoints.add(address)
        lib.core_set_breakpoint(self._core, address, True)

    def clear_breakpoint(self, address: int) -> None:
        """Take it away again; it need not be there."""
        if address in self.breakpoints:
            self.breakpoints.remove(address)
            lib.core_set_breakpoint(self._core, address, False)

    @property
    def at_breakpoint(self) -> bool:
        """`run` has returned for a breakpoint at the program counter."""
        return self._is_slow and bool(lib.core_at_breakpoint(self._core))

    # ---- watched data ----

    def watch_data(self, address: int, count: int) -> None:
        """Stop (LIMIT) after an instruction that changed one of these registers or SRAM bytes.

        Raises CoreError elsewhere, and when more than 32 bytes are to be watched.
        """
        for place in range(address, address + count):
            if not (0 <= place < 0x20 or 0x100 <= place < DATA_SPACE_BYTES):
                raise CoreError(f"data 0x{place:03x} is neither a working register nor SRAM")
            if not lib.core_watch_data(self._core, place):
                raise CoreError("the chip watches 32 bytes at most")
            self._watched += 1

    def unwatch_data(self, address: int, count: int) -> None:
        """Take it away again."""
        for place in range(address, address + count):
            lib.core_unwatch_data(self._core, place)
            self._watched -= 1

    @property
    def changed_address(self) -> int | None:
        """`run` has returned for a change at this data address; None: for something else."""
        if not (self._is_slow and lib.core_at_change(self._core)):
            return None
        return int(lib.core_changed_address(self._core))

    # ---- restarts ----

    def restarts(self, origin: Origin) -> Restarts:
        """How often the program began anew this way."""
        watchdog = origin is Origin.WATCHDOG
        found = lib.core_watchdog_resets(self._core) if watchdog else lib.core_jumps_to_reset(self._core)
        return Restarts(found.count, found.program_counter, found.cycle)

    # ---- pins ----

    def log_pins(self) -> None:
        """Keep every change of a pin from now on, from inside or outside, until `take_pin_changes`."""
        lib.core_log_pins(self._core, True)

    def take_pin_changes(self) -> list[PinChange]:
        """Changes since the last call. In the order of time but for frames of USART and SPI.

        Those of the USART may lie up to a frame ahead, those of the SPI up to a byte behind.
        """
        if lib.core_pins_lost(self._core):
            raise MemoryError("no memory for the changes of the emulated ATmega328P's pins")
        changes = lib.core_pin_changes(self._core)
        count = lib.core_pin_change_count(self._core)
        taken = [
            PinChange(change.cycle, _PINS[change.pin], change.high)
            for change in (changes[index] for index in range(count))
            if change.pin in _PINS
        ]
        lib.core_forget_pin_changes(self._core)
        return taken

    # ---- profile ----

    def start_profile(self) -> None:
        """Count cycles by address from now on."""
        _demand(lib.core_profile(self._core))
        self._profiled = True

    def cycle_counts(self) -> CycleCounts:
        """Where the cycles went; functions under way end now. Raises CoreError without a profile."""
        if not self._profiled:
            raise CoreError("no profile was started on this chip")
        lib.core_profile_close(self._core)
        tables = (lib.core_profile_own, lib.core_profile_whole, lib.core_profile_calls)
        own, whole, calls = (
            {
                2 * word: count
                for word, count in enumerate(ffi.unpack(table(self._core), FLASH_BYTES // 2))
                if count
            }
            for table in tables
        )
        return CycleCounts(own, whole, calls)

    # ---- what only a developer may change ----

    def write_eeprom(self, address: int, data: bytes) -> None:
        """Puts bytes into EEPROM cells at once. Raises CoreError outside it."""
        if address < 0 or address + len(data) > EEPROM_BYTES:
            raise CoreError(f"EEPROM 0x{address:03x} + {len(data)} lies outside its {EEPROM_BYTES} bytes")
        lib.core_poke_eeprom(self._core, address, data, len(data))

    def set_stack_pointer(self, address: int) -> None:
        """SP."""
        lib.core_set_stack_pointer(self._core, address & 0xFFFF)


def _demand(granted: Any) -> None:
    if not granted:
        raise MemoryError("no memory to inspect the emulated ATmega328P")
