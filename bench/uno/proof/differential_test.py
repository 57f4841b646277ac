"""Our core against simavr: random programs and real images per instruction, and the timing probes.

What is known to differ, why, and who is right stands in DIFFERENCES.md.
"""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.uno import build
from bench.uno.image import FirmwareImage
from bench.uno.proof import timing
from bench.uno.proof.lockstep import (
    Comparison,
    Difference,
    Simavr,
    Start,
    compare_free,
    compare_guided,
    our_course,
)
from bench.uno.proof.random_program import UNIT_BYTES, program
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.uno.workshop.sketch import build_sketch

pytestmark = [
    pytest.mark.skipif(
        not Simavr.is_installed(),
        reason="simavr is not installed: needs a C compiler and the Debian package libsimavr-dev",
    ),
    pytest.mark.skipif(
        shutil.which("avr-gcc") is None or not build.ARDUINO.is_dir(),
        reason="needs the Debian packages gcc-avr, avr-libc, binutils-avr and arduino-core-avr",
    ),
]

UNITS = 40
STEPS = 200
DIFFERENCES = Path(__file__).parent / "DIFFERENCES.md"
BLINK = """
void setup() { pinMode(LED_BUILTIN, OUTPUT); }
void loop() { digitalWrite(LED_BUILTIN, HIGH); delay(5); digitalWrite(LED_BUILTIN, LOW); delay(5); }
"""
SENSE = """
void setup() { Serial.begin(115200); pinMode(9, OUTPUT); analogWrite(9, 77); tone(8, 440); }
void loop() { Serial.println(sqrt(analogRead(A0) + millis())); delayMicroseconds(300); }
"""
SKETCHES = {"blink": BLINK, "sense": SENSE}


@pytest.fixture(scope="module")
def simavr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simavr]:
    with Simavr(tmp_path_factory.mktemp("simavr")) as oracle:
        yield oracle


def filling(seed: bytes, size: int) -> bytes:
    """So many bytes that look random."""
    return hashlib.shake_128(seed).digest(size)


def explain(comparison: Comparison) -> str:
    return "\n".join(map(str, comparison.differences)) or "equal"


# ---- random programs ----


@pytest.mark.parametrize("branching", [False, True], ids=["straight", "branching"])
@given(seed=st.binary(min_size=UNITS * UNIT_BYTES, max_size=UNITS * UNIT_BYTES), status=st.integers(0, 255))
@settings(max_examples=500, deadline=None)
def test_random_programs(simavr: Simavr, branching: bool, seed: bytes, status: int) -> None:
    flash = program(seed, branching)
    start = Start(flash, filling(seed + b"registers", 32), status, filling(seed, 2048))
    comparison = compare_free(simavr, start, STEPS)
    assert comparison.instructions == STEPS
    assert comparison.differences == (), explain(comparison)
    assert comparison.same_sram


def _touches_registers_and_flags_alone(word: int) -> bool:
    """MOVW to FMULSU, arithmetic, logic, bit and flag operations, LDI; no skip, jump, memory or I/O."""
    group = word >> 12
    if group in (0x0, 0x1, 0x2):
        return word >= 0x0100 and word & 0xFC00 != 0x1000
    if group in (0x3, 0x4, 0x5, 0x6, 0x7, 0xE):
        return True
    if group == 0x9:
        one_register = word & 0xFE00 == 0x9400 and word & 15 in (0, 1, 2, 3, 5, 6, 7, 10)
        flag = word & 0xFF0F == 0x9408
        return one_register or flag or word & 0xFE00 == 0x9600 or word & 0xFC00 == 0x9C00
    return word & 0xFC08 == 0xF800


@pytest.mark.parametrize("filler", range(3))
def test_every_word_that_works_on_registers(simavr: Simavr, filler: int) -> None:
    """Each of the 37,904 once, one after the other, so with ever changing operands."""
    words = [word for word in range(0x10000) if _touches_registers_and_flags_alone(word)]
    words = sorted(words, key=lambda word: hashlib.sha256(b"%d %d" % (filler, word)).digest())
    done = 0
    for begin in range(0, len(words), 16000):
        part = words[begin : begin + 16000]
        flash = b"".join(word.to_bytes(2, "little") for word in part)
        registers = filling(b"%d %d" % (filler, begin), 32)
        comparison = compare_free(simavr, Start(flash, registers, filler * 85), len(part))
        assert comparison.differences == (), explain(comparison)
        done += comparison.instructions
    assert done == len(words) == 37_904


def test_a_difference_is_seen(simavr: Simavr) -> None:
    """One bit of one register, wrong in one step of our course, is found at that step."""
    start = Start(program(filling(b"any", UNITS * UNIT_BYTES), branching=True), filling(b"registers", 32))
    course = our_course(start, STEPS)
    wrong = replace(course.states[100], registers=bytes([course.states[100].registers[0] ^ 1]) + bytes(31))
    states = [*course.states[:100], wrong, *course.states[101:]]
    found, _ = simavr.guided(start, replace(course, states=states))
    assert found[0] == course.states[100]
    assert simavr.guided(start, course)[0] == []


# ---- real images ----

