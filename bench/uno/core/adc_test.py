"""ADC: conversion times, the sampling moment, references, triggers (datasheet 24)."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import Atmega328p, Pin, SleepMode
from bench.uno.core.assembly import boot, chip_with, marks, vectors

ADCL, ADCH, ADCSRA, ADCSRB, ADMUX = 0x78, 0x79, 0x7A, 0x7B, 0x7C
ADEN, ADSC, ADATE, ADIF = 0x80, 0x40, 0x20, 0x10
DIVIDERS = {0: 2, 1: 2, 2: 4, 3: 8, 4: 16, 5: 32, 6: 64, 7: 128}


def result(chip: Atmega328p) -> int:
    return int.from_bytes(chip.read_data(ADCL, 2), "little")


def converts_until(chip: Atmega328p) -> int:
    """The cycle at which ADIF rises."""
    while not chip.read_data(ADCSRA, 1)[0] & ADIF:
        chip.run(chip.cycle + 1)
    return chip.cycle


@pytest.mark.parametrize("select", sorted(DIVIDERS))
def test_first_conversion_takes_25_clocks_and_the_next_13(select: int) -> None:
    divider = DIVIDERS[select]
    chip = chip_with((ADMUX, 0x40), (ADCSRA, ADEN | select), (ADCSRA, ADEN | ADSC | select))
    asked, origin = chip.cycle, chip.cycle - 3
    begin = origin + ((asked - origin) // divider + 1) * divider
    assert converts_until(chip) == begin + 25 * divider
    assert not chip.read_data(ADCSRA, 1)[0] & ADSC

    chip = chip_with(
        (ADCSRA, ADEN | ADSC | select), *[(ADMUX, 0x40)] * 1200, (ADCSRA, ADEN | ADIF | ADSC | select)
    )
    asked, origin = chip.cycle, 3
    begin = origin + ((asked - origin) // divider + 1) * divider
    assert converts_until(chip) == begin + 13 * divider


def test_free_running_delivers_every_13_clocks() -> None:
    chip = boot(
        vectors(ADC="ready")
        + "start: ldi r16,1\nout SMCR,r16\nldi r16,0x40\nsts ADMUX,r16\nldi r16,0xef\nsts ADCSRA,r16\nsei\n"
        + "loop: sleep\nrjmp loop\nready: out GPIOR0,r16\nreti\n"
    )
    cycles = marks(chip, 5)
    assert {b - a for a, b in pairwise(cycles)} == {13 * 128}


def test_a_trigger_fixes_the_delay() -> None:
    """INT0 as trigger: 2 cycles to the flag, 3 to synchronise, 13.5 ADC clocks; sampling 2 clocks in."""
    chip = chip_with(
        (0x69, 3), (ADMUX, 0x40), (ADCSRB, 2), (ADCSRA, ADEN | ADSC | 5), *[(ADMUX, 0x40)] * 400,
        (ADCSRA, ADEN | ADATE | ADIF | 5),
    )  # fmt: skip
    edge = chip.cycle + 77
    sample = edge + 2 + 3 + 2 * 32
    chip.schedule_edges(Pin.PD2, [edge], first_high=True)
    chip.set_analog(0, [AnalogSegment(0, 0), AnalogSegment(sample, 2_500_000), AnalogSegment(sample + 1, 0)])
    assert converts_until(chip) == edge + 2 + 3 + 27 * 16
    assert result(chip) == 512


def test_the_sample_is_taken_one_and_a_half_clocks_in() -> None:
    chip = chip_with(
        (ADMUX, 0x41), (ADCSRA, ADEN | ADSC | 7), *[(ADMUX, 0x41)] * 1300, (ADCSRA, ADEN | ADSC | ADIF | 7)
    )
    origin = 6
    begin = origin + ((chip.cycle - origin) // 128 + 1) * 128
    sample = begin + 192
    chip.set_analog(1, [AnalogSegment(0, 0), AnalogSegment(sample, 5_000_000), AnalogSegment(sample + 1, 0)])
    converts_until(chip)
    assert result(chip) == 1023


@pytest.mark.parametrize(
    ("multiplexer", "level_uv", "expected"),
    [
        (0x40, 0, 0), (0x40, 4_882, 0), (0x40, 4_883, 1), (0x40, 2_500_000, 512), (0x40, 4_995_118, 1023),
        (0x40, 9_000_000, 1023), (0x40, -1, 0), (0x00, 2_500_000, 512),
        (0xC0, 550_000, 512), (0xC0, 2_500_000, 1023),
        (0x4E, 0, 225), (0x4F, 9, 0), (0xC8, 0, 292),
    ],
)  # fmt: skip
def test_levels_and_references(multiplexer: int, level_uv: int, expected: int) -> None:
    chip = chip_with((ADMUX, multiplexer), (ADCSRA, ADEN | ADSC))
    chip.set_analog(0, [AnalogSegment(0, level_uv)])
    converts_until(chip)
    assert result(chip) == expected


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 2_500_000), st.integers(0, 1 << 50))
@settings(max_examples=60, deadline=None)
def test_a_sine_is_sampled_where_it_is(phase: int, amplitude_uv: int, phase_step: int) -> None:
    chip = chip_with((ADMUX, 0x45), (ADCSRA, ADEN | ADSC))
    chip.set_analog(5, [AnalogSegment(3, 2_500_000, amplitude_uv, phase, phase_step)])
    sample = 8 + 27  # ADSC written in cycle 6, ADC clock of 2 cycles; 13.5 of them to the first sample
    converts_until(chip)
    turns = ((phase + phase_step * (sample - 3)) % (1 << 64)) / (1 << 64)
    exact = (2_500_000 + amplitude_uv * math.sin(2 * math.pi * turns)) * 1024 / 5_000_000
    assert result(chip) in {min(1023, max(0, math.floor(exact + error))) for error in (-0.001, 0.001)}


def test_a_mains_sine_keeps_its_shape() -> None:
    step = round(2**64 * 50 / 16_000_000)
    chip = boot(
        vectors(ADC="ready")
        + "start: ldi r16,1\nout SMCR,r16\nldi r16,0x40\nsts ADMUX,r16\nldi r16,0xef\nsts ADCSRA,r16\nsei\n"
        + "loop: sleep\nrjmp loop\nready: lds r20,ADCL\nlds r21,ADCH\nout GPIOR1,r20\n"
        "out GPIOR2,r21\nout GPIOR0,r16\nreti\n"
    )
    chip.set_analog(0, [AnalogSegment(0, 2_500_000, 1_593_000, 0, step)])
    codes = []
    for _ in range(1923):  # ten periods of 50 Hz, nearly
        marks(chip, 1)
        codes.append(chip.mark_argument - 512)
    root_mean_square = math.sqrt(sum(code * code for code in codes) / len(codes))
    assert root_mean_square * 5_000_000 / 1024 == pytest.approx(1_593_000 / math.sqrt(2), rel=0.003)


def test_of_many_segments_the_last_begun_holds() -> None:
    chip = chip_with((ADMUX, 0x42), (ADCSRA, ADEN | ADSC))
    sample = 8 + 27
    chip.set_analog(2, [AnalogSegment(cycle, cycle * 10_000) for cycle in range(100)])
    chip.set_analog(2, [AnalogSegment(sample + 1, 0)])
    converts_until(chip)
    assert result(chip) == sample * 10_000 * 1024 // 5_000_000


def test_reading_low_holds_the_result_until_high_is_read() -> None:
    chip = boot(
        "ldi r16,0x40\nsts ADMUX,r16\nldi r16,0xe0\nsts ADCSRA,r16\n.rept 200\nnop\n.endr\nlds r20,ADCL\n"
        ".rept 200\nnop\n.endr\nlds r21,ADCH\n.rept 200\nnop\n.endr\nlds r22,ADCL\n"
        "lds r23,ADCH\nout GPIOR0,r16\n"
    )
    chip.set_analog(0, [AnalogSegment(0, 1_000_000), AnalogSegment(250, 3_500_000)])
    marks(chip, 1)
    first, second = chip.read_data(20, 2), chip.read_data(22, 2)
    assert int.from_bytes(first, "little") == 1_000_000 * 1024 // 5_000_000
    assert int.from_bytes(second, "little") == 3_500_000 * 1024 // 5_000_000


def test_left_adjusted_result() -> None:
    chip = chip_with((ADMUX, 0x60), (ADCSRA, ADEN | ADSC))
    chip.set_analog(0, [AnalogSegment(0, 2_505_000)])
    converts_until(chip)
    assert result(chip) == 513 << 6


def test_flag_is_cleared_by_writing_one() -> None:
    chip = chip_with((ADCSRA, ADEN | ADSC), *[(ADMUX, 0)] * 40, (ADCSRA, ADEN))
    assert chip.read_data(ADCSRA, 1)[0] & ADIF
    chip = chip_with((ADCSRA, ADEN | ADSC), *[(ADMUX, 0)] * 40, (ADCSRA, ADEN | ADIF))
    assert not chip.read_data(ADCSRA, 1)[0] & ADIF


def test_noise_reduction_sleep_converts_and_wakes() -> None:
    chip = boot(
        vectors(ADC="ready") + "start: ldi r16,0x40\nsts ADMUX,r16\nldi r16,0x8f\nsts ADCSRA,r16\nldi r16,3\n"
        "out SMCR,r16\nsei\nsleep\n" + "loop: rjmp loop\nready: out GPIOR0,r16\nreti\n"
    )
    (woken,) = marks(chip, 1)
    # JMP, LDI STS LDI STS: the ADC clock starts at 9; SLEEP ends at 13; 25 clocks from
    # 9 + 128 on; 4 + 4 + 3 + 1 to tell.
    assert woken == 9 + 128 + 25 * 128 + 12
    assert chip.sleep_cycles[SleepMode.ADC_NOISE_REDUCTION] == 9 + 128 + 25 * 128 - 13
