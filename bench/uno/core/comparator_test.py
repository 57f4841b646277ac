"""Analog comparator: inputs, edges, interrupt, capture, trigger (datasheet 23)."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import AIN0, AIN1, Atmega328p, Pin, SleepMode, Stop
from bench.uno.core.assembly import boot, chip_with, marks, vectors

ACSR, ADCSRB, ADMUX, ADCSRA, TIFR1, TCCR1B, ICR1L = 0x50, 0x7B, 0x7C, 0x7A, 0x36, 0x81, 0x86
ACD, ACBG, ACO, ACI, ACIE, ACIC, ACME = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x40
TURN = 1 << 64


def level(microvolts: int) -> list[AnalogSegment]:
    return [AnalogSegment(0, microvolts, 0, 0, 0)]


def sine(offset_uv: int, amplitude_uv: int, period: int, phase: int = 0) -> list[AnalogSegment]:
    return [AnalogSegment(0, offset_uv, amplitude_uv, phase, TURN // period)]


def output(chip: Atmega328p) -> bool:
    return bool(chip.read_data(ACSR, 1)[0] & ACO)


def test_bandgap_against_a_grounded_input() -> None:
    chip = boot("ldi r16,0x40\nout ACSR,r16\nnop\nin r20,ACSR\nin r21,ACSR\nout GPIOR0,r16\n")
    marks(chip, 1)
    assert chip.read_data(20, 2) == bytes([ACBG, ACBG | ACO | ACI])  # OUT ends at 2, the first IN reads at 3


@pytest.mark.parametrize(("plus", "minus"), [(2_000_000, 1_999_999), (1_999_999, 2_000_000), (5, 5)])
def test_output_tells_whether_plus_is_above_minus(plus: int, minus: int) -> None:
    chip = chip_with((ACSR, 0))
    chip.set_analog(AIN0, level(plus))
    chip.set_analog(AIN1, level(minus))
    chip.run(20)
    assert output(chip) == (plus > minus)


def test_digital_levels_are_voltages_too() -> None:
    chip = chip_with((ACSR, 0))
    chip.schedule_edges(Pin.PD6, [20, 60], first_high=True)
    chip.schedule_edges(Pin.PD7, [40, 80], first_high=True)
    seen = []
    for cycle in (21, 22, 41, 42, 61, 81, 82, 90):
        chip.run(cycle)
        seen.append(output(chip))
    assert seen == [False, True, True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("mode", "flagged"), [(0, (True, True)), (1, (False, False)), (2, (False, True)), (3, (True, False))]
)
def test_flag_by_mode(mode: int, flagged: tuple[bool, bool]) -> None:
    for edge, expected in zip((20, 40), flagged, strict=True):
        chip = chip_with((ACSR, mode))
        chip.schedule_edges(Pin.PD6, [20, 40], first_high=True)
        if edge == 40:
            chip.run(30)
        flags = []
        for cycle in (edge + 1, edge + 2):
            chip.run(cycle)
            flags.append(bool(chip.read_data(ACSR, 1)[0] & ACI))
        before = edge == 40 and flagged[0]
        assert flags == [before, before or expected]


SLEEPER = (
    vectors(ANALOG_COMP="handler")
    + "start: ldi r16,{control}\nout ACSR,r16\nldi r16,{mode}\nout SMCR,r16\nsei\nloop: sleep\nrjmp loop\n"
    "handler: in r20,ACSR\nout GPIOR0,r16\nreti\n"
)


def test_interrupt_wakes_from_idle_and_clears_its_flag() -> None:
    chip = boot(SLEEPER.format(control=ACIE, mode=1))
    chip.schedule_edges(Pin.PD6, [1000, 2000], first_high=True)
    # ACO and ACI 2 cycles after the edge, waking 4, entry 4, JMP 3, IN 1, OUT 1.
    assert marks(chip, 1) == [1000 + 2 + 13]
    assert chip.read_data(20, 1) == bytes([ACIE | ACO])
    assert marks(chip, 1) == [2000 + 2 + 13]
    assert chip.read_data(20, 1) == bytes([ACIE])


@pytest.mark.parametrize("mode", [mode for mode in SleepMode if mode is not SleepMode.IDLE])
def test_it_does_not_wake_from_deeper_sleep(mode: SleepMode) -> None:
    chip = boot(SLEEPER.format(control=ACIE, mode=mode << 1 | 1))
    chip.schedule_edges(Pin.PD6, [1000], first_high=True)
    assert chip.run(100_000) is Stop.HALT


def test_clearing_the_flag_and_switching_off() -> None:
    chip = boot(
        "ldi r16,0x40\nout ACSR,r16\nnop\nnop\nldi r17,0x53\nout ACSR,r17\nin r20,ACSR\nldi r17,0xc3\n"
        "out ACSR,r17\nnop\nnop\nin r21,ACSR\nout GPIOR0,r16\n"
    )
    marks(chip, 1)
    assert chip.read_data(20, 2) == bytes([ACBG | ACO | 3, ACD | ACBG | 3])


def test_multiplexer_takes_the_minus_input_while_the_adc_is_off() -> None:
    def compared(adcsra: int, prr: int = 0) -> bool:
        chip = chip_with((ADCSRB, ACME), (ADMUX, 3), (ADCSRA, adcsra), (0x64, prr))
        chip.set_analog(AIN0, level(2_000_000))
        chip.set_analog(3, level(1_000_000))
        chip.set_analog(AIN1, level(3_000_000))
        chip.run(chip.cycle + 10)
        return output(chip)

    assert compared(adcsra=0)
    assert not compared(adcsra=0x80)
    assert not compared(adcsra=0, prr=1)


def test_a_pin_of_port_c_may_be_the_minus_input() -> None:
    chip = chip_with((ADCSRB, ACME), (ADMUX, 2), (ACSR, ACBG))
    chip.schedule_edges(Pin.PC2, [50], first_high=True)
    chip.run(51)
    assert output(chip)
    chip.run(52)
    assert not output(chip)


def test_capture_takes_the_count_of_a_crossing() -> None:
    period, amplitude, offset = 320_000, 1_500_000, 2_500_000  # 50 Hz, falling through 1.1 V
    chip = chip_with((TCCR1B, 0x42), (ACSR, ACBG | ACIC))
    chip.set_analog(AIN1, sine(offset, amplitude, period))
    crossing = period * (0.5 + math.asin((offset - 1_100_000) / amplitude) / math.tau)
    chip.run(int(crossing) + 100)
    assert chip.read_data(TIFR1, 1)[0] & 0x20
    (count,) = chip.read_data(ICR1L, 1)
    assert count in {int((crossing + 3 + off) / 8) % 256 for off in (0, 1)}


def test_the_pin_of_the_capture_unit_is_left_aside_then() -> None:
    chip = chip_with((TCCR1B, 0x41), (ACSR, ACIC))
    chip.schedule_edges(Pin.PB0, [50], first_high=True)
    chip.run(100)
    assert not chip.read_data(TIFR1, 1)[0] & 0x20


def test_it_triggers_the_adc() -> None:
    chip = chip_with((ADCSRB, 1), (ADCSRA, 0xA0))
    chip.schedule_edges(Pin.PD6, [100], first_high=True)
    chip.run(101)
    assert not chip.read_data(ADCSRA, 1)[0] & 0x40
    chip.run(102)
    assert chip.read_data(ADCSRA, 1)[0] & 0x40


@settings(max_examples=25, deadline=None)
@given(
    plus=st.tuples(st.integers(0, 3_000_000), st.integers(40, 5000), st.integers(0, TURN - 1)),
    minus=st.tuples(st.integers(0, 3_000_000), st.integers(40, 5000), st.integers(0, TURN - 1)),
)
def test_no_crossing_is_missed(plus: tuple[int, int, int], minus: tuple[int, int, int]) -> None:
    """At every cycle ACO is what the voltages said two cycles before, reckoned with floating point."""

    def microvolts(part: tuple[int, int, int], cycle: int) -> float:
        amplitude, period, phase = part
        turns = ((phase + TURN // period * cycle) % TURN) / TURN
        return 2_500_000 + amplitude * math.sin(math.tau * turns)

    chip = chip_with((ACSR, 0))
    for channel, (amplitude, period, phase) in ((AIN0, plus), (AIN1, minus)):
        chip.set_analog(channel, sine(2_500_000, amplitude, period, phase))
    for cycle in range(10, 1500):
        chip.run(cycle)
        difference = microvolts(plus, cycle - 2) - microvolts(minus, cycle - 2)
        assert abs(difference) < 5 or output(chip) == (difference > 0)


def test_a_voltage_set_ahead_acts_when_it_comes() -> None:
    chip = chip_with((ACSR, 0))
    chip.set_analog(AIN0, [AnalogSegment(500, 3_000_000, 0, 0, 0), AnalogSegment(700, 0, 0, 0, 0)])
    seen = []
    for cycle in (501, 502, 701, 702):
        chip.run(cycle)
        seen.append(output(chip))
    assert seen == [False, True, True, False]
