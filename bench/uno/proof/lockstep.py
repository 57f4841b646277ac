"""Our core and simavr side by side, instruction by instruction, on the same program.

simavr is a process of its own (it is under the GPL): `Simavr` builds `simavr_oracle.c` against the Debian
package libsimavr-dev and speaks with it through pipes. It is an oracle for tests, not part of the bench.
"""

import enum
import shutil
import struct
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Self

from bench.uno.atmega328p import EEPROM_BYTES, FLASH_BYTES, MAX_CYCLE, Atmega328p, Stop

ORACLE_SOURCE: Final = Path(__file__).parent / "simavr_oracle.c"
SRAM_START: Final = 0x100
SRAM_BYTES: Final = 0x800
_HEADER: Final = "#include <simavr/sim_avr.h>\n"
_RECORD: Final = struct.Struct("<IQHHB32s")
_END: Final = (1 << 32) - 1
_VECTOR_TABLE_BYTES: Final = 26 * 4
_INTERRUPTS_ENABLED: Final = 0x80
_JUMP_ON_THE_SPOT: Final = 0xCFFF


class Kind(enum.IntEnum):
    """What a step of our core was."""

    INSTRUCTION = 0
    INTERRUPT_ENTRY = 1
    WAITING = 2
    """Asleep, starting up, or halted for an EEPROM access."""


class _Mode(enum.IntEnum):
    FREE = 0
    GUIDED = 1
    MARKS = 2


@dataclass(frozen=True, slots=True)
class State:
    """What a step leaves: cycle, byte address of the next instruction, SP, SREG, r0 to r31."""

    step: int
    cycle: int
    program_counter: int
    stack_pointer: int
    status: int
    registers: bytes

    @classmethod
    def unpacked(cls, record: bytes) -> Self:
        """A state from the oracle's form."""
        return cls(*_RECORD.unpack(record))

    def packed(self) -> bytes:
        """The oracle's form."""
        return _RECORD.pack(
            self.step, self.cycle, self.program_counter, self.stack_pointer, self.status, self.registers
        )

    def __str__(self) -> str:
        registers = " ".join(f"{value:02x}" for value in self.registers)
        return (
            f"cycle {self.cycle} pc 0x{self.program_counter:04x} sp 0x{self.stack_pointer:04x} "
            f"sreg 0x{self.status:02x} r0.. {registers}"
        )


@dataclass(frozen=True, slots=True)
class Start:
    """What a program starts from: a fresh chip, but for these."""

    flash: bytes = field(repr=False)
    registers: bytes = bytes(32)
    status: int = 0
    sram: bytes = field(default=bytes(SRAM_BYTES), repr=False)
    eeprom: bytes = field(default=b"\xff" * EEPROM_BYTES, repr=False)

    def word(self, address: int) -> int:
        """The opcode at a byte address."""
        return int.from_bytes(self.flash.ljust(FLASH_BYTES, b"\xff")[address : address + 2], "little")


@dataclass(frozen=True, slots=True)
class Course:
    """The state after each step, what each step was, and the SRAM at the end."""

    states: Sequence[State] = field(repr=False)
    kinds: Sequence[Kind] = field(repr=False)
    sram: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """A step that comes out otherwise: the opcode, the state before it, and what each made of it."""

    opcode: int
    before: State
    ours: State
    theirs: State

    def __str__(self) -> str:
        return (
            f"step {self.ours.step}, opcode 0x{self.opcode:04x}\nbefore {self.before}\nours   {self.ours}\n"
            f"theirs {self.theirs}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two courses compared: how many instructions, where they differ, and whether SRAM ends the same."""

    instructions: int
    differences: tuple[Difference, ...]
    same_sram: bool


class Simavr:
    """The oracle process; many programs, one after the other. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Builds the oracle in this folder and starts it."""
        program = folder / "simavr_oracle"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(ORACLE_SOURCE), "-lsimavr"]
        subprocess.run(command, check=True)
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    @staticmethod
    def is_installed() -> bool:
        """Whether a C compiler finds simavr's headers."""
        if shutil.which("cc") is None:
            return False
        command = ["cc", "-E", "-x", "c", "-", "-o", "/dev/null"]
        return subprocess.run(command, input=_HEADER.encode(), capture_output=True).returncode == 0

    def free(self, start: Start, steps: int) -> tuple[list[State], bytes]:
        """The state after each of so many instructions, without interrupts, and the SRAM at the end."""
        return self._answer(_Mode.FREE, steps, start)

    def guided(self, start: Start, course: Course) -> tuple[list[State], bytes]:
        """What simavr makes of those instructions of the course that it makes otherwise; SRAM at the end."""
        guide = b"".join(
            bytes([kind]) + state.packed() for kind, state in zip(course.kinds, course.states, strict=True)
        )
        return self._answer(_Mode.GUIDED, len(course.states), start, guide)

    def marks(self, flash: bytes, count: int) -> list[tuple[int, int]]:
        """Cycle and argument of the first writes to GPIOR0, fewer than `count` if simavr comes no further."""
        states, _ = self._answer(_Mode.MARKS, count, Start(flash))
        return [(state.cycle, state.step) for state in states]

    def _answer(self, mode: _Mode, count: int, start: Start, guide: bytes = b"") -> tuple[list[State], bytes]:
        request = struct.pack("<III", mode, count, len(start.flash)) + start.flash + start.registers
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(request + bytes([start.status]) + start.sram + start.eeprom)
        # The oracle answers while it reads: who writes a long guide must not be the one to read.
        writer = threading.Thread(target=_write_all, args=(stdin, guide))
        writer.start()
        states: list[State] = []
        while (state := self._record(stdout)).step != _END:
            states.append(state)
        writer.join()
        return states, stdout.read(SRAM_BYTES)

    def _record(self, stdout: IO[bytes]) -> State:
        record = stdout.read(_RECORD.size)
        if len(record) < _RECORD.size:
            raise RuntimeError(f"the simavr oracle ended with exit code {self._process.wait()}")
        return State.unpacked(record)


