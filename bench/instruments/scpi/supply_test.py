import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.decimals import decimal_text
from bench.instruments.load import Load, SteppedCurrent
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.supply import SupplyInstrument

SECOND_NS = 1_000_000_000
NO_ERROR = '0,"No error"'


class Supply:
    """A supply with a board of 250 mA on its first output, and a clock."""

    def __init__(self) -> None:
        self.part = SteppedCurrent(250_000)
        load = Load("board", self.part, 2_700, lambda _powered: None)
        self.instrument = SupplyInstrument([SupplyChannel([load])])
        self.now_ns = 0

    def __call__(self, line: str) -> str | None:
        return self.instrument.handle(line, self.now_ns)

    def wait(self) -> None:
        self.now_ns += SECOND_NS


def test_it_says_what_it_is_and_has_the_outputs_of_a_dp832() -> None:
    supply = Supply()
    assert supply("*IDN?") == "DAG-BENCH,SUPPLY-MODEL,0,1"
    assert supply("SOUR1:VOLT? MAX;:SOUR3:VOLT? MAX;:SOUR1:CURR? MAX") == "32.000;5.300;3.200"
    assert supply("VOLT? MIN;CURR? DEF") == "0.000;3.000"
    with pytest.raises(ValueError, match="4 channels on a supply of 3 outputs"):
        SupplyInstrument([SupplyChannel() for _ in range(4)])


@given(st.integers(0, 32_000), st.integers(0, 3_200), st.sampled_from([1, 2]))
def test_what_is_set_is_told(voltage_mv: int, current_ma: int, channel: int) -> None:
    supply = Supply()
    supply(f"INST:NSEL {channel};:VOLT {decimal_text(voltage_mv, 3)};CURR {current_ma} mA")
    assert supply("VOLT?;CURR?") == f"{decimal_text(voltage_mv, 3)};{decimal_text(current_ma, 3)}"
    assert supply(f"SOUR{channel}:VOLT?") == decimal_text(voltage_mv, 3)
    assert supply(f"SOUR{3 - channel}:VOLT?;:SYST:ERR?") == f"0.000;{NO_ERROR}"


def test_an_output_gives_its_voltage_and_the_current_of_what_it_feeds() -> None:
    supply = Supply()
    supply("VOLT 5.1;:OUTP ON")
    supply.wait()
    assert supply("OUTP?;:MEAS:VOLT?;CURR?;:OUTP:MODE?") == "1;5.1000;0.250000;CV"
    supply("OUTP OFF")
    supply.wait()
    supply.wait()
    assert supply("OUTP?;:MEAS:VOLT?;CURR?") == "0;0.0000;0.000000"


def test_a_limit_below_the_demand_shows_constant_current() -> None:
    supply = Supply()
    supply("VOLT 5;CURR 0.25;:OUTP ON")
    supply.wait()
    supply.part.change(supply.now_ns, 500_000)
    # No board is starved: half of 5.6 V is more than it browns out at.
    supply("VOLT 5.6")
    for _ in range(20):
        supply.now_ns += 5_000_000
        supply.instrument.advance(supply.now_ns)
    assert supply("OUTP:MODE?;:MEAS:CURR?;VOLT?") == "CC;0.250000;2.8000"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("VOLT 33", '-222,"Data out of range"'),
        ("INST:NSEL 4", '-222,"Data out of range"'),
        ("SOUR4:VOLT 1", '-114,"Header suffix out of range"'),
        ("SOUR0:VOLT?", '-114,"Header suffix out of range"'),
        ("VOLT 1 A", '-131,"Invalid suffix"'),
        ("VOLT? 5", '-224,"Illegal parameter value"'),
        ("VOLT", '-109,"Missing parameter"'),
        ("OUTP? 1", '-108,"Parameter not allowed"'),
        ("OUTP PERHAPS", '-104,"Data type error"'),
        ("VOLTS 5", '-113,"Undefined header"'),
    ],
)
def test_what_it_cannot_do_goes_to_the_queue(line: str, error: str) -> None:
    supply = Supply()
    assert supply(line) is None
    assert supply("SYST:ERR?;ERR?") == f"{error};{NO_ERROR}"
    assert supply("VOLT?") == "0.000"


def test_over_current_protection_by_command() -> None:
    supply = Supply()
    supply("CURR:PROT 0.3;PROT:STAT ON;:VOLT 5;:OUTP ON")
    supply.wait()
    assert supply("CURR:PROT?;PROT:STAT?;TRIP?") == "0.300;1;0"
    supply.part.change(supply.now_ns, 301_000)
    supply.wait()
    assert supply("CURR:PROT:TRIP?;:VOLT:PROT:TRIP?;:OUTP?") == "1;0;0"
    supply("OUTP ON")
    assert supply("SYST:ERR?;:OUTP?") == '-221,"Settings conflict";0'
    supply("CURR:PROT:CLE;:OUTP ON")
    assert supply("CURR:PROT:TRIP?;:OUTP?") == "0;1"


def test_over_voltage_protection_by_command() -> None:
    supply = Supply()
    supply("VOLT:PROT 5.5;PROT:STAT 1;:OUTP ON;:VOLT 6")
    supply.wait()
    assert supply("VOLT:PROT:TRIP?;:OUTP?") == "1;0"


def test_reset_takes_all_back() -> None:
    supply = Supply()
    supply("INST:NSEL 2;:VOLT 7;VOLT:PROT:STAT ON;:OUTP ON")
    supply("*RST")
    assert supply("INST:NSEL?;:SOUR2:VOLT?;:OUTP2?;:SOUR2:VOLT:PROT:STAT?") == "1;0.000;0;0"
