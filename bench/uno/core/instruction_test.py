"""Every instruction: results and flags against an independent model, cycles against the datasheet's table."""

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import Atmega328p, Stop
from bench.uno.core.assembly import assemble, boot

C, Z, N, V, S, H, T, I = range(8)  # noqa: E741  the datasheet's name of the bit


# ---- the model: the boolean formulas of the AVR Instruction Set Manual, bit by bit ----


@dataclass
class Model:
    """The working registers and SREG of a chip that knows the arithmetic instructions only."""

    r: list[int]
    flag: list[bool]

    def sreg(self) -> int:
        return sum(bit << position for position, bit in enumerate(self.flag))

    def set(self, **flags: bool) -> None:
        for name, value in flags.items():
            self.flag["CZNVSHTI".index(name)] = value
        self.flag[S] = self.flag[N] != self.flag[V]

    def add(self, d: int, b: int, carry: bool) -> None:
        a, result = self.r[d], (self.r[d] + b + carry) & 0xFF
        a3, b3, r3, a7, b7, r7 = (bool(x >> n & 1) for n in (3, 7) for x in (a, b, result))
        self.set(H=(a3 and b3) or (b3 and not r3) or (not r3 and a3), N=r7, Z=result == 0)
        self.set(V=(a7 and b7 and not r7) or (not a7 and not b7 and r7))
        self.set(C=(a7 and b7) or (b7 and not r7) or (not r7 and a7))
        self.r[d] = result

    def subtract(self, a: int, b: int, carry: bool, keep_zero: bool) -> int:
        result = (a - b - carry) & 0xFF
        a3, b3, r3, a7, b7, r7 = (bool(x >> n & 1) for n in (3, 7) for x in (a, b, result))
        self.set(H=(not a3 and b3) or (b3 and r3) or (r3 and not a3), N=r7)
        self.set(V=(a7 and not b7 and not r7) or (not a7 and b7 and r7))
        self.set(C=(not a7 and b7) or (b7 and r7) or (r7 and not a7))
        self.set(Z=result == 0 and (self.flag[Z] or not keep_zero))
        return result

    def logic(self, d: int, result: int) -> None:
        self.r[d] = result & 0xFF
        self.set(V=False, N=bool(result & 0x80), Z=result & 0xFF == 0)

    def shift_right(self, d: int, top: bool) -> None:
        carry = bool(self.r[d] & 1)
        self.r[d] = self.r[d] >> 1 | top << 7
        self.set(C=carry, N=top, Z=self.r[d] == 0)
        self.set(V=self.flag[N] != self.flag[C])

    def add_word(self, d: int, k: int) -> None:
        before = self.r[d] | self.r[d + 1] << 8
        after = (before + k) & 0xFFFF
        self.r[d], self.r[d + 1] = after & 0xFF, after >> 8
        self.set(V=not before >> 15 and bool(after >> 15), N=bool(after >> 15), Z=after == 0)
        self.set(C=not after >> 15 and bool(before >> 15))

    def subtract_word(self, d: int, k: int) -> None:
        before = self.r[d] | self.r[d + 1] << 8
        after = (before - k) & 0xFFFF
        self.r[d], self.r[d + 1] = after & 0xFF, after >> 8
        self.set(V=bool(before >> 15) and not after >> 15, N=bool(after >> 15), Z=after == 0)
        self.set(C=bool(after >> 15) and not before >> 15)

    def multiply(self, a: int, b: int, fractional: bool) -> None:
        product = a * b & 0xFFFF
        result = product << 1 & 0xFFFF if fractional else product
        self.r[0], self.r[1] = result & 0xFF, result >> 8
        self.flag[C], self.flag[Z] = bool(product >> 15), result == 0


def signed(value: int) -> int:
    return value - 256 if value & 0x80 else value


def two_registers(opcode: int, d: int, r: int) -> int:
    return opcode | d << 4 | r & 15 | (r & 16) << 5


def immediate(opcode: int, d: int, k: int) -> int:
    return opcode | (k & 0xF0) << 4 | (d - 16) << 4 | k & 15