def _write_all(stdin: IO[bytes], data: bytes) -> None:
    stdin.write(data)
    stdin.flush()


def _next_cycle(chip: Atmega328p) -> int:
    wake = chip.wake_cycle()
    return min(max(chip.cycle + 1, MAX_CYCLE if wake is None else wake), MAX_CYCLE)


def _is_store(word: int) -> bool:
    """OUT, SBI, STS, ST, PUSH, STD: what may have started an EEPROM access, which halts the CPU."""
    return (
        word & 0xF800 == 0xB800
        or word & 0xFF00 == 0x9A00
        or word & 0xFE00 == 0x9200
        or word & 0xD200 == 0x8200
    )


def _enters_interrupt(before: State, after: State) -> bool:
    return (
        bool(before.status & ~after.status & _INTERRUPTS_ENABLED)
        and after.stack_pointer == before.stack_pointer - 2
        and after.program_counter < _VECTOR_TABLE_BYTES
    )


def state_of(chip: Atmega328p, step: int) -> State:
    """The chip's state now, as the outcome of that step."""
    return State(
        step,
        chip.cycle,
        chip.program_counter,
        chip.stack_pointer,
        chip.status_register,
        chip.read_data(0, 32),
    )


def our_course(start: Start, steps: int) -> Course:
    """At most this many steps of our core; fewer when it faults or sleeps for good."""
    chip = Atmega328p(start.flash, start.eeprom)
    chip.write_data(0, start.registers)
    chip.write_data(SRAM_START, start.sram)
    chip.status_register = start.status
    states = [state_of(chip, _END)]
    kinds: list[Kind] = []
    may_halt = False
    for step in range(steps):
        asleep = chip.wake_cycle() != chip.cycle
        word = start.word(chip.program_counter)
        if chip.run(_next_cycle(chip)) in (Stop.FAULT, Stop.HALT):
            break
        before, after = states[-1], state_of(chip, step)
        states.append(after)
        halted = may_halt and after.program_counter == before.program_counter and word != _JUMP_ON_THE_SPOT
        if _enters_interrupt(before, after):
            kinds.append(Kind.INTERRUPT_ENTRY)
        else:
            kinds.append(Kind.WAITING if asleep or halted else Kind.INSTRUCTION)
        may_halt = asleep or _is_store(word)
    return Course(states[1:], kinds, chip.read_data(SRAM_START, SRAM_BYTES))


def _before(start: Start, course: Course, step: int) -> State:
    reset = State(_END, 0, 0, SRAM_START + SRAM_BYTES - 1, start.status, start.registers)
    return course.states[step - 1] if step else reset


def _difference(start: Start, course: Course, theirs: State) -> Difference:
    before = _before(start, course, theirs.step)
    return Difference(start.word(before.program_counter), before, course.states[theirs.step], theirs)


def compare_free(simavr: Simavr, start: Start, steps: int) -> Comparison:
    """Both run the program by themselves; the first difference, if any, is the only one told."""
    course = our_course(start, steps)
    states, sram = simavr.free(start, len(course.states))
    differing = (theirs for ours, theirs in zip(course.states, states, strict=True) if ours != theirs)
    first = next(differing, None)
    differences = () if first is None else (_difference(start, course, first),)
    return Comparison(len(course.states), differences, course.sram == sram)


def compare_guided(simavr: Simavr, start: Start, steps: int) -> Comparison:
    """simavr makes each instruction from our core's state before it; every difference is told."""
    course = our_course(start, steps)
    states, sram = simavr.guided(start, course)
    differences = tuple(_difference(start, course, theirs) for theirs in states)
    return Comparison(course.kinds.count(Kind.INSTRUCTION), differences, course.sram == sram)
