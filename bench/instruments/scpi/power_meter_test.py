from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.load import Load, SteppedCurrent
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.power_meter import PowerMeterInstrument

SECOND_NS = 1_000_000_000
VOLTAGE_UV = 5_000_000


class Meter:
    """A meter behind an output of 5 V that is on and steady, with a board on it, and a clock."""

    def __init__(self) -> None:
        self.part = SteppedCurrent(100_000)
        channel = SupplyChannel([Load("board", self.part, 2_700, lambda _powered: None)])
        channel.set_limit(3_000_000)
        channel.set_voltage(VOLTAGE_UV)
        channel.switch(True)
        channel.advance(SECOND_NS)
        self.now_ns = SECOND_NS
        self.instrument = PowerMeterInstrument([channel])
        self("NUM:NORM:ITEM1 TIME,1;ITEM2 AH;ITEM3 WH;NUMB 3")

    def __call__(self, line: str) -> str | None:
        return self.instrument.handle(line, self.now_ns)

    def totals(self) -> list[Fraction]:
        return [Fraction(text) for text in (self("NUM:NORM:VAL?") or "").split(",")]


@given(st.lists(st.tuples(st.integers(1, 10**10), st.integers(0, 3_000_000)), min_size=1, max_size=8))
def test_charge_and_energy_are_the_area_under_the_load(stretches: list[tuple[int, int]]) -> None:
    meter = Meter()
    meter("INTEG:STAR")
    area_fc, span_ns = 0, 0
    for length_ns, current_ua in stretches:
        meter.part.change(meter.now_ns, current_ua)
        meter.now_ns += length_ns
        assert meter("INTEG:STAT?") == "STAR"
        area_fc += length_ns * current_ua
        span_ns += length_ns
    meter("INTEG:STOP")
    meter.now_ns += SECOND_NS
    time_s, charge_ah, energy_wh = meter.totals()
    ampere_hours = Fraction(area_fc, 3600 * 10**15)
    for told, true in (
        (time_s, Fraction(span_ns, 10**9)),
        (charge_ah, ampere_hours),
        (energy_wh, 5 * ampere_hours),
    ):
        assert abs(told - true) <= true / 10**8


def test_an_integration_goes_on_after_a_stop_and_begins_anew_after_a_reset() -> None:
    meter = Meter()
    meter("INTEG:STAR")
    meter.now_ns += SECOND_NS
    meter("INTEG:STOP")
    meter.now_ns += 5 * SECOND_NS
    assert meter.totals()[0] == 1
    meter("INTEG:STAR")
    meter.now_ns += 2 * SECOND_NS
    time_s, charge_ah, _ = meter.totals()
    assert time_s == 3
    assert round(charge_ah * 3600, 6) == Fraction(3, 10)
    meter("INTEG:STOP;RES")
    assert meter("NUM:NORM:VAL?;:INTEG:STAT?") == "NAN,NAN,NAN;RES"
    meter("INTEG:STAR")
    assert meter.totals() == [0, 0, 0]


def test_values_of_the_moment() -> None:
    meter = Meter()
    meter("NUM:NORM:ITEM1 U;ITEM2 I;ITEM3 P,1")
    assert [float(value) for value in meter.totals()] == [5.0, 0.1, 0.5]
    assert meter("NUM:NORM:VAL? 3;ITEM3?;:NUM:NUMB?") == "5.00000000E-1;P,1;3"
    assert meter("NUM:NORM:VAL? 4") == "NAN"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("INTEG:STOP", '-221,"Settings conflict"'),
        ("INTEG:STAR;STAR", '-221,"Settings conflict"'),
        ("INTEG:STAR;RES", '-221,"Settings conflict"'),
        ("INTEG:MODE LONG", '-224,"Illegal parameter value"'),
        ("INP:MODE AC", '-224,"Illegal parameter value"'),
        ("NUM:NORM:ITEM9 U", '-114,"Header suffix out of range"'),
        ("NUM:NORM:ITEM1 X", '-224,"Illegal parameter value"'),
        ("NUM:NORM:ITEM1 U,2", '-222,"Data out of range"'),
        ("NUM:NORM:ITEM1 U,1,1", '-108,"Parameter not allowed"'),
        ("NUM:NORM:ITEM1", '-109,"Missing parameter"'),
        ("NUM:FORM FLOAT", '-224,"Illegal parameter value"'),
        ("NUM:NORM:NUMB 0", '-222,"Data out of range"'),
    ],
)
def test_what_it_cannot_do_goes_to_the_queue(line: str, error: str) -> None:
    meter = Meter()
    assert meter(line) is None
    assert meter("STAT:ERR?;:SYST:ERR?") == f'{error};0,"No error"'


def test_settings_are_told() -> None:
    meter = Meter()
    meter("INP:MODE DC;:INTEG:MODE CONT;:NUM:FORM ASCII")
    assert meter("INP:MODE?;:INTEG:MODE?;:NUM:FORM?") == "DC;CONT;ASC"
    meter("*RST")
    assert meter("INP:MODE?;:INTEG:MODE?;:NUM:ITEM1?") == "RMS;NORM;U,1"