@dataclass(frozen=True)
class Case:
    """One instruction: its word, and what it does to the model."""

    word: int
    apply: Callable[[Model], None]
    name: str


anywhere = st.integers(0, 31)
upper = st.integers(16, 31)
byte = st.integers(0, 255) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])


def _set_register(m: Model, d: int, value: int) -> None:
    m.r[d] = value


def _dec(m: Model, d: int) -> None:
    m.set(V=m.r[d] == 0x80)
    m.r[d] = (m.r[d] - 1) & 0xFF
    m.set(N=bool(m.r[d] & 0x80), Z=m.r[d] == 0)


def _inc(m: Model, d: int) -> None:
    m.set(V=m.r[d] == 0x7F)
    m.r[d] = (m.r[d] + 1) & 0xFF
    m.set(N=bool(m.r[d] & 0x80), Z=m.r[d] == 0)


def _com(m: Model, d: int) -> None:
    m.logic(d, ~m.r[d])
    m.set(C=True)


def _load_bit(m: Model, d: int, b: int) -> None:
    m.r[d] = m.r[d] & ~(1 << b) | m.flag[T] << b


def _set_flag(m: Model, s: int, value: bool) -> None:
    m.flag[s] = value


def _move_word(m: Model, d: int, r: int) -> None:
    m.r[d], m.r[d + 1] = m.r[r], m.r[r + 1]


TWO_REGISTERS: dict[str, tuple[int, Callable[[Model, int, int], None]]] = {
    "add": (0x0C00, lambda m, d, r: m.add(d, m.r[r], False)),
    "adc": (0x1C00, lambda m, d, r: m.add(d, m.r[r], m.flag[C])),
    "sub": (0x1800, lambda m, d, r: _set_register(m, d, m.subtract(m.r[d], m.r[r], False, False))),
    "sbc": (0x0800, lambda m, d, r: _set_register(m, d, m.subtract(m.r[d], m.r[r], m.flag[C], True))),
    "cp": (0x1400, lambda m, d, r: void(m.subtract(m.r[d], m.r[r], False, False))),
    "cpc": (0x0400, lambda m, d, r: void(m.subtract(m.r[d], m.r[r], m.flag[C], True))),
    "and": (0x2000, lambda m, d, r: m.logic(d, m.r[d] & m.r[r])),
    "eor": (0x2400, lambda m, d, r: m.logic(d, m.r[d] ^ m.r[r])),
    "or": (0x2800, lambda m, d, r: m.logic(d, m.r[d] | m.r[r])),
    "mov": (0x2C00, lambda m, d, r: _set_register(m, d, m.r[r])),
    "mul": (0x9C00, lambda m, d, r: m.multiply(m.r[d], m.r[r], False)),
}
IMMEDIATE: dict[str, tuple[int, Callable[[Model, int, int], None]]] = {
    "cpi": (0x3000, lambda m, d, k: void(m.subtract(m.r[d], k, False, False))),
    "sbci": (0x4000, lambda m, d, k: _set_register(m, d, m.subtract(m.r[d], k, m.flag[C], True))),
    "subi": (0x5000, lambda m, d, k: _set_register(m, d, m.subtract(m.r[d], k, False, False))),
    "ori": (0x6000, lambda m, d, k: m.logic(d, m.r[d] | k)),
    "andi": (0x7000, lambda m, d, k: m.logic(d, m.r[d] & k)),
    "ldi": (0xE000, _set_register),
}
ONE_REGISTER: dict[str, tuple[int, Callable[[Model, int], None]]] = {
    "com": (0x9400, _com),
    "neg": (0x9401, lambda m, d: _set_register(m, d, m.subtract(0, m.r[d], False, False))),
    "swap": (0x9402, lambda m, d: _set_register(m, d, m.r[d] >> 4 | (m.r[d] & 15) << 4)),
    "inc": (0x9403, _inc),
    "asr": (0x9405, lambda m, d: m.shift_right(d, bool(m.r[d] & 0x80))),
    "lsr": (0x9406, lambda m, d: m.shift_right(d, False)),
    "ror": (0x9407, lambda m, d: m.shift_right(d, m.flag[C])),
    "dec": (0x940A, _dec),
}
MULTIPLY: dict[str, tuple[int, int, Callable[[Model, int, int], None]]] = {
    "muls": (0x0200, 16, lambda m, d, r: m.multiply(signed(m.r[d]), signed(m.r[r]), False)),
    "mulsu": (0x0300, 8, lambda m, d, r: m.multiply(signed(m.r[d]), m.r[r], False)),
    "fmul": (0x0308, 8, lambda m, d, r: m.multiply(m.r[d], m.r[r], True)),
    "fmuls": (0x0380, 8, lambda m, d, r: m.multiply(signed(m.r[d]), signed(m.r[r]), True)),
    "fmulsu": (0x0388, 8, lambda m, d, r: m.multiply(signed(m.r[d]), m.r[r], True)),
}


