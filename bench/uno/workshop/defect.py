"""What went wrong in a firmware, told in one sentence with program counter, symbol and cycle."""

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from bench.uno.atmega328p import CLOCK_HZ, Fault
from bench.uno.image import FirmwareImage
from bench.uno.workshop.inspection import InspectedAtmega328p, Origin

RESTART_LIMIT: Final = 5
"""So many restarts are a loop, when they come one after the other without more than the pause between."""
_PAUSE_CYCLES: Final = {Origin.JUMP: CLOCK_HZ, Origin.WATCHDOG: 10 * CLOCK_HZ}
"""The watchdog waits up to 8 s before it resets, and start-up takes 65 ms."""

_TELL: Final[dict[str, Callable[[int], str]]] = {
    "illegal_opcode": lambda opcode: f"the opcode 0x{opcode:04x} is none of the chip's instructions",
    "read_outside": lambda address: f"reads data address 0x{address:04x}, but SRAM ends at 0x08ff",
    "write_outside": lambda address: f"writes data address 0x{address:04x}, but SRAM ends at 0x08ff",
    "stack_in_data": lambda pointer: f"the stack has grown into the variables (SP is 0x{pointer:04x})",
    "stack_overflow": lambda pointer: f"the stack has left SRAM (SP is 0x{pointer:04x})",
    "self_programming": lambda detail: (
        f"uses SPM outside the boot section, or runs in flash under programming (0x{detail:04x})"
    ),
    "clock_prescaler": lambda value: f"divides the clock (CLKPR 0x{value:02x}), which is not modelled",
}


def told_place(image: FirmwareImage, program_counter: int, cycle: int) -> str:
    """Where and when: `0x01a4 in loop, cycle 12345`."""
    symbol = image.symbol_at(program_counter)
    address = f"0x{program_counter:04x}"
    return f"{address}, cycle {cycle}" if symbol == address else f"{address} in {symbol}, cycle {cycle}"


def told_fault(image: FirmwareImage, fault: Fault) -> str:
    """The sentence for a fault of the core."""
    place = told_place(image, fault.program_counter, fault.cycle)
    tell = _TELL.get(fault.kind)
    what = tell(fault.detail) if tell else f"{fault.kind.replace('_', ' ')} (0x{fault.detail:x})"
    return f"{image.name}: {what}; at {place}"


class RestartWatch:
    """Looks now and then whether a program begins anew over and over."""

    def __init__(self, chip: InspectedAtmega328p, image: FirmwareImage) -> None:
        self._chip = chip
        self._image = image
        self._seen = dict.fromkeys(Origin, 0)
        self._recent: dict[Origin, deque[int]] = {origin: deque(maxlen=RESTART_LIMIT) for origin in Origin}
        self.news: list[str] = []
        """Sentences about the first restarts, for the caller to take."""

    def look(self) -> str | None:
        """The sentence for a loop on reset, when there is one."""
        for origin in Origin:
            restarts = self._chip.restarts(origin)
            fresh = restarts.count - self._seen[origin]
            if not fresh:
                continue
            self._seen[origin] = restarts.count
            recent = self._recent[origin]
            recent.extend([restarts.cycle] * min(fresh, RESTART_LIMIT))
            place = told_place(self._image, restarts.program_counter, restarts.cycle)
            if len(recent) == RESTART_LIMIT and self._are_close(origin):
                what = f"{_TOLD_ORIGIN[origin]} {restarts.count} times"
                return f"{self._image.name}: loops on reset: {what}, the last at {place}"
            if restarts.count < RESTART_LIMIT:
                self.news.append(f"{_TOLD_ORIGIN[origin]}, at {place}")
        return None

    def _are_close(self, origin: Origin) -> bool:
        return all(
            later - earlier <= _PAUSE_CYCLES[origin] for earlier, later in pairwise(self._recent[origin])
        )


_TOLD_ORIGIN: Final = {
    Origin.WATCHDOG: "the watchdog reset the chip",
    Origin.JUMP: "the program ran to address 0 without a reset",
}


class SleepWatch:
    """Looks now and then whether a program lets the CPU sleep at all."""

    def __init__(self, chip: InspectedAtmega328p, image: FirmwareImage, limit_cycles: int = CLOCK_HZ) -> None:
        self._chip = chip
        self._image = image
        self._limit_cycles = limit_cycles
        self._slept_cycles = self._since_cycle = 0

    def look(self) -> str | None:
        """The sentence for a CPU that has not slept for the limit."""
        chip = self._chip
        slept = sum(chip.sleep_cycles.values()) + chip.reset_cycles
        if slept != self._slept_cycles:
            self._slept_cycles, self._since_cycle = slept, chip.cycle
        if chip.cycle - self._since_cycle < self._limit_cycles:
            return None
        place = told_place(self._image, chip.program_counter, chip.cycle)
        return f"{self._image.name}: has not slept since cycle {self._since_cycle}; is at {place}"
