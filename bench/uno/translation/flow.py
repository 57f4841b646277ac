"""Where code is in a flash image, and its blocks.

A block has one beginning; on its way it may branch off, and it goes on behind a branch not taken. Nothing in
it is jumped to, so that its cycles are known sums.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.uno.translation.instruction import (
    CALLS,
    CONDITIONS,
    FLASH_WORDS,
    JUMPS,
    MERELY_READ,
    MERELY_WRITTEN,
    RAMEND,
    SKIPS,
    SPH,
    SPL,
    SRAM_START,
    SREG,
    WORKING_REGISTERS,
    Instruction,
)

VECTORS: Final = tuple(range(0, 52, 2))
LONGEST_BLOCK: Final = 48
"""Instructions in a block at most: what the interpreter may have to do before an event."""

_RETURNS: Final = frozenset({"RET", "RETI", "IJMP"})
_ENDS: Final = _RETURNS | JUMPS
_IO: Final = frozenset({"SBI", "CBI", "SBIC", "SBIS", "WDR", "SLEEP"})
_INTERPRETED: Final = frozenset({"ILLEGAL", "WRAP", "SPM"})
_SIMPLE: Final = frozenset(
    (
        *(
            "NOP",
            "ADD",
            "ADC",
            "SUB",
            "SBC",
            "AND",
            "OR",
            "EOR",
            "MOV",
            "CP",
            "CPC",
            "SUBI",
            "SBCI",
            "ANDI",
            "ORI",
        ),
        *("CPI", "LDI", "MOVW", "COM", "NEG", "INC", "DEC", "SWAP", "ASR", "LSR", "ROR", "BST", "BLD"),
    )
)
"""Of one word and one cycle, acting on working registers and flags alone: skipping them saves no time."""


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions in sequence; `within` cycles lie before the last of them."""

    instructions: tuple[Instruction, ...]
    within: int

    @property
    def address(self) -> int:
        """Where it begins."""
        return self.instructions[0].address

    @property
    def next(self) -> int:
        """Where it goes on when nothing leads away."""
        return self.instructions[-1].next


@dataclass(frozen=True, slots=True)
class Flow:
    """All blocks by their addresses, and those among them at which translated code can be entered."""

    blocks: dict[int, Block]
    entries: frozenset[int]


def is_io(address: int) -> bool:
    """Whether a data address is that of an I/O register."""
    return WORKING_REGISTERS <= address < SRAM_START


def is_interpreted(instruction: Instruction) -> bool:
    """Whether it is left to the interpreter always."""
    operation, k = instruction.operation, instruction.k
    if operation in _INTERPRETED or instruction.next + instruction.skipped >= FLASH_WORDS:
        return True
    if operation in ("LDS", "STS"):
        return k > RAMEND or k in (SPL, SPH, SREG)
    if operation in ("IN", "OUT"):
        return k in (SPL, SPH, SREG)
    return operation in ("BSET", "BCLR") and instruction.b in (2, 3, 4)


def touches_io(instruction: Instruction) -> bool:
    """Whether it may move the deadline: a block ends with it."""
    if instruction.operation in ("IN", "LDS"):
        return is_io(instruction.k) and instruction.k not in MERELY_READ
    if instruction.operation in ("OUT", "STS"):
        return is_io(instruction.k) and instruction.k not in MERELY_WRITTEN
    return instruction.operation in _IO


def goes_on(instruction: Instruction) -> bool:
    """Whether the next instruction in flash may follow."""
    return instruction.operation not in _ENDS and instruction.operation != "ILLEGAL"


def skips_in_place(skip: Instruction, skipped: Instruction) -> bool:
    """Whether a skip and what it skips take the same time either way, and need no branch."""
    return skip.operation in ("CPSE", "SBRC", "SBRS") and skipped.operation in _SIMPLE


