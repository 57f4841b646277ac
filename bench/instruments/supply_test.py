"""The supply driver, by PyVISA: on the bench's own model, and on a dialogue written from a maker's manual."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.instruments.load import Load, SteppedCurrent
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.server import ScpiServer
from bench.instruments.scpi.supply import SupplyInstrument
from bench.instruments.supply import ScpiSupply, Trip, identify_supply
from bench.instruments.visa import (
    InstrumentAnswerError,
    InstrumentRangeError,
    InstrumentRefusalError,
    VisaLink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.instruments.conftest import Eventually, OddInstrument, Reply
    from bench.instruments.supply import PowerSupply

SEAT = "instruments.supply"
DIALOGUE = Path(__file__).parent / "dialogues" / "rigol_dp832.yaml"


class Bench:
    """The model behind a port, with a board of 250 mA on output 1, and the driver of each output."""

    def __init__(
        self, server: ScpiServer, instrument: SupplyInstrument, powered: list[bool], until: Eventually
    ) -> None:
        self.powered = powered
        self.until = until
        self.link = VisaLink(SEAT, server.resource_of(instrument))
        identify_supply(self.link)
        self.first, self.second = ScpiSupply(self.link, 1), ScpiSupply(self.link, 2)


@pytest.fixture(scope="module")
def bench(eventually: Eventually) -> Iterator[Bench]:
    powered: list[bool] = []
    load = Load("board", SteppedCurrent(250_000), 2_700, lambda _powered: None)
    instrument = SupplyInstrument([SupplyChannel([load], lambda event: powered.append(event.powered))])
    with ScpiServer([instrument]) as server:
        made = Bench(server, instrument, powered, eventually)
        yield made
        made.link.close()


@pytest.fixture
def first(bench: Bench) -> PowerSupply:
    """The first output, as after *RST."""
    bench.link.write("*RST")
    bench.until(lambda: bench.first.measured_voltage_mv() == 0)
    bench.powered.clear()
    return bench.first


@settings(max_examples=30)
@given(voltage_mv=st.integers(0, 32_000), current_ma=st.integers(0, 3_200))
def test_what_is_set_is_read_back(bench: Bench, voltage_mv: int, current_ma: int) -> None:
    bench.second.set_voltage_mv(voltage_mv)
    bench.second.set_current_limit_ma(current_ma)
    assert bench.second.voltage_mv() == voltage_mv
    assert bench.second.current_limit_ma() == current_ma
    assert bench.link.retries == []


def test_switching_the_output_powers_and_cuts_the_board(bench: Bench, first: PowerSupply) -> None:
    first.set_voltage_mv(5_100)
    assert not first.is_on()
    first.output(True)
    assert first.is_on()
    bench.until(lambda: bench.powered == [True])
    bench.until(lambda: first.measured_voltage_mv() == 5_100)
    bench.until(lambda: first.measured_current_ua() == 250_000)
    first.output(False)
    bench.until(lambda: bench.powered == [True, False])
    bench.until(lambda: first.measured_current_ua() == 0)
    assert not first.is_on()


def test_a_brown_out_resets_the_board(bench: Bench, first: PowerSupply) -> None:
    first.set_voltage_mv(5_000)
    first.output(True)
    bench.until(lambda: bench.powered == [True])
    first.set_voltage_mv(2_500)
    bench.until(lambda: bench.powered == [True, False])
    first.set_voltage_mv(5_000)
    bench.until(lambda: bench.powered == [True, False, True])


def test_outputs_do_not_touch_each_other(bench: Bench, first: PowerSupply) -> None:
    first.set_voltage_mv(1_000)
    bench.second.set_voltage_mv(2_000)
    first.output(True)
    assert (first.voltage_mv(), bench.second.voltage_mv()) == (1_000, 2_000)
    assert (first.is_on(), bench.second.is_on()) == (True, False)


def test_protections_trip_and_are_cleared(bench: Bench, first: PowerSupply) -> None:
    first.set_voltage_mv(5_000)
    first.set_over_current_ma(200)
    assert first.tripped() is Trip.NONE
    first.output(True)
    bench.until(lambda: first.tripped() is Trip.OVER_CURRENT)
    assert not first.is_on()
    with pytest.raises(InstrumentRefusalError, match="-221"):
        first.output(True)
    first.clear_trip()
    first.set_over_current_ma(None)
    first.set_over_voltage_mv(4_000)
    first.output(True)
    bench.until(lambda: first.tripped() is Trip.OVER_VOLTAGE)
    first.clear_trip()
    assert first.tripped() is Trip.NONE


@pytest.mark.parametrize("voltage_mv", [-1, 32_001])
def test_a_voltage_beyond_the_output_is_refused_before_it_is_sent(
    bench: Bench, first: PowerSupply, voltage_mv: int
) -> None:
    first.set_voltage_mv(3_000)
    with pytest.raises(
        InstrumentRangeError, match=r"output 1 of DAG-BENCH.* gives 0 to 32000 mV; set voltage_mv"
    ):
        first.set_voltage_mv(voltage_mv)
    with pytest.raises(InstrumentRangeError, match=r"a current limit of 3201 mA, .* 0 to 3200 mA"):
        first.set_current_limit_ma(3_201)
    assert first.voltage_mv() == 3_000
    assert bench.link.query("SYST:ERR?").startswith("0,")


def test_an_output_that_the_supply_has_not_is_refused(bench: Bench) -> None:
    with pytest.raises(InstrumentRefusalError, match=r"'INST:NSEL 4' was answered .*-222"):
        ScpiSupply(bench.link, 4)


def test_the_dialogue_of_a_dp832() -> None:
    with VisaLink(SEAT, "TCPIP::dp832.invalid::5555::SOCKET", backend=f"{DIALOGUE}@sim") as link:
        assert identify_supply(link) == "RIGOL TECHNOLOGIES,DP832,DP8C000000000,00.01.16"
        supply: PowerSupply = ScpiSupply(link)
        supply.set_voltage_mv(5_100)
        supply.set_current_limit_ma(1_500)
        supply.output(True)
        assert (supply.voltage_mv(), supply.current_limit_ma(), supply.is_on()) == (5_100, 1_500, True)
        assert (supply.measured_voltage_mv(), supply.measured_current_ua()) == (5_099, 261_400)
        supply.set_over_current_ma(900)
        supply.set_over_voltage_mv(None)
        assert supply.tripped() is Trip.OVER_CURRENT
        supply.clear_trip()
        supply.output(False)
        assert not supply.is_on()


def test_an_answer_that_is_no_switch_is_told(odd: Callable[[Reply], OddInstrument]) -> None:
    answers = {"SYST:ERR?": b"0\n", "OUTP?": b"MAYBE\n"}
    vague = odd(lambda line: answers.get(line, b"1.0\n") if line.endswith(("?", "MIN", "MAX")) else b"")
    with (
        VisaLink(SEAT, vague.resource) as link,
        pytest.raises(InstrumentAnswerError, match="'MAYBE', where 1 or 0, ON or OFF was expected"),
    ):
        ScpiSupply(link).is_on()
