"""The power meter driver, by PyVISA: on the bench's own model, and on a dialogue from a maker's manual."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.load import Load, SteppedCurrent
from bench.instruments.power_meter import (
    ERROR_QUERY,
    Integration,
    PowerMeter,
    ScpiPowerMeter,
    identify_power_meter,
)
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.power_meter import PowerMeterInstrument
from bench.instruments.visa import InstrumentAnswerError, VisaLink, WrongInstrumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.instruments.conftest import Eventually, OddInstrument, Reply
    from bench.instruments.scpi.instrument import ScpiInstrument

SEAT = "instruments.power_meter"
DIALOGUE = Path(__file__).parent / "dialogues" / "yokogawa_wt310.yaml"


def link_to(resource: str) -> VisaLink:
    link = VisaLink(SEAT, resource, error_query=ERROR_QUERY)
    identify_power_meter(link)
    return link


def steady_output() -> SupplyChannel:
    """5 V, on, with a board of 123456 uA on it from its first second on."""
    channel = SupplyChannel([Load("board", SteppedCurrent(123_456), 2_700, lambda _powered: None)])
    channel.set_limit(3_000_000)
    channel.set_voltage(5_000_000)
    channel.switch(True)
    channel.advance(1_000_000_000)
    return channel


def test_energy_of_a_steady_load_is_its_power_times_the_time(
    served: Callable[[ScpiInstrument], str], eventually: Eventually
) -> None:
    instrument = PowerMeterInstrument([steady_output()])
    instrument.now_ns = 1_000_000_000
    with link_to(served(instrument)) as link:
        meter: PowerMeter = ScpiPowerMeter(link)
        meter.start()
        early = meter.integrated()
        eventually(lambda: meter.integrated().elapsed_us >= early.elapsed_us + 100_000)
        middle = meter.integrated()
        eventually(lambda: meter.integrated().elapsed_us >= middle.elapsed_us + 100_000)
        total = meter.stop()
        assert meter.integrated() == total == meter.stop()
        for span in (middle - early, total, total - middle):
            assert abs(span.charge_uc - span.elapsed_us * 123_456 // 1_000_000) <= 2
            assert abs(span.energy_uj - 5 * span.charge_uc) <= 8
        assert abs(total.average_current_ua - 123_456) <= 20
        assert abs(total.average_power_uw - 617_280) <= 100
        assert (meter.voltage_mv(), meter.current_ua()) == (5_000, 123_456)


def test_a_start_begins_from_zero_also_in_the_middle(
    served: Callable[[ScpiInstrument], str], eventually: Eventually
) -> None:
    instrument = PowerMeterInstrument([SupplyChannel()])
    with link_to(served(instrument)) as link:
        meter = ScpiPowerMeter(link)
        with pytest.raises(InstrumentAnswerError, match="no integration has been started; start one"):
            meter.integrated()
        meter.start()
        eventually(lambda: meter.integrated().elapsed_us >= 100_000)
        instrument_ns = instrument.now_ns
        meter.start()
        # What the first integration had is gone: no more time than has passed since.
        assert meter.integrated().elapsed_us <= (instrument.now_ns - instrument_ns) // 1000


def test_the_dialogue_of_a_wt310() -> None:
    backend = f"{DIALOGUE}@sim"
    with VisaLink(
        SEAT, "TCPIP::wt310.invalid::10001::SOCKET", backend=backend, error_query=ERROR_QUERY
    ) as link:
        assert identify_power_meter(link).startswith("YOKOGAWA,WT310E")
        meter = ScpiPowerMeter(link)
        total = meter.stop()
        assert total == Integration(
            elapsed_us=3_600_000_000, charge_uc=1_080_000_000, energy_uj=5_400_000_000
        )
        assert (total.average_current_ua, total.average_power_uw) == (300_000, 1_500_000)
        assert (meter.voltage_mv(), meter.current_ua()) == (5_001, 300_150)


@pytest.mark.parametrize("answer", [b"1,2\n", b"1,x,3,4,5\n", b"1,INF,3,4,5\n", b"\n"])
def test_an_answer_that_is_not_five_numbers_is_told(
    odd: Callable[[Reply], OddInstrument], answer: bytes
) -> None:
    answers = {"NUM:NORM:VAL?": answer, ERROR_QUERY: b'0,"No error"\n'}
    vague = odd(lambda line: answers.get(line, b""))
    with VisaLink(SEAT, vague.resource, error_query=ERROR_QUERY) as link:
        meter = ScpiPowerMeter(link)
        with pytest.raises(InstrumentAnswerError, match="expected"):
            meter.integrated()


def test_a_supply_is_no_power_meter(odd: Callable[[Reply], OddInstrument]) -> None:
    supply = odd(lambda _line: b"RIGOL TECHNOLOGIES,DP832,1,1\n")
    with pytest.raises(WrongInstrumentError, match=r"expected a power meter \(Yokogawa"):
        link_to(supply.resource)


@given(st.tuples(*[st.integers(0, 10**12)] * 3), st.tuples(*[st.integers(0, 10**12)] * 3))
def test_what_lies_between_two_integrations_is_their_difference(
    first: tuple[int, int, int], more: tuple[int, int, int]
) -> None:
    earlier = Integration(*first)
    later = Integration(*(a + b for a, b in zip(first, more, strict=True)))
    assert later - earlier == Integration(*more)
    assert (later - later).average_current_ua == (later - later).average_power_uw == 0
