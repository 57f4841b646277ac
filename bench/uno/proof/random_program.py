"""Random but harmless AVR programs, decoded from bytes so that Hypothesis can shrink them.

A program is a list of units. A unit does one thing, and is entered only at its beginning: what a pointer
access, a skip or a return needs stands in the same unit. So every jump stays in the program, every access in
SRAM (or the registers, or GPIOR0 to GPIOR2), and instructions whose result the manual calls undefined
(`ld r26,X+`) do not occur. Encodings: AVR Instruction Set Manual (DS40002198).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

UNIT_BYTES: Final = 5
STACK_TOP: Final = 0x500

_TWO_REGISTERS: Final = (
    *(0x0400, 0x0800, 0x0C00, 0x1400, 0x1800, 0x1C00, 0x2000, 0x2400, 0x2800, 0x2C00, 0x9C00),
)
_IMMEDIATE: Final = (0x3000, 0x4000, 0x5000, 0x6000, 0x7000, 0xE000)
_ONE_REGISTER: Final = (0x9400, 0x9401, 0x9402, 0x9403, 0x9405, 0x9406, 0x9407, 0x940A)
_MULTIPLY: Final = (0x0300, 0x0308, 0x0380, 0x0388)
_X, _Y, _Z = 26, 28, 30
_POINTER_ACCESS: Final = (
    *((0x900C, _X, False), (0x900D, _X, True), (0x900E, _X, True), (0x8008, _Y, False), (0x9009, _Y, True)),
    *((0x900A, _Y, True), (0x8000, _Z, False), (0x9001, _Z, True), (0x9002, _Z, True)),
)
"""Loads: opcode, pointer, whether it moves. A store has bit 9 set as well."""
_GENERAL_PURPOSE: Final = (0x1E, 0x2A, 0x2B)
_READABLE: Final = (*_GENERAL_PURPOSE, 0x3D, 0x3E, 0x3F)
_WRITABLE: Final = (*_GENERAL_PURPOSE, 0x3F)
_BITS_OF_GPIOR0: Final = 0x1E << 3


@dataclass(frozen=True, slots=True)
class Jump:
    """A word or two to be made once it is known where the units lie: from here, to there, in words."""

    size: int
    target: int
    encode: Callable[[int, int], tuple[int, ...]]


_Part = int | Jump


def two_registers(opcode: int, d: int, r: int) -> int:
    """Layout of ADD Rd,Rr."""
    return opcode | d << 4 | r & 15 | (r & 16) << 5


def load_immediate(d: int, k: int) -> int:
    """LDI Rd,k with d of 16 to 31."""
    return 0xE000 | (k & 0xF0) << 4 | (d - 16) << 4 | k & 15


def _input_output(opcode: int, d: int, address: int) -> int:
    return opcode | d << 4 | (address & 0x30) << 5 | address & 15


def _arithmetic(a: int, b: int, c: int, d: int) -> list[_Part]:
    return [two_registers(_TWO_REGISTERS[a % len(_TWO_REGISTERS)], b & 31, c & 31)] * (1 + d % 2)


def _immediate(a: int, b: int, c: int, _: int) -> list[_Part]:
    return [_IMMEDIATE[a % len(_IMMEDIATE)] | (c & 0xF0) << 4 | (b & 15) << 4 | c & 15]


def _one_register(a: int, b: int, _c: int, _d: int) -> list[_Part]:
    return [_ONE_REGISTER[a % len(_ONE_REGISTER)] | (b & 31) << 4]


def _multiply(a: int, b: int, c: int, _: int) -> list[_Part]:
    if a % 5 == 4:
        return [0x0200 | (b & 15) << 4 | c & 15]
    return [_MULTIPLY[a % 5] | (b & 7) << 4 | c & 7]


def _words(a: int, b: int, c: int, _: int) -> list[_Part]:
    if a % 3 == 0:
        return [0x0100 | (b & 15) << 4 | c & 15]
    return [(0x9600 if a % 3 == 1 else 0x9700) | (c & 0x30) << 2 | (b & 3) << 4 | c & 15]


def _flags(a: int, b: int, c: int, _: int) -> list[_Part]:
    choices = (
        0x9408 | (b & 7) << 4,
        0x9488 | (b & 7) << 4,
        0xF800 | (c & 31) << 4 | b & 7,
        0xFA00 | (c & 31) << 4 | b & 7,
    )
    return [choices[a % 4]]


def _direct_access(a: int, b: int, c: int, d: int) -> list[_Part]:
    address = c & 31 if d % 4 == 0 else 0x200 + (d << 8 | c) % 0x600
    return [(0x9200 if a % 2 else 0x9000) | (b & 31) << 4, address]


def _pointer_access(a: int, b: int, c: int, d: int) -> list[_Part]:
    opcode, pointer, moves = _POINTER_ACCESS[a % len(_POINTER_ACCESS)]
    register = b & 31
    if moves and register in (pointer, pointer + 1):
        register = 0
    if opcode < 0x9000:
        opcode |= (c & 7) | (c & 0x18) << 7 | (c & 0x20) << 8
    high = load_immediate(pointer + 1, 2 + d % 6)
    return [high, opcode | register << 4 | (0x0200 if b & 32 else 0)]


def _program_memory(a: int, b: int, c: int, _: int) -> list[_Part]:
    register = 0 if b & 31 >= 30 else b & 31
    opcode = (0x95C8, 0x9004 | register << 4, 0x9005 | register << 4)[a % 3]
    return [load_immediate(31, c & 0x7F), opcode]


def _stack(a: int, b: int, _c: int, _d: int) -> list[_Part]:
    return [(0x920F if a % 2 else 0x900F) | (b & 31) << 4]


def _registers_of_io(a: int, b: int, c: int, _: int) -> list[_Part]:
    if a % 4 == 0:
        return [_input_output(0xB000, b & 31, _READABLE[c % len(_READABLE)])]
    if a % 4 == 1:
        return [_input_output(0xB800, b & 31, _WRITABLE[c % len(_WRITABLE)])]
    return [(0x9A00 if a % 4 == 2 else 0x9800) | _BITS_OF_GPIOR0 | b & 7]


def _skip(a: int, b: int, c: int, d: int) -> list[_Part]:
    bit = c & 7
    skips = (
        two_registers(0x1000, b & 31, c & 31 if a & 8 else b & 31),
        0xFC00 | (b & 31) << 4 | bit,
        0xFE00 | (b & 31) << 4 | bit,
        0x9900 | _BITS_OF_GPIOR0 | bit,
        0x9B00 | _BITS_OF_GPIOR0 | bit,
    )
    skipped: list[_Part] = [0x9000 | (d & 31) << 4, 0x200 + d] if d & 32 else [0x9403 | (d & 31) << 4]
    return [skips[a % 5], *skipped]


def _branch(a: int, b: int, _: int, d: int) -> list[_Part]:
    opcode = (0xF400 if a & 1 else 0xF000) | b & 7

    def encode(here: int, there: int) -> tuple[int, ...]:
        offset = there - here - 1
        return (opcode | (offset & 0x7F) << 3 if -64 <= offset < 64 else 0x0000,)

    return [Jump(1, d, encode)]


def _jump(a: int, _b: int, _c: int, d: int) -> list[_Part]:
    def relative(opcode: int) -> Callable[[int, int], tuple[int, ...]]:
        return lambda here, there: (opcode | (there - here - 1) & 0xFFF,)

    def absolute(opcode: int) -> Callable[[int, int], tuple[int, ...]]:
        return lambda _here, there: (opcode, there)

    def through_z(opcode: int) -> Callable[[int, int], tuple[int, ...]]:
        return lambda _here, there: (load_immediate(30, there & 255), load_immediate(31, there >> 8), opcode)

    def through_stack(opcode: int) -> Callable[[int, int], tuple[int, ...]]:
        return lambda _here, there: (
            *(load_immediate(16, there & 255), 0x930F, load_immediate(16, there >> 8), 0x930F, opcode),
        )

    jumps = (
        Jump(1, d, relative(0xC000)),
        Jump(1, d, relative(0xD000)),
        Jump(2, d, absolute(0x940C)),
        Jump(2, d, absolute(0x940E)),
        Jump(3, d, through_z(0x9409)),
        Jump(3, d, through_z(0x9509)),
        Jump(5, d, through_stack(0x9508)),
        Jump(5, d, through_stack(0x9518)),
    )
    return [jumps[a % 8]]


def _idle(a: int, _b: int, _c: int, _d: int) -> list[_Part]:
    return [(0x0000, 0x95A8)[a % 2]]


_STRAIGHT: Final = (
    *(_arithmetic, _immediate, _one_register, _multiply, _words, _flags, _direct_access, _pointer_access),
    *(_program_memory, _stack, _registers_of_io, _skip, _idle),
)
_BRANCHING: Final = (*_STRAIGHT, _branch, _branch, _jump)


def _sizes(parts: list[_Part]) -> int:
    return sum(1 if isinstance(part, int) else part.size for part in parts)


def program(seed: bytes, branching: bool) -> bytes:
    """The flash image that these bytes stand for, UNIT_BYTES a unit; at its end it loops for ever."""
    kinds = _BRANCHING if branching else _STRAIGHT
    prologue: list[_Part] = [
        load_immediate(16, STACK_TOP >> 8),
        0xBF0E,
        load_immediate(16, STACK_TOP & 255),
        0xBF0D,
    ]
    units = [prologue]
    for n in range(0, len(seed) - UNIT_BYTES + 1, UNIT_BYTES):
        kind, *operands = seed[n : n + UNIT_BYTES]
        units.append(kinds[kind % len(kinds)](*operands))
    units.append([0xCFFF])
    beginnings = [0]
    for unit in units:
        beginnings.append(beginnings[-1] + _sizes(unit))
    words: list[int] = []
    for index, unit in enumerate(units):
        for part in unit:
            if isinstance(part, int):
                words.append(part)
            else:
                target = min(max(index - 6 + part.target % 16, 1), len(units) - 1)
                words.extend(part.encode(len(words), beginnings[target]))
    return b"".join(word.to_bytes(2, "little") for word in words)