def void(_result: int) -> None:
    """A comparison drops its result."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(["two", "immediate", "one", "multiply", "word", "bit", "flag", "movw"]))
    if kind == "two":
        name, (opcode, act) = draw(st.sampled_from(sorted(TWO_REGISTERS.items())))
        d, r = draw(anywhere), draw(anywhere)
        return Case(two_registers(opcode, d, r), lambda m: act(m, d, r), f"{name} r{d},r{r}")
    if kind == "immediate":
        name, (opcode, act) = draw(st.sampled_from(sorted(IMMEDIATE.items())))
        d, k = draw(upper), draw(byte)
        return Case(immediate(opcode, d, k), lambda m: act(m, d, k), f"{name} r{d},{k}")
    if kind == "one":
        name, (opcode, change) = draw(st.sampled_from(sorted(ONE_REGISTER.items())))
        d = draw(anywhere)
        return Case(opcode | d << 4, lambda m: change(m, d), f"{name} r{d}")
    if kind == "multiply":
        name, (opcode, count, act) = draw(st.sampled_from(sorted(MULTIPLY.items())))
        d, r = draw(st.integers(16, 15 + count)), draw(st.integers(16, 15 + count))
        return Case(opcode | (d - 16) << 4 | r - 16, lambda m: act(m, d, r), f"{name} r{d},r{r}")
    if kind == "word":
        d, k, down = draw(st.sampled_from([24, 26, 28, 30])), draw(st.integers(0, 63)), draw(st.booleans())
        word = (0x9700 if down else 0x9600) | (d - 24) << 3 | (k & 0x30) << 2 | k & 15
        return Case(
            word, lambda m: (m.subtract_word if down else m.add_word)(d, k), f"{'sbiw' if down else 'adiw'}"
        )
    if kind == "bit":
        d, b, load = draw(anywhere), draw(st.integers(0, 7)), draw(st.booleans())
        if load:
            return Case(0xF800 | d << 4 | b, lambda m: _load_bit(m, d, b), f"bld r{d},{b}")
        return Case(0xFA00 | d << 4 | b, lambda m: _set_flag(m, T, bool(m.r[d] >> b & 1)), f"bst r{d},{b}")
    if kind == "flag":
        s, value = draw(st.integers(0, 7)), draw(st.booleans())
        return Case(
            (0x9408 if value else 0x9488) | s << 4, lambda m: _set_flag(m, s, value), f"flag {s}={value}"
        )
    d, r = 2 * draw(st.integers(0, 15)), 2 * draw(st.integers(0, 15))
    return Case(0x0100 | d << 3 | r >> 1, lambda m: _move_word(m, d, r), f"movw r{d},r{r}")


@given(
    st.lists(cases(), min_size=1, max_size=60), st.lists(byte, min_size=32, max_size=32), st.integers(0, 255)
)
@settings(max_examples=80, deadline=None)
def test_arithmetic_agrees_with_the_model(program: list[Case], registers: list[int], sreg: int) -> None:
    chip = Atmega328p(b"".join(case.word.to_bytes(2, "little") for case in program))
    chip.write_data(0, bytes(registers))
    chip.status_register = sreg
    model = Model(list(registers), [bool(sreg >> bit & 1) for bit in range(8)])
    for case in program:
        assert chip.run(chip.cycle + 1) is Stop.LIMIT
        case.apply(model)
        assert list(chip.read_data(0, 32)) == model.r, case.name
        assert chip.status_register == model.sreg(), case.name


@pytest.mark.parametrize("name", ["add", "adc", "sub", "sbc", "cp", "cpc"])
def test_flags_of_add_and_subtract_over_a_full_grid(name: str) -> None:
    opcode, act = TWO_REGISTERS[name]
    word = two_registers(opcode, 16, 17).to_bytes(2, "little")
    chip = Atmega328p(word * 16384)
    for a in range(0, 256, 5):
        for b in range(0, 256, 3):
            for sreg in (0, 1, 2, 3):
                chip.write_data(16, bytes((a, b)))
                chip.status_register = sreg
                chip.run(chip.cycle + 1)
                model = Model([0] * 16 + [a, b], [bool(sreg >> bit & 1) for bit in range(8)])
                act(model, 16, 17)
                assert (chip.read_data(16, 1)[0], chip.status_register) == (model.r[16], model.sreg()), (
                    a,
                    b,
                    sreg,
                )


# ---- cycles: "Instruction Set Summary" of the datasheet ----

CYCLES = {
    "nop": 1, "mov r0,r1": 1, "movw r0,r2": 1, "ldi r16,1": 1, "adiw r24,1": 2, "sbiw r24,1": 2,
    "mul r1,r2": 2,
    "muls r16,r17": 2, "mulsu r16,r17": 2, "fmul r16,r17": 2, "fmuls r16,r17": 2, "fmulsu r16,r17": 2,
    "com r1": 1, "swap r1": 1, "bst r1,1": 1, "bld r1,1": 1, "sei": 1, "cli": 1, "set": 1, "wdr": 1,
    "break": 1,
    "ld r0,X": 2, "ld r0,X+": 2, "ld r0,-X": 2, "ld r0,Y": 2, "ld r0,Y+": 2, "ld r0,-Y": 2, "ldd r0,Y+5": 2,
    "ld r0,Z": 2, "ld r0,Z+": 2, "ld r0,-Z": 2, "ldd r0,Z+63": 2, "lds r0,0x200": 2, "st X,r0": 2,
    "st X+,r0": 2,
    "st -X,r0": 2, "st Y,r0": 2, "st Y+,r0": 2, "st -Y,r0": 2, "std Y+5,r0": 2, "st Z,r0": 2, "st Z+,r0": 2,
    "st -Z,r0": 2, "std Z+63,r0": 2, "sts 0x200,r0": 2, "lpm": 3, "lpm r0,Z": 3, "lpm r0,Z+": 3,
    "in r0,0x15": 1,
    "out 0x0a,r0": 1, "push r0": 2, "pop r0": 2, "sbi 0x05,1": 2, "cbi 0x05,1": 2, "rjmp .+10": 2, "ijmp": 2,
    "jmp 0x100": 3, "rcall .+10": 3, "icall": 3, "call 0x100": 4, "ret": 4, "reti": 4,
    "clc\nbrcs .+4": 2, "clc\nbrcc .+4": 3, "sez\nbreq .+4": 3, "sez\nbrne .+4": 2, "set\nbrts .-4": 3,
    "cpse r16,r16\nnop": 2, "cpse r16,r16\nlds r0,0x200": 3, "cpse r16,r17\nnop": 1,
    "sbrs r18,7\njmp 0": 3, "sbrc r18,7\njmp 0": 1, "sbrc r18,0\ncall 0": 3, "sbis 0x1e,0\nnop": 1,
    "sbic 0x1e,0\nnop": 2, "sbic 0x1e,0\nsts 0x200,r0": 3,
}  # fmt: skip


def test_cycles_of_every_instruction() -> None:
    """Counted from the first instruction of a snippet to the end of the last one executed."""
    measured = {}
    for source in CYCLES:
        chip = Atmega328p(assemble(source))
        pointer = (0x300).to_bytes(2, "little")
        chip.write_data(0, bytes(16) + bytes([1, 2, 0x80]) + bytes(7) + pointer * 3)
        executed = source.count("\n") + 1 if source[:3] in ("clc", "sez", "set") else 1
        for _ in range(executed):
            chip.run(chip.cycle + 1)
        measured[source] = chip.cycle
    assert measured == CYCLES


def test_pointers_move_and_data_arrives() -> None:
    chip = boot(
        """
        ldi r26,0x00 $ ldi r27,0x02 $ ldi r16,0x11 $ st X+,r16 $ ldi r16,0x22 $ st X,r16 $ ldi r16,0x33
        st -X,r16 $ ld r0,X+ $ ld r1,X
        ldi r28,0x10 $ ldi r29,0x02 $ std Y+9,r1 $ ldd r2,Y+9 $ st Y+,r0 $ ld r3,-Y
        ldi r30,0x20 $ ldi r31,0x02 $ std Z+63,r16 $ lds r4,0x25f $ st Z+,r1 $ ld r5,-Z $ push r4 $ pop r6
        """.replace("$", "\n")
    )
    for _ in range(25):
        chip.run(chip.cycle + 1)
    assert list(chip.read_data(0, 7)) == [0x33, 0x22, 0x22, 0x33, 0x33, 0x22, 0x33]
    assert chip.read_data(26, 6) == bytes.fromhex("0102 1002 2002")
    assert chip.read_data(0x200, 2) == b"\x33\x22"
    assert chip.stack_pointer == 0x8FF


def test_calls_push_the_return_address_low_byte_first_and_come_back() -> None:
    chip = boot("call there\nnop\n.org 0x246\nthere: ret\n")
    chip.run(4)
    assert (chip.program_counter, chip.stack_pointer) == (0x246, 0x8FD)
    assert chip.read_data(0x8FE, 2) == b"\x00\x02"
    chip.run(5)
    assert (chip.program_counter, chip.stack_pointer, chip.cycle) == (4, 0x8FF, 8)


def test_lpm_reads_flash_and_execution_wraps_at_its_end() -> None:
    flash = bytearray(32768)
    flash[0:2] = (0x95C8).to_bytes(2, "little")
    flash[0x7FFE:] = (0x95C8).to_bytes(2, "little")
    chip = Atmega328p(bytes(flash))
    chip.write_data(30, (0x7FFF).to_bytes(2, "little"))
    chip.program_counter = 0x7FFE
    chip.run(1)
    assert chip.read_data(0, 1) == b"\x95"
    assert chip.program_counter == 0
    chip.run(chip.cycle + 1)
    assert chip.program_counter == 2


# What binutils knows and the ATmega328P does not: instructions of bigger parts and of the XMEGA.
FOREIGN = re.compile(r"xch|las|lac|lat|des|elpm|eijmp|eicall|spm\tZ\+|\.word")


def is_instruction_for_binutils(words: list[int]) -> list[bool]:
    """What avr-objdump makes of each word (followed by a NOP)."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "words.bin")
        image.write_bytes(b"".join(word.to_bytes(2, "little") + bytes(2) for word in words))
        command = ["avr-objdump", "-m", "avr:5", "-b", "binary", "-D", "-z", str(image)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = dict(re.findall(r"^\s*([0-9a-f]+):\t[^\t]+\t(.*)$", listing, re.MULTILINE))
    return [not FOREIGN.match(text[f"{4 * n:x}"]) for n in range(len(words))]


@pytest.mark.parametrize("block", range(8))
def test_the_same_words_are_instructions_as_for_binutils(block: int) -> None:
    words = list(range(block * 8192, (block + 1) * 8192))
    chip = Atmega328p(b"".join(word.to_bytes(2, "little") + bytes(2) for word in words))
    chip.write_data(26, (0x300).to_bytes(2, "little") * 3)
    start = chip.save()
    differing = []
    for n, expected in enumerate(is_instruction_for_binutils(words)):
        chip.restore(start)
        chip.program_counter = 4 * n
        chip.run(chip.cycle + 1)
        is_instruction = chip.fault is None or chip.fault.kind != "illegal_opcode"
        if is_instruction != expected:
            differing.append(hex(words[n]))
    assert differing == []
