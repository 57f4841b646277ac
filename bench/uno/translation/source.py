"""Writes a flash image as C, in the words of operations.h: one function, a label for each block."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.uno.translation.flow import (
    Block,
    Flow,
    find_flow,
    is_interpreted,
    skips_in_place,
    touches_io,
)
from bench.uno.translation.instruction import (
    CALLS,
    CONDITIONS,
    FLASH_WORDS,
    JUMPS,
    MERELY_WRITTEN,
    SKIPS,
    WORKING_REGISTERS,
    Instruction,
    decode,
)
from bench.uno.translation.partition import partition

_X, _Y, _Z = "r26, r27", "r28, r29", "r30, r31"
_REGISTER_PAIRS: Final = {"X": _X, "Y": _Y, "Z": _Z}
_TWO_REGISTERS: Final = frozenset(
    (
        *("ADD", "ADC", "SUB", "SBC", "AND", "OR", "EOR", "MOV", "CP", "CPC"),
        *("MUL", "MULS", "MULSU", "FMUL", "FMULS", "FMULSU"),
    )
)
_IMMEDIATE: Final = {"SUBI": "SUB", "SBCI": "SBC", "ANDI": "AND", "ORI": "OR", "CPI": "CP", "LDI": "MOV"}
_ONE_REGISTER: Final = frozenset({"COM", "NEG", "INC", "DEC", "SWAP", "ASR", "LSR", "ROR"})

_STACK_USES: Final = {
    "PUSH": ("MAY_PUSH", 1),
    "POP": ("MAY_POP", 1),
    **dict.fromkeys(("CALL", "RCALL", "ICALL"), ("MAY_PUSH", 2)),
    **dict.fromkeys(("RET", "RETI"), ("MAY_POP", 2)),
}
"""Which check an instruction needs, and for how many bytes."""


def write_source(flash: bytes, checksum: int) -> str:
    """The C source of the translation of this image; the checksum is what the core tells images apart by."""
    words = [int.from_bytes(flash[at : at + 2], "little") for at in range(0, len(flash), 2)]
    flow = find_flow(decode(flash), words)
    return "\n".join(_lines(flow, checksum)) + "\n"


def _lines(flow: Flow, checksum: int) -> Iterator[str]:
    parts = [part for part in partition(flow) if any(block.address in flow.entries for block in part)]
    entries = [block.address for part in parts for block in part if block.address in flow.entries]
    yield '#include "operations.h"'
    yield f"static const uint16_t entries[] = {{{', '.join(map(str, entries))}}};"
    yield f"static const uint16_t entry_number[{FLASH_WORDS}] = {{"
    yield from (f"[{entry}] = {number}," for number, entry in enumerate(entries, 1))
    yield "};"
    first = 1
    part_of_entry: list[int] = []
    for number, part in enumerate(parts):
        writer = _PartWriter(number, first, part, flow)
        yield from writer.lines()
        first += len(writer.entries)
        part_of_entry += [number] * len(writer.entries)
    yield "typedef bool part(struct core *, const struct translation_services *, struct pace *);"
    yield f"static part *const parts[] = {{{', '.join(f'part_{number}' for number in range(len(parts)))}}};"
    yield f"static const uint16_t part_of_entry[] = {{0, {', '.join(map(str, part_of_entry))}}};"
    yield "RUN(entry_number, parts, part_of_entry)"
    longest = max(block.within for block in flow.blocks.values()) + 1
    yield "const struct translation translation = {"
    yield f"CORE_INTERFACE, {checksum}u, {longest}, entries, {len(entries)}, run,"
    yield "};"


class _PartWriter:
    """One part of the blocks as a C function. Returns whether another part can go on at once."""

    def __init__(self, number: int, first_entry: int, part: Sequence[Block], flow: Flow) -> None:
        self._number = number
        self._first_entry = first_entry
        self._part = part
        self._flow = flow
        self._own = {block.address for block in part}
        self.entries = [block.address for block in part if block.address in flow.entries]

    def lines(self) -> Iterator[str]:
        """The function."""
        body = [line for block in self._part for line in self._block(block)]
        named = {int(name) for line in body for name in re.findall(r"\br(\d+)\b", line)}
        used = sorted(named | _unnamed_registers(body))
        yield f"static bool part_{self._number}"
        yield "(struct core *core, const struct translation_services *services, struct pace *pace)"
        yield "{"
        yield "static const int32_t place[] = {"
        yield from (f"(int32_t)(&&enter_{entry} - &&leave)," for entry in self.entries)
        yield "};"
        yield " ".join(f"FILL({register})" for register in used)
        yield "BEGIN();"
        yield "dispatch:"
        yield f"DISPATCH({self._first_entry}, {len(self.entries)});"
        yield from body
        yield "leave: going_on = false;"
        yield "depart:"
        yield " ".join(f"SPILL({register})" for register in used)
        yield "END();"
        yield "}"

    def _block(self, block: Block) -> Iterator[str]:
        if block.address in self._flow.entries:
            yield f"enter_{block.address}: if (UNLIKELY(left <= {block.within})) goto leave;"
        yield f"at_{block.address}:;"
        spent = 0
        checked = _checked_stack_uses(block)
        instructions = iter(enumerate(block.instructions, 1))
        for following, i in instructions:
            if i.address in checked:
                yield f"{checked[i.address]}, {i.address}, {spent});"
            if is_interpreted(i):
                yield f"LEAVE({i.address}, {spent});"
                return
            if i.operation in CONDITIONS:
                yield f"if ({CONDITIONS[i.operation]}) {{ {self._go(i.k, spent + 2)} }}"
            elif i.operation in SKIPS:
                skipped = block.instructions[following] if following < len(block.instructions) else None
                if skipped is not None and skips_in_place(i, skipped):
                    next(instructions)
                    yield f"if (!({_skip_condition(i)})) {{ {_operation(skipped, spent + 1)} }}"
                    spent += skipped.cycles
                elif touches_io(i):
                    yield f"SPEND({spent}); {{ uint8_t io; IO_READ(io, {i.k}, 0);"
                    yield f"bool skip = {_skip_condition(i)}; SPEND(skip ? {1 + i.skipped} : 1); MEASURE();"
                    yield f"if (skip) {{ {self._go(i.next + i.skipped, 0)} }} }}"
                    yield self._go(i.next, 0)
                    return
                else:
                    skip = self._go(i.next + i.skipped, spent + 1 + i.skipped)
                    yield f"if ({_skip_condition(i)}) {{ {skip} }}"
            elif i.operation in JUMPS:
                yield self._go(i.k, spent + i.cycles)
                return
            elif i.operation in CALLS:
                yield f"PUSH_RETURN({i.next}); {self._go(i.k, spent + i.cycles)}"
                return
            elif i.operation in _INDIRECT:
                yield _INDIRECT[i.operation](i, spent)
                return
            elif touches_io(i):
                yield f"SPEND({spent}); {_io(i)}; SPEND({i.cycles}); MEASURE(); {self._go(i.next, 0)}"
                return
            else:
                yield _operation(i, spent)
            spent += i.cycles
        yield self._go(block.next, spent)

    def _go(self, address: int, spent: int) -> str:
        block = self._flow.blocks.get(address)
        if block is None:
            return f"LEAVE({address}, {spent});"
        if address not in self._own:
            return f"DEPART({address}, {spent});"
        return f"SPEND({spent}); GO(at_{address}, {address}, {block.within});"


def _checked_stack_uses(block: Block) -> dict[int, str]:
    """By the first instruction of each run of pushes, or of pops: the beginning of the check for the run."""
    runs: list[tuple[int, str, int]] = []
    going_on = ""
    for i in block.instructions:
        kind, count = _STACK_USES.get(i.operation, ("", 0))
        if kind and kind == going_on:
            runs[-1] = runs[-1][0], kind, runs[-1][2] + count
        elif kind:
            runs.append((i.address, kind, count))
        if kind or i.operation in ("OUT_SPL", "OUT_SPH"):
            going_on = kind
    return {address: f"{kind}({count}" for address, kind, count in runs}


def _skip_condition(i: Instruction) -> str:
    match i.operation:
        case "CPSE":
            return f"r{i.d} == r{i.r}"
        case "SBRC":
            return f"!(r{i.d} >> {i.b} & 1)"
        case "SBRS":
            return f"r{i.d} >> {i.b} & 1"
        case "SBIC":
            return f"!(io >> {i.b} & 1)"
        case _:
            return f"io >> {i.b} & 1"


def _ijmp(_: Instruction, spent: int) -> str:
    return f"SPEND({spent + 2}); program_counter = PAIR({_Z}) & (FLASH_WORDS - 1); goto dispatch;"


def _icall(i: Instruction, spent: int) -> str:
    return (
        f"PUSH_RETURN({i.next}); SPEND({spent + 3}); "
        f"program_counter = PAIR({_Z}) & (FLASH_WORDS - 1); goto dispatch;"
    )


def _ret(_: Instruction, spent: int) -> str:
    return f"POP_RETURN(); SPEND({spent + 4}); goto dispatch;"


def _reti(_: Instruction, spent: int) -> str:
    return f"POP_RETURN(); SPEND({spent}); INTERRUPTS_ENABLED(program_counter, 4); SPEND(4); goto dispatch;"


_INDIRECT: Final[dict[str, Callable[[Instruction, int], str]]] = {
    "IJMP": _ijmp,
    "ICALL": _icall,
    "RET": _ret,
    "RETI": _reti,
}


def _io(i: Instruction) -> str:
    match i.operation:
        case "IN":
            return f"IO_READ(r{i.d}, {i.k}, 0)"
        case "LDS":
            return f"IO_READ(r{i.d}, {i.k}, 1)"
        case "OUT" | "STS":
            return f"IO_WRITE(r{i.d}, {i.k}, {i.cycles}, {i.address})"
        case "SBI" | "CBI":
            return f"{i.operation}({i.k}, {i.b})"
        case _:
            return f"{i.operation}()"


def _operation(i: Instruction, spent: int) -> str:
    """An instruction that goes on with the next, and has no part in I/O."""
    name, here = i.operation, f"{i.address}, {spent}"
    if name in _TWO_REGISTERS:
        return f"{name}(r{i.d}, r{i.r});"
    if name in _IMMEDIATE:
        return f"{_IMMEDIATE[name]}(r{i.d}, {i.k});"
    if name in _ONE_REGISTER:
        return f"{name}(r{i.d});"
    match name:
        case "NOP":
            return ""
        case "MOVW":
            return f"r{i.d} = r{i.r}; r{i.d + 1} = r{i.r + 1};"
        case "ADIW" | "SBIW":
            return f"{name}(r{i.d}, r{i.d + 1}, {i.k});"
        case "BST" | "BLD":
            return f"{name}(r{i.d}, {i.b});"
        case "LDS" | "IN":
            return f"r{i.d} = r{i.k};" if i.k < WORKING_REGISTERS else f"r{i.d} = data[{i.k}];"
        case "STS" | "OUT":
            bits = MERELY_WRITTEN.get(i.k, 0xFF)
            return f"r{i.k} = r{i.d};" if i.k < WORKING_REGISTERS else f"data[{i.k}] = r{i.d} & {bits};"
        case "LPM_R0":
            return "LOAD_PROGRAM(r0);"
        case "LPM":
            return f"LOAD_PROGRAM(r{i.d});"
        case "LPM_INC":
            return f"LOAD_PROGRAM_INCREMENT(r{i.d});"
        case "PUSH" | "POP":
            return f"{name}(r{i.d});"
        case "IN_SREG":
            return f"IN_SREG(r{i.d});"
        case "IN_SPL":
            return f"IN_SP(r{i.d}, 0);"
        case "IN_SPH":
            return f"IN_SP(r{i.d}, 8);"
        case "OUT_SPH":
            return f"OUT_SPH(r{i.d});"
        case "OUT_SPL":
            return f"OUT_SPL(r{i.d}, {here});"
        case "OUT_SREG":
            return f"OUT_SREG(r{i.d}, {i.next}, {spent + 1});"
        case "BSET" | "BCLR":
            return _status_bit(i, name == "BSET", spent)
        case _:
            return _pointer_access(i, here)


def _status_bit(i: Instruction, value: bool, spent: int) -> str:
    match i.b:
        case 0:
            return f"SET_CARRY({int(value)});"
        case 1:
            return f"SET_ZERO({int(value)});"
        case 5:
            return f"SET_HALF({int(value)});"
        case 6:
            return f"SET_TRANSFER({int(value)});"
        case _:
            return f"SEI({i.next}, {spent + 1});" if value else "CLI();"


def _pointer_access(i: Instruction, here: str) -> str:
    """LD_X, LD_X_INC, LD_DEC_X, LDD_Y and their like."""
    access = "LOAD" if i.operation.startswith("LD") else "STORE"
    parts = i.operation.split("_")
    pair = _REGISTER_PAIRS[parts[2] if "DEC" in parts else parts[1]]
    if "INC" in parts:
        return f"{access}_INCREMENT(r{i.d}, {pair}, {here});"
    if "DEC" in parts:
        return f"{access}_DECREMENT(r{i.d}, {pair}, {here});"
    return f"{access}(r{i.d}, PAIR({pair}) + {i.k}, {here});"


def _unnamed_registers(lines: list[str]) -> set[int]:
    """Working registers that macros use without naming them as operands."""
    text = "\n".join(lines)
    used: set[int] = set()
    if re.search(r"\bF?MULS?U?\(", text):
        used |= {0, 1}
    if "LOAD_PROGRAM" in text:
        used |= {0, 30, 31}
    return used