def find_flow(code: Sequence[Instruction], words: Sequence[int]) -> Flow:
    """The blocks of all code that can be found in an image of these words."""
    found = _Search(code, words)
    starts = found.starts()
    blocks: dict[int, Block] = {}
    outstanding = sorted(starts)
    while outstanding:
        address = outstanding.pop()
        if address in blocks or address >= FLASH_WORDS:
            continue
        block = blocks[address] = _block(code, address, starts)
        if goes_on(block.instructions[-1]):
            outstanding.append(block.next)
    entries = (address for address in found.entries if not is_interpreted(code[address]))
    return Flow(dict(sorted(blocks.items())), frozenset(entries))


def _block(code: Sequence[Instruction], address: int, starts: set[int]) -> Block:
    taken = [code[address]]
    while taken[-1].next not in starts:
        last = taken[-1]
        if last.operation in _ENDS or is_interpreted(last) or is_interpreted(code[last.next]):
            break
        if last.operation in CALLS or last.operation == "ICALL" or touches_io(last):
            break
        if len(taken) >= LONGEST_BLOCK and not skips_in_place(last, code[last.next]):
            break
        taken.append(code[last.next])
    return Block(tuple(taken), sum(instruction.cycles for instruction in taken[:-1]))


class _Search:
    """Code reached from the vectors, and from what looks like a pointer to a function."""

    def __init__(self, code: Sequence[Instruction], words: Sequence[int]) -> None:
        self._code = code
        self._words = words
        self.reached: set[int] = set()
        self.targets: set[int] = set()
        self.entries: set[int] = set()
        self._follow(VECTORS)
        while candidates := self._pointed_to() - self.entries:
            self._follow(candidates)

    def starts(self) -> set[int]:
        """Where blocks begin because something leads there."""
        starts = (self.targets | self.entries) & self.reached
        around = {code.next + code.skipped for code in self._skips() if code.next in starts}
        return starts | around

    def _skips(self) -> Iterator[Instruction]:
        return (self._code[address] for address in self.reached if self._code[address].operation in SKIPS)

    def _follow(self, roots: Iterable[int]) -> None:
        self.entries.update(roots)
        outstanding = list(roots)
        while outstanding:
            address = outstanding.pop()
            if address in self.reached or address >= FLASH_WORDS:
                continue
            self.reached.add(address)
            outstanding.extend(self._leads_to(self._code[address]))

    def _leads_to(self, i: Instruction) -> Iterator[int]:
        if i.operation in CALLS:
            self.entries.update((i.k, i.next))
            yield i.k
        elif i.operation in ("ICALL", "SLEEP") or (is_interpreted(i) and goes_on(i)):
            self.entries.add(i.next)
        elif i.operation in JUMPS or i.operation in CONDITIONS:
            (self.entries if i.k <= i.address else self.targets).add(i.k)
            yield i.k
        elif i.operation in SKIPS and not skips_in_place(i, self._code[i.next]):
            self.targets.add(i.next + i.skipped)
            yield i.next + i.skipped
        if goes_on(i):
            yield i.next

    def _pointed_to(self) -> set[int]:
        """Function pointers: words of what is not code, and constants loaded into a register pair.

        Only what begins behind an instruction that leads away counts.
        """
        words = {word for address, word in enumerate(self._words) if address not in self.reached}
        words |= {pair for address in self.reached for pair in self._loaded_pair(address)}
        return {word for word in words if self._may_begin(word)}

    def _loaded_pair(self, address: int) -> Iterator[int]:
        low, high = self._code[address], self._code[(address + 1) % FLASH_WORDS]
        if low.operation == high.operation == "LDI" and high.d == low.d + 1 and low.d % 2 == 0:
            yield high.k << 8 | low.k

    def _may_begin(self, word: int) -> bool:
        if word >= len(self._words) or word in VECTORS:
            return False
        before = self._code[word - 1], self._code[word - 2]
        return before[0].operation in _ENDS or before[1].operation == "JMP"
