"""Translated code against the interpreter: the same stops, cycles and state wherever one looks."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import Atmega328p, CoreError, Pin, Stop
from bench.uno.build import build_firmware
from bench.uno.core.assembly import assemble
from bench.uno.proof.random_program import UNIT_BYTES, program
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.uno.translation import library
from bench.uno.translation.library import Translation, translate

SRAM_START, SRAM_BYTES = 0x100, 0x800
FINAL_JUMP_BYTES = 2

seeds = st.integers(0, 2**32)
units = st.binary(min_size=20 * UNIT_BYTES, max_size=120 * UNIT_BYTES)


class Course:
    """A run of one chip: every stop with all that the host can see of it."""

    def __init__(self, chip: Atmega328p) -> None:
        self.chip = chip
        self.stops: list[tuple[object, ...]] = []

    def run_to(self, end: int) -> None:
        chip = self.chip
        while chip.cycle < end:
            stop = chip.run(end)
            if stop in (Stop.LIMIT, Stop.HALT):
                return
            seen = chip.spi_mosi, chip.mark_code, chip.mark_argument, chip.fault
            self.stops.append((stop, chip.cycle, *seen))
            if stop is Stop.FAULT:
                return
            if stop is Stop.SPI:
                chip.spi_reply(chip.spi_mosi ^ 0x5A)


def native(flash: bytes) -> Translation:
    translation = translate(flash)
    assert translation.library is not None, translation.note
    return translation


def assert_equal_courses(
    make: Callable[[Translation | None], Atmega328p], flash: bytes, end: int, seed: int
) -> None:
    """Interpreted, translated, translated in slices with looks in between: all the same."""
    interpreted, follower = Course(make(None)), Course(make(None))
    translated, sliced = Course(make(native(flash))), Course(make(native(flash)))
    chance = random.Random(seed)
    interpreted.run_to(end)
    translated.run_to(end)
    assert translated.stops == interpreted.stops
    assert translated.chip.save() == interpreted.chip.save()
    while sliced.chip.cycle < end and sliced.chip.fault is None:
        until = min(end, sliced.chip.cycle + chance.choice((1, 3, 20, 150, 1_000)))
        sliced.run_to(until)
        follower.run_to(until)
        assert (sliced.chip.cycle, sliced.chip.save()) == (follower.chip.cycle, follower.chip.save())
    assert sliced.stops == interpreted.stops


@given(units, seeds)
@settings(max_examples=20, deadline=None)
def test_random_programs(seed: bytes, choice: int) -> None:
    flash = program(seed, branching=True)
    chance = random.Random(choice)
    registers, memory = chance.randbytes(32), chance.randbytes(SRAM_BYTES)
    floor = chance.choice((0, 0, 0x300, 0x4F0))

    def make(translation: Translation | None) -> Atmega328p:
        chip = Atmega328p(flash, translation=translation)
        chip.write_data(0, registers)
        chip.write_data(SRAM_START, memory)
        chip.set_stack_floor(floor)
        return chip

    assert_equal_courses(make, flash, 20_000, choice)


@given(st.binary(min_size=256, max_size=600), seeds)
@settings(max_examples=8, deadline=None)
def test_noise_taken_as_a_program(noise: bytes, choice: int) -> None:
    """Whatever the words are: illegal, leading nowhere, off the end of flash."""
    flash = noise + random.Random(choice).randbytes(300 + choice % 2)

    def make(translation: Translation | None) -> Atmega328p:
        chip = Atmega328p(flash, translation=translation)
        chip.program_counter = 2 * (choice % 256)
        return chip

    assert_equal_courses(make, flash, 3_000, choice)


VECTORS = 26
HANDLER = """
    push r16
    in r16,SREG
    push r16
    push r24
    push r25
    lds r24,0x7f0
    lds r25,0x7f1
    adiw r24,1
    sts 0x7f1,r25
    sts 0x7f0,r24
    pop r25
    pop r24
    pop r16
    out SREG,r16
    pop r16
    reti
