"""Where an image spent its cycles: by function, by interrupt, asleep and in reset, exact to the cycle."""

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from bench.uno.image import FirmwareImage
from bench.uno.workshop.inspection import CycleCounts, InspectedAtmega328p

VECTORS: Final = (
    *("RESET", "INT0", "INT1", "PCINT0", "PCINT1", "PCINT2", "WDT"),
    *("TIMER2_COMPA", "TIMER2_COMPB", "TIMER2_OVF", "TIMER1_CAPT", "TIMER1_COMPA", "TIMER1_COMPB"),
    *("TIMER1_OVF", "TIMER0_COMPA", "TIMER0_COMPB", "TIMER0_OVF", "SPI_STC", "USART_RX", "USART_UDRE"),
    *("USART_TX", "ADC", "EE_READY", "ANALOG_COMP", "TWI", "SPM_READY"),
)
"""Names of the interrupt vectors in their order (datasheet table 12-6)."""

_VECTOR_BYTES: Final = 4
_JMP: Final = 0x940C
_TABLE_BYTES: Final = _VECTOR_BYTES * len(VECTORS)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A function or an interrupt: how often it was entered, and cycles without and with what it called.

    An interrupt's own cycles are those of entering it and of the jump in the vector table; its handler is a
    function like others. Neither counts sleep, nor interrupts that came in between. What another function
    jumps to (a tail call) counts `whole` with the one that jumped.
    """

    name: str
    address: int
    calls: int
    own_cycles: int
    whole_cycles: int


@dataclass(frozen=True, slots=True)
class Profile:
    """All cycles of a run: own cycles of all rows, sleep and reset make `cycles`."""

    cycles: int
    sleep_cycles: int
    reset_cycles: int
    functions: tuple[ProfileRow, ...]
    """Most own cycles first."""
    interrupts: tuple[ProfileRow, ...]
    """In the order of their vectors."""

    def as_json(self) -> dict[str, Any]:
        """Plain values under the names of the fields."""
        return asdict(self)


def profile_of(chip: InspectedAtmega328p, image: FirmwareImage) -> Profile:
    """What a chip has counted since its profile was started at power-on."""
    counts = chip.cycle_counts()
    return Profile(
        chip.cycle,
        sum(chip.sleep_cycles.values()),
        chip.reset_cycles,
        _functions(counts, image),
        _interrupts(counts),
    )


def _interrupts(counts: CycleCounts) -> tuple[ProfileRow, ...]:
    rows = []
    for number, name in enumerate(VECTORS):
        address = number * _VECTOR_BYTES
        row = _row(name, address, range(address, address + _VECTOR_BYTES, 2), counts)
        if row.calls or row.own_cycles:
            rows.append(row)
    return tuple(rows)


def _functions(counts: CycleCounts, image: FirmwareImage) -> tuple[ProfileRow, ...]:
    name_at = _Names(counts, image)
    handlers = _handlers(image.flash)
    addresses: dict[tuple[str, int], list[int]] = {}
    for address in sorted(counts.own.keys() | counts.calls.keys()):
        if address >= _TABLE_BYTES:
            addresses.setdefault(name_at(address), []).append(address)
    rows = []
    for (name, start), members in addresses.items():
        vector = handlers.get(start)
        if vector is None:
            rows.append(_row(name, start, members, counts))
        else:
            entrance = vector * _VECTOR_BYTES
            row = _row(f"{name} ({VECTORS[vector]})", start, members, counts)
            calls, whole = counts.calls.get(entrance, 0), counts.whole.get(entrance, 0)
            rows.append(replace(row, calls=row.calls + calls, whole_cycles=row.whole_cycles + whole))
    return tuple(sorted(rows, key=lambda row: (-row.own_cycles, row.address)))


def _handlers(flash: bytes) -> dict[int, int]:
    """Vector numbers by the address their JMP in the vector table leads to; RESET has no handler."""
    words = struct.unpack_from(f"<{2 * len(VECTORS)}H", flash.ljust(_TABLE_BYTES, b"\xff"))
    targets = ((words[2 * vector], 2 * words[2 * vector + 1], vector) for vector in range(1, len(VECTORS)))
    leading = [(address, vector) for opcode, address, vector in targets if opcode == _JMP]
    return {address: vector for address, vector in leading if [a for a, _ in leading].count(address) == 1}


def _row(name: str, start: int, addresses: Iterable[int], counts: CycleCounts) -> ProfileRow:
    own, whole, calls = (
        sum(table.get(address, 0) for address in addresses)
        for table in (counts.own, counts.whole, counts.calls)
    )
    return ProfileRow(name, start, calls, own, whole)


class _Names:
    """Which function an address is in. Code without a symbol begins where it is called, or after a symbol."""

    def __init__(self, counts: CycleCounts, image: FirmwareImage) -> None:
        self._functions = sorted(
            (symbol.address, symbol.address + symbol.size + symbol.size % 2, name)
            for name, symbol in image.symbols.items()
            if symbol.in_flash and symbol.size
        )
        self._called = sorted(counts.calls)

    def __call__(self, address: int) -> tuple[str, int]:
        """Name and first address."""
        place = bisect_right(self._functions, address, key=lambda function: function[0]) - 1
        start, end, name = self._functions[place] if place >= 0 else (0, _TABLE_BYTES, "")
        if address < end and place >= 0:
            return name, start
        called = bisect_right(self._called, address) - 1
        start = max(end, _TABLE_BYTES, self._called[called] if called >= 0 else 0)
        return f"0x{start:04x}", start