PERIPHERAL_REGISTERS = {
    0x35: "TIFR0",
    0x3F: "EECR",
    0x40: "EEDR",
    0x46: "TCNT0",
    0x4D: "SPSR",
    0x4E: "SPDR",
    0x78: "ADCL",
    0x79: "ADCH",
    0x7A: "ADCSRA",
    0x84: "TCNT1L",
    0x85: "TCNT1H",
    0xC0: "UCSR0A",
}
"""Registers in which peripherals, not the CPU, decide what is read."""


def sketch(name: str, folder: Path) -> FirmwareImage:
    """An Arduino sketch on Debian's Arduino core, built as the bench builds any."""
    source = folder / f"{name}.ino"
    source.write_text(SKETCHES[name])
    return build_sketch(source)


def register_read(difference: Difference, start: Start) -> str:
    """The peripheral register that the instruction in question reads; fails when it reads none."""
    word, registers = difference.opcode, difference.before.registers
    pointers = {0: 30, 8: 28} if word & 0xD000 == 0x8000 else {}
    if word & 0xF800 == 0xB000:
        address = 0x20 + ((word >> 5 & 0x30) | word & 15)
    elif word & 0xFD00 == 0x9900:
        address = 0x20 + (word >> 3 & 31)
    elif word & 0xFE0F == 0x9000:
        address = start.word(difference.before.program_counter + 2)
    elif pointers and not word & 0x0200:
        low = pointers[word & 8]
        displacement = (word & 7) | (word >> 7 & 0x18) | (word >> 8 & 0x20)
        address = (registers[low] | registers[low + 1] << 8) + displacement
    elif word & 0xFE0F == 0x900C:
        address = registers[26] | registers[27] << 8
    else:
        pytest.fail(f"no peripheral explains this:\n{difference}")
    assert address in PERIPHERAL_REGISTERS, difference
    return PERIPHERAL_REGISTERS[address]


def compared(simavr: Simavr, start: Start, steps: int) -> tuple[Comparison, Counter[str]]:
    """The comparison, and how often each register was read differently; all else must be equal."""
    comparison = compare_guided(simavr, start, steps)
    reads = Counter(register_read(difference, start) for difference in comparison.differences)
    assert comparison.same_sram
    return comparison, reads


@pytest.mark.parametrize(
    ("name", "least", "reads"),
    [
        ("blink", 100_000, {"TCNT0", "TIFR0"}),
        ("sense", 60_000, {"TCNT0", "TIFR0", "ADCSRA", "ADCL", "ADCH", "UCSR0A"}),
    ],
)
def test_arduino_sketches(simavr: Simavr, tmp_path: Path, name: str, least: int, reads: set[str]) -> None:
    comparison, differing = compared(simavr, Start(sketch(name, tmp_path).flash), 120_000)
    assert comparison.instructions >= least
    assert set(differing) <= reads


def test_the_collect_firmware(simavr: Simavr) -> None:
    eeprom = eeprom_image(Provisioning(uno_id=17, key=bytes(range(16)), interval_s=5))
    comparison, differing = compared(simavr, Start(build.build_firmware().flash, eeprom=eeprom), 120_000)
    assert comparison.instructions >= 100_000
    assert set(differing) <= {"EECR", "EEDR", "TCNT0", "TCNT1L", "TCNT1H", "SPSR", "SPDR", "UCSR0A"}


# ---- the timing probes ----


@pytest.fixture(scope="module")
def simavr_rows(simavr: Simavr) -> list[timing.TimingRow]:
    """The rows of `bench uno timing` as simavr makes them; cycles below 1 where it came to no mark."""

    def run(_probe: str, flash: bytes, count: int) -> list[timing.Mark]:
        marks = [timing.Mark(cycle, argument) for cycle, argument in simavr.marks(flash, count)]
        return marks + [timing.Mark(0, 0)] * (count - len(marks))

    return timing.measure(run)


def documented_families() -> list[re.Pattern[str]]:
    """The first column of the table of timings in DIFFERENCES.md: patterns in which … is anything."""
    table = DIFFERENCES.read_text(encoding="utf-8").split("## Timing")[1].split("\n## ")[0]
    names = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    return [re.compile(re.escape(name).replace("…", ".*")) for name in names if not name.startswith("---")]


def test_simavr_agrees_on_every_instruction_but_sleep(simavr_rows: list[timing.TimingRow]) -> None:
    instructions = [row for row in simavr_rows if row.source == '"Instruction Set Summary"']
    differing = [row.operation for row in instructions if row.measured_cycles != row.datasheet_cycles]
    assert len(instructions) > 130
    assert differing == ["sleep, SE clear"]


def test_simavr_agrees_on_timers_that_count_one_way(simavr_rows: list[timing.TimingRow]) -> None:
    periods = [
        row
        for row in simavr_rows
        if re.match(r"Timer. period, (normal|fast PWM|CTC, TOP OCR1A|CTC, prescaler)", row.operation)
    ]
    assert len(periods) == 20 + 28 + 35
    assert [row for row in periods if row.measured_cycles != row.datasheet_cycles] == []


def test_each_difference_in_timing_is_documented_and_each_documented_one_is_there(
    simavr_rows: list[timing.TimingRow],
) -> None:
    families = documented_families()
    met = set()
    for row in simavr_rows:
        matching = [family for family in families if family.fullmatch(row.operation)]
        if row.measured_cycles != row.datasheet_cycles:
            assert matching, f"{row} is not in DIFFERENCES.md"
            met.update(matching)
    assert [family.pattern for family in families if family not in met] == []
