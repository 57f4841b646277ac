"""Timers 0, 1, 2: counts and flags against a tick-by-tick model, waveforms on the pins (datasheet 15-18)."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import Atmega328p, Pin, Stop
from bench.uno.core.assembly import STORE_CYCLES, boot, chip_with, marks, vectors

TIFR0, TIFR1, TIFR2, GTCCR = 0x35, 0x36, 0x37, 0x43
TCCR0A, TCCR0B, TCNT0, OCR0A, OCR0B = range(0x44, 0x49)
TCCR1A, TCCR1B, TCNT1L, TCNT1H, ICR1L, ICR1H = 0x80, 0x81, 0x84, 0x85, 0x86, 0x87
OCR1AL, OCR1AH, OCR1BL, OCR1BH = range(0x88, 0x8C)
TCCR2A, TCCR2B, TCNT2, OCR2A, OCR2B = range(0xB0, 0xB5)
DDRB, DDRD, SPH = 0x24, 0x2A, 0x5E
PRESCALERS = {1: 1, 2: 8, 3: 64, 4: 256, 5: 1024}
PRESCALERS_2 = {1: 1, 2: 8, 3: 32, 4: 64, 5: 128, 6: 256, 7: 1024}


@dataclass
class Counter:
    """A timer advanced one clock at a time, written from the mode descriptions of the datasheet."""

    kind: str
    top: int
    maximum: int
    compare_a: int
    compare_b: int
    count: int = 0
    up: bool = True
    flags: int = 0

    def clock(self) -> None:
        self.flags |= 2 * (self.count == self.compare_a) | 4 * (self.count == self.compare_b)
        if self.kind in ("phase", "phase and frequency"):
            if self.up and self.count >= self.top:
                self.up = False
            elif not self.up and self.count == 0:
                self.up = True
                self.flags |= 1
            self.count = max(0, self.count + (1 if self.up else -1))
            return
        if self.count == self.maximum or (self.kind == "fast" and self.count == self.top):
            self.flags |= 1
        self.count = 0 if self.count in (self.top, self.maximum) else self.count + 1


EIGHT_BIT_MODES = {
    0: ("normal", None), 1: ("phase", 255), 2: ("ctc", "a"), 3: ("fast", 255), 5: ("phase", "a"),
    7: ("fast", "a"),
}  # fmt: skip
SIXTEEN_BIT_MODES = {
    0: ("normal", None), 1: ("phase", 0xFF), 2: ("phase", 0x1FF), 3: ("phase", 0x3FF), 4: ("ctc", "a"),
    5: ("fast", 0xFF), 6: ("fast", 0x1FF), 7: ("fast", 0x3FF), 8: ("phase and frequency", "icr"),
    9: ("phase and frequency", "a"), 10: ("phase", "icr"), 11: ("phase", "a"), 12: ("ctc", "icr"),
    14: ("fast", "icr"), 15: ("fast", "a"),
}  # fmt: skip


@given(
    st.sampled_from(sorted(EIGHT_BIT_MODES)), st.integers(1, 255), st.integers(0, 255), st.integers(0, 3000),
    st.sampled_from([0, 2]), st.lists(st.integers(1, 400), max_size=4),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_eight_bit_timers_count_as_the_model(
    mode: int, compare_a: int, compare_b: int, ticks: int, timer: int, looks: list[int]
) -> None:
    control_a, control_b, count, a, b = range(TCCR0A, 0x49) if timer == 0 else range(TCCR2A, 0xB5)
    flags = TIFR0 if timer == 0 else TIFR2
    low, high = mode & 3, (mode & 4) << 1
    # Compare registers go in while the mode is normal, so that they act at once.
    chip = chip_with((a, compare_a), (b, compare_b), (control_a, low), (control_b, high | 1))
    kind, top = EIGHT_BIT_MODES[mode]
    model = Counter(kind, {None: 255, "a": compare_a}.get(top, top), 255, compare_a, compare_b)  # type: ignore[arg-type]  # the dict maps every str
    start = chip.cycle
    for look in looks:  # looking must not change anything
        chip.run(min(chip.cycle + look, start + ticks))
    chip.run(start + ticks)
    for _ in range(ticks):
        model.clock()
    assert (chip.read_data(count, 1)[0], chip.read_data(flags, 1)[0]) == (model.count, model.flags)


@given(
    st.sampled_from(sorted(SIXTEEN_BIT_MODES)), st.integers(2, 600), st.integers(0, 600), st.integers(2, 600),
    st.integers(0, 5000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_timer1_counts_as_the_model(
    mode: int, compare_a: int, compare_b: int, capture: int, ticks: int
) -> None:
    words = [(OCR1AH, compare_a), (OCR1BH, compare_b)]
    chip = chip_with(
        *(pair for high, word in words for pair in ((high, word >> 8), (high - 1, word & 255))),
        *(
            (TCCR1B, 0x18),
            (TCCR1A, 2),
            (ICR1H, capture >> 8),
            (ICR1L, capture & 255),
        ),  # ICR1 is writable as TOP
        *((TCCR1B, 0), (TCCR1A, mode & 3), (TCCR1B, (mode & 12) << 1 | 1)),
    )
    kind, top = SIXTEEN_BIT_MODES[mode]
    tops: dict[object, int] = {None: 0xFFFF, "a": compare_a, "icr": capture}
    model = Counter(kind, tops.get(top, top), 0xFFFF, compare_a, compare_b)  # type: ignore[arg-type]  # ditto
    chip.run(chip.cycle + ticks)
    for _ in range(ticks):
        model.clock()
    low, high = chip.read_data(TCNT1L, 1)[0], chip.save()
    assert high
    assert low == model.count & 255
    assert chip.read_data(TIFR1, 1)[0] & 7 == model.flags


@pytest.mark.parametrize("select", sorted(PRESCALERS))
def test_prescalers_of_timer0_and_timer1(select: int) -> None:
    chip = chip_with((TCCR0B, select), (TCCR1B, select), (GTCCR, 1), (TCNT0, 0), (TCNT1H, 0), (TCNT1L, 0))
    start = chip.cycle - 3 * STORE_CYCLES  # the prescaler was reset here
    already = 3 * STORE_CYCLES // PRESCALERS[select]
    chip.run(start + (100 + already) * PRESCALERS[select] - 1)
    before = (chip.read_data(TCNT0, 1)[0], chip.read_data(TCNT1L, 1)[0])
    chip.run(chip.cycle + 1)
    after = (chip.read_data(TCNT0, 1)[0], chip.read_data(TCNT1L, 1)[0])
    assert after[1] == 100
    assert after == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("select", sorted(PRESCALERS_2))
def test_prescalers_of_timer2(select: int) -> None:
    chip = chip_with((TCCR2B, select), (GTCCR, 2))
    start = chip.cycle
    first = chip.read_data(TCNT2, 1)[0]
    chip.run(start + 50 * PRESCALERS_2[select] - 1)
    assert chip.read_data(TCNT2, 1)[0] == first + 49
    chip.run(chip.cycle + 1)
    assert chip.read_data(TCNT2, 1)[0] == first + 50


def test_the_held_prescaler_starts_both_timers_together() -> None:
    chip = chip_with((GTCCR, 0x81), (TCCR0B, 1), (TCCR1B, 1))
    chip.run(chip.cycle + 100)
    assert chip.read_data(TCNT0, 1) == b"\0"
    chip = chip_with((GTCCR, 0x81), (TCCR0B, 1), (TCCR1B, 1), (GTCCR, 0))
    chip.run(chip.cycle + 77)
    assert (chip.read_data(TCNT0, 1)[0], chip.read_data(TCNT1L, 1)[0]) == (77, 77)


def test_arduino_timer0_overflows_every_16384_cycles() -> None:
    chip = boot(
        vectors(TIMER0_OVF="tick")
        + "start: ldi r16,3\nout TCCR0A,r16\nout TCCR0B,r16\nldi r16,1\nsts TIMSK0,r16\nout SMCR,r16\nsei\n"
        + "loop: sleep\nrjmp loop\ntick: out GPIOR0,r16\nreti\n"
    )
    cycles = marks(chip, 5)
    assert [b - a for a, b in pairwise(cycles)] == [16384] * 4


def test_a_whole_day_without_a_look_keeps_count() -> None:
    chip = chip_with((OCR0A, 99), (TCCR0A, 2), (TCCR0B, 1))
    start, day = chip.cycle, 24 * 3600 * 16_000_000
    snapshot = chip.save()
    chip.restore(snapshot)
    chip.run(start + 12345)
    expected = chip.read_data(TCNT0, 1)
    assert expected == bytes([12345 % 100])
    asleep = boot(
        "ldi r16,99\nout OCR0A,r16\nldi r16,2\nout TCCR0A,r16\nldi r16,1\nout TCCR0B,r16\n"
        "out SMCR,r16\nsleep\n"
    )
    assert asleep.run(day) is Stop.HALT
    assert asleep.read_data(TCNT0, 1)[0] == (day - 6) % 100


def edges(chip: Atmega328p, pin: Pin, count: int) -> list[tuple[int, bool]]:
    chip.watch(pin)
    seen: list[tuple[int, bool]] = []
    while len(seen) < count:
        assert chip.run(1 << 30) is Stop.PIN
        seen.append((chip.cycle, chip.pin_level))
    return seen


def spans(seen: list[tuple[int, bool]]) -> dict[bool, set[int]]:
    result: dict[bool, set[int]] = {True: set(), False: set()}
    for (start, level), (end, _) in pairwise(seen):
        result[level].add(end - start)
    return result


@pytest.mark.parametrize(
    ("registers", "pin", "high", "low"),
    [
        pytest.param([(DDRD, 0x40), (OCR0A, 63), (TCCR0A, 0x83), (TCCR0B, 2)],
                     Pin.PD6, 64 * 8, 192 * 8, id="T0 fast A"),
        pytest.param([(DDRD, 0x20), (OCR0B, 9), (TCCR0A, 0x31), (TCCR0B, 1)],
                     Pin.PD5, 510 - 18, 18, id="T0 phase B inv"),
        pytest.param([(DDRB, 0x08), (OCR2A, 141), (TCCR2A, 0x42), (TCCR2B, 4)],
                     Pin.PB3, 142 * 64, 142 * 64, id="tone"),
        pytest.param([(DDRD, 0x08), (OCR2B, 200), (TCCR2A, 0x21), (TCCR2B, 1)],
                     Pin.PD3, 400, 110, id="T2 phase B"),
        pytest.param(
            [(DDRB, 2), (TCCR1A, 0x82), (TCCR1B, 0x18), (ICR1H, 3), (ICR1L, 231), (OCR1AH, 1), (OCR1AL, 0),
             (TCCR1B, 0x19)],
            Pin.PB1, 257, 1000 - 257, id="T1 fast ICR",
        ),
        pytest.param(
            [(DDRB, 4), (TCCR1A, 0x20), (TCCR1B, 0x10), (ICR1H, 1), (ICR1L, 0), (OCR1BH, 0), (OCR1BL, 16),
             (TCCR1B, 0x12)],
            Pin.PB2, 32 * 8, (512 - 32) * 8, id="T1 phase and frequency ICR",
        ),
    ],
)  # fmt: skip
def test_waveforms_on_the_pins(registers: list[tuple[int, int]], pin: Pin, high: int, low: int) -> None:
    seen = edges(chip_with(*registers), pin, 12)[
        4:
    ]  # past the first periods with the unbuffered compare value
    assert spans(seen) == {True: {high}, False: {low}}


def test_fast_pwm_extremes() -> None:
    full = chip_with((DDRD, 0x40), (OCR0A, 255), (TCCR0A, 0x83), (TCCR0B, 1))
    full.run(1000)
    full.watch(Pin.PD6)
    assert full.run(10_000) is Stop.LIMIT
    assert full.pin_high(Pin.PD6)
    narrow = edges(chip_with((DDRD, 0x40), (TCCR0A, 0x83), (TCCR0B, 1)), Pin.PD6, 8)[2:]
    assert spans(narrow) == {True: {1}, False: {255}}


def test_compare_is_double_buffered_in_pwm() -> None:
    chip = boot(
        "ldi r16,0x40\nout DDRD,r16\nldi r16,99\nout OCR0A,r16\nldi r16,0x83\nout TCCR0A,r16\n"
        "ldi r16,1\nout TCCR0B,r16\n"
        ".rept 310\nnop\n.endr\nldi r16,199\nout OCR0A,r16\nloop: rjmp loop\n"
    )
    seen = edges(chip, Pin.PD6, 12)
    high = [b - a for (a, level), (b, _) in pairwise(seen) if level]
    assert 100 in high
    assert high[-1] == 200
    assert set(high) <= {100, 200, high[0]}


def test_sixteen_bit_access_goes_through_temp() -> None:
    chip = boot(
        "ldi r16,0x12\nsts TCNT1H,r16\nldi r16,0xfe\nsts TCNT1L,r16\nldi r16,1\nsts TCCR1B,r16\n"
        "nop\nlds r20,TCNT1L\nlds r21,TCNT1H\nout GPIOR0,r16\n"
    )
    marks(chip, 1)
    assert chip.read_data(20, 2) == (0x12FE + 2).to_bytes(2, "little")


def cancelled(changes: list[int], rising: bool) -> list[int]:
    """Cycles at which four equal samples in a row let an edge through; the input is low before."""
    history, output, passed = [False] * 4, False, []
    for cycle in range(changes[-1] + 8):
        history = [*history[1:], sum(change <= cycle for change in changes) % 2 == 1]
        if all(history) != output and len(set(history)) == 1:
            output = history[0]
            if output == rising:
                passed.append(cycle)
    return passed


@settings(max_examples=60, deadline=None)
@given(gaps=st.lists(st.integers(1, 7), min_size=1, max_size=12), rising=st.booleans())
def test_noise_canceler_passes_what_four_samples_agree_on(gaps: list[int], rising: bool) -> None:
    chip = chip_with((TCCR1B, 0x81 | rising << 6))
    changes = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    chip.schedule_edges(Pin.PB0, [20 + change for change in changes], first_high=True)
    chip.run(140)
    passed = cancelled(changes, rising)
    captured = chip.read_data(TIFR1, 1)[0] >> 5 & 1
    assert captured == bool(passed)
    if passed:  # the fourth sample is three cycles after the first; 3 of synchroniser, 1 to the count
        count = int.from_bytes(chip.read_data(ICR1L, 2), "little")
        assert count == 20 + passed[-1] - 3 + 7 - STORE_CYCLES


def test_input_capture_takes_the_count_of_the_edge() -> None:
    chip = boot(
        "ldi r16,0x41\nsts TCCR1B,r16\n.rept 400\nnop\n.endr\nlds r20,ICR1L\nlds r21,ICR1H\n"
        "in r22,TIFR1\nout GPIOR0,r16\n"
    )
    chip.schedule_edges(Pin.PB0, [300, 350], first_high=True)
    marks(chip, 1)
    assert chip.read_data(20, 2) == (300 + 3 - 3).to_bytes(2, "little")
    assert chip.read_data(22, 1)[0] & 0x20


def test_pin_t1_clocks_timer1() -> None:
    chip = chip_with((TCCR1B, 7))
    chip.schedule_edges(Pin.PD5, [100 * n for n in range(1, 42)], first_high=True)
    chip.run(5000)
    assert chip.read_data(TCNT1L, 1) == bytes([21])


def test_a_write_of_the_count_blocks_the_match_of_the_next_clock() -> None:
    chip = chip_with((OCR0A, 50), (OCR0B, 51), (TCNT0, 50), (TCCR0B, 1))
    chip.run(chip.cycle + 20)
    assert chip.read_data(TIFR0, 1)[0] == 4