"""


def interrupted_program(seed: bytes, choice: int) -> bytes:
    """Straight random code in a loop, under timers and pins whose interrupts come at all places."""
    chance = random.Random(choice)
    setup = [
        f"ldi r16,{value}\nsts {address},r16\n"
        for address, value in (
            ("TCCR0A", 2),
            ("OCR0A", chance.randrange(40, 256)),
            ("TCCR0B", chance.choice((1, 2))),
            ("TIMSK0", chance.choice((0, 2, 6))),
            ("OCR1AL", chance.randrange(90, 256)),
            ("TCCR1B", 9),
            ("TIMSK1", chance.choice((0, 2))),
            ("TCCR2B", chance.choice((1, 2))),
            ("TIMSK2", chance.choice((0, 1))),
            ("PCMSK2", 0xFF),
            ("PCICR", 4),
            ("SMCR", chance.choice((1, 1, 0, 3, 7))),
            ("GPIOR2", chance.randrange(256)),
        )
    ]
    body = program(seed, branching=False)[4 * 2 : -FINAL_JUMP_BYTES]
    words = ",".join(f"0x{int.from_bytes(body[at : at + 2], 'little'):04x}" for at in range(0, len(body), 2))
    return assemble(
        "rjmp start\nnop\n"
        + "rjmp handler\nnop\n" * (VECTORS - 1)
        + f"handler:{HANDLER}start:{''.join(setup)}again:\nldi r16,5\nout SPH,r16\nldi r16,0\nout SPL,r16\n"
        + f"wdr\ncpse r0,r1\nsleep\nin r17,SMCR\nsei\n.word {words}\nsei\njmp again\n"
    )


@given(units, seeds)
@settings(max_examples=20, deadline=None)
def test_interrupts_at_any_place(seed: bytes, choice: int) -> None:
    flash = interrupted_program(seed, choice)
    chance = random.Random(choice)
    edges = sorted(chance.sample(range(1_000, 60_000), 40))

    def make(translation: Translation | None) -> Atmega328p:
        chip = Atmega328p(flash, translation=translation)
        chip.schedule_edges(Pin.PD5, edges, first_high=True)
        return chip

    assert_equal_courses(make, flash, 60_000, choice)


POINTERS = bytes((0x00, 0x02, 0x00, 0x03, 0x00, 0x04))
"""X, Y and Z to begin with."""

CORNERS = {
    "timer read by LDS": """
        ldi r16,1
        out TCCR0B,r16
        again: lds r17,0x46
        in r18,TCNT0
        st X+,r17
        rjmp again
    """,
    "sixteen bits": """
        ldi r16,1
        sts TCCR1B,r16
        again: lds r17,TCNT1L
        lds r18,TCNT1H
        adiw r24,1
        rjmp again
    """,
    "bits that do not exist": """
        ldi r16,0xff
        out SMCR,r16
        in r17,SMCR
        sts 0x53,r17
        lds r18,0x53
        loop: rjmp loop
    """,
    "first byte read outside": """
        ldi r26,0xff
        ldi r27,8
        ld r0,X+
        ld r0,X+
    """,
    "first byte written outside": """
        ldi r28,0xff
        ldi r29,8
        st Y+,r0
        st Y+,r0
    """,
    "down into I/O and registers": """
        ldi r30,2
        ldi r31,1
        again: ld r0,-Z
        cpi r30,0x50
        brne again
        ldi r30,20
        st -Z,r30
        ldi r31,0
        again2: ld r1,-Z
        st Z,r31
        cpi r30,2
        brne again2
        .word 0xffff
    """,
    "SREG and SP by LDS and STS": """
        ldi r16,0x7f
        sts 0x5f,r16
        lds r17,0x5f
        ldi r16,0x40
        sts 0x5d,r16
        lds r18,0x5d
        lds r19,0x5e
        push r18
        sub r1,r1
        lds r20,0x5f
        loop: rjmp loop
    """,
    "a pop at the top": """
        pop r0
    """,
    "return from nowhere": """
        ret
    """,
    "a call at the bottom": """
        ldi r16,1
        out SPH,r16
        ldi r16,0
        out SPL,r16
        rcall .+0
    """,
    "marks in a row": """
        again: out GPIOR0,r16
        sbi GPIOR0,3
        inc r16
        sts 0x3e,r16
        rjmp again
    """,
    "self-programming": """
        ldi r16,1
        nop
        spm
    """,
    "skips over two words": """
        again: inc r16
        sbrc r16,0
        sts 0x200,r16
        sbis GPIOR0,0
        lds r17,0x200
        cpse r16,r17
        call sub
        rjmp again
        sub: ret
    """,
    "off the end": """
        jmp 0x7ffe
    """,
}


@pytest.mark.parametrize("source", CORNERS.values(), ids=CORNERS)
def test_corners_at_every_cycle(source: str) -> None:
    flash = assemble(source)
    chips = Atmega328p(flash), Atmega328p(flash, translation=native(flash))
    for chip in chips:
        chip.write_data(26, POINTERS)
    one, other = map(Course, chips)
    for end in (*range(1, 120), *range(120, 3_000, 61)):
        if chips[0].fault is not None:
            break
        one.run_to(end)
        other.run_to(end)
        assert other.stops == one.stops
        assert other.chip.save() == one.chip.save()
    fresh = Atmega328p(flash, translation=native(flash))
    fresh.write_data(26, POINTERS)
    whole = Course(fresh)
    whole.run_to(end)
    assert (whole.stops, whole.chip.save()) == (one.stops, one.chip.save())


# ---- the real firmware ----


class Radio:
    """As much of an SX1278 as the firmware needs to send: registers, and TX that is done after 92 ms."""

    MODE, FLAGS, VERSION, TX, STANDBY, TX_DONE = 0x01, 0x12, 0x42, 0x83, 0x81, 0x08
    AIRTIME_CYCLES = 92 * 16_000

    def __init__(self) -> None:
        self.registers = bytearray(128)
        self.registers[self.VERSION] = 0x12
        self.address: int | None = None
        self.done_at: int | None = None

    def transfer(self, mosi: int, cycle: int) -> int:
        if self.address is None:
            self.address, self.writes = mosi & 0x7F, bool(mosi & 0x80)
            return 0
        at, value = self.address, self.registers[self.address]
        self.address = at and at + 1 & 0x7F
        if self.writes:
            self.registers[at] = value & ~mosi & 0xFF if at == self.FLAGS else mosi
            if at == self.MODE and mosi == self.TX:
                self.done_at = cycle + self.AIRTIME_CYCLES
        return value


def metering(chip: Atmega328p, end: int) -> list[tuple[int, ...]]:
    """Runs the sketch with the radio; its stops."""
    radio, stops = Radio(), list[tuple[int, ...]]()
    chip.watch(Pin.PB2)
    chip.set_pin(Pin.PD2, False)
    while chip.cycle < end:
        stop = chip.run(min(end, radio.done_at or end))
        stops.append((stop, chip.cycle))
        if stop is Stop.SPI:
            chip.spi_reply(radio.transfer(chip.spi_mosi, chip.cycle))
        elif stop is Stop.PIN:
            radio.address = None
        assert stop is not Stop.FAULT, chip.fault
        if radio.done_at is not None and chip.cycle >= radio.done_at:
            radio.done_at = None
            radio.registers[radio.MODE] = radio.STANDBY
            radio.registers[radio.FLAGS] |= radio.TX_DONE
        chip.set_pin(Pin.PD2, bool(radio.registers[radio.FLAGS] & radio.TX_DONE))
    return stops


def test_the_collect_firmware_does_the_same_for_minutes() -> None:
    image = build_firmware("collect")
    eeprom = eeprom_image(Provisioning(uno_id=17, key=bytes(range(16)), interval_s=5))
    end = 180 * 16_000_000

    def play(translation: Translation | None) -> tuple[list[tuple[int, ...]], bytes]:
        chip = Atmega328p(image.flash, eeprom, translation)
        chip.set_stack_floor(image.stack_floor or 0)
        for pin in (Pin.PD3, Pin.PD4, Pin.PD5, Pin.PD6):
            chip.set_pin(pin, True)
            edges = [3_000_017 + 1_650_000 * n + 1_111 * pin + 700_000 * (n % 2) for n in range(1_000)]
            chip.schedule_edges(pin, edges, first_high=False)
        return metering(chip, end), chip.save()

    stops, state = play(None)
    assert len(stops) > 3_000
    assert play(native(image.flash)) == (stops, state)


# ---- what surrounds it ----

LOOP = "again: inc r20\nrjmp again\n"


def test_cores_share_a_translation_and_keep_their_own_state() -> None:
    flash = assemble(LOOP)
    one, other = (Atmega328p(flash, translation=native(flash)) for _ in range(2))
    one.write_data(20, b"\0")
    other.write_data(20, b"\0")
    one.run(300)
    other.run(150)
    assert (one.read_data(20, 1)[0], other.read_data(20, 1)[0]) == (100, 50)


def test_a_translation_of_another_image_is_refused() -> None:
    with pytest.raises(CoreError, match="another flash image"):
        Atmega328p(assemble("nop\n" + LOOP), translation=native(assemble(LOOP)))


def test_without_a_compiler_the_interpreter_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    flash = assemble(LOOP)
    translation = translate(flash)
    assert "no C compiler" in translation.note
    assert Atmega328p(flash, translation=translation).run(100) is Stop.LIMIT


def test_a_compiler_that_fails_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "COMPILE_ARGUMENTS", ("--no-such-argument",))
    translation = translate(assemble(LOOP), tmp_path)
    assert translation.library is None
    assert "the interpreter runs the firmware" in translation.note


def test_an_image_is_compiled_once(tmp_path: Path) -> None:
    flash = assemble(LOOP)
    assert translate(flash, tmp_path) is translate(flash, tmp_path)
    (made,) = tmp_path.iterdir()
    library._translate.cache_clear()
    stamp = made.stat().st_mtime_ns
    translate(flash, tmp_path)
    assert made.stat().st_mtime_ns == stamp
