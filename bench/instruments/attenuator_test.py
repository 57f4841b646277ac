"""The attenuator drivers, by PyVISA: on the bench's own model, and on a dialogue from a maker's manual."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.instruments.attenuator import StepAttenuator, open_attenuator
from bench.instruments.scpi.attenuator import AttenuatorInstrument
from bench.instruments.scpi.server import ScpiServer
from bench.instruments.visa import (
    InstrumentRangeError,
    InstrumentRefusalError,
    VisaLink,
    WrongInstrumentError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.instruments.conftest import OddInstrument, Reply
    from bench.instruments.scpi.instrument import ScpiInstrument

SEAT = "instruments.attenuator of east"
DIALOGUE = Path(__file__).parent / "dialogues" / "mini_circuits_rcdat.yaml"


@pytest.fixture(scope="module")
def told() -> list[int]:
    """What the radio path was told."""
    return []


@pytest.fixture(scope="module")
def attenuator(told: list[int]) -> Iterator[StepAttenuator]:
    instrument = AttenuatorInstrument(told.append)
    with ScpiServer([instrument]) as server, VisaLink(SEAT, server.resource_of(instrument)) as link:
        yield open_attenuator(link)


def test_range_and_step_come_from_the_instrument(served: Callable[[ScpiInstrument], str]) -> None:
    resource = served(AttenuatorInstrument(lambda _attenuation_cdb: None, largest_cdb=6_300, step_cdb=50))
    with VisaLink(SEAT, resource) as link:
        coarse = open_attenuator(link)
        assert (coarse.largest_cdb, coarse.step_cdb, coarse.attenuation_cdb()) == (6_300, 50, 6_300)


@settings(max_examples=30)
@given(steps=st.integers(0, 380))
def test_what_is_set_is_read_back_and_told_to_the_radio(
    attenuator: StepAttenuator, told: list[int], steps: int
) -> None:
    attenuator.set_attenuation_cdb(25 * steps)
    assert attenuator.attenuation_cdb() == told[-1] == 25 * steps


@pytest.mark.parametrize("attenuation_cdb", [-25, 10, 9_525])
def test_what_is_no_step_is_refused_before_it_is_sent(
    attenuator: StepAttenuator, told: list[int], attenuation_cdb: int
) -> None:
    attenuator.set_attenuation_cdb(1_000)
    with pytest.raises(InstrumentRangeError, match=r"has 0 to 95.00 dB by 0.25 dB; choose one of its steps"):
        attenuator.set_attenuation_cdb(attenuation_cdb)
    assert told[-1] == 1_000


def test_a_keysight_unit_has_its_data_sheets_range(odd: Callable[[Reply], OddInstrument]) -> None:
    answers = {
        "*IDN?": b"AGILENT TECHNOLOGIES,J7211C,MY0,A.1\n",
        "SYST:ERR?": b'+0,"No error"\n',
        "ATT?": b"7\n",
    }
    unit = odd(lambda line: answers.get(line, b""))
    with VisaLink(SEAT, unit.resource) as link:
        attenuator = open_attenuator(link)
        assert (attenuator.largest_cdb, attenuator.step_cdb, attenuator.attenuation_cdb()) == (
            10_100,
            100,
            700,
        )
        attenuator.set_attenuation_cdb(1_200)
        assert "ATT 12.00" in unit.lines
        with pytest.raises(InstrumentRangeError):
            attenuator.set_attenuation_cdb(50)


def test_the_dialogue_of_an_rcdat() -> None:
    with VisaLink(SEAT, "TCPIP::rcdat.invalid::23::SOCKET", backend=f"{DIALOGUE}@sim") as link:
        attenuator = open_attenuator(link, dialect="mini-circuits")
        assert link.identification == "MN=RCDAT-8000-90"
        assert (attenuator.largest_cdb, attenuator.step_cdb) == (9_000, 25)
        attenuator.set_attenuation_cdb(1_075)
        assert attenuator.attenuation_cdb() == 1_075
        # The dialogue refuses what is above 60 dB, as a unit does with less range than its name says.
        with pytest.raises(InstrumentRefusalError, match=r"':SETATT=80.00' was answered with '0'"):
            attenuator.set_attenuation_cdb(8_000)
        with pytest.raises(InstrumentRangeError, match=r"MN=RCDAT-8000-90 has 0 to 90.00 dB"):
            attenuator.set_attenuation_cdb(9_025)


def test_the_wrong_dialect_is_told() -> None:
    with (
        VisaLink(SEAT, "TCPIP::rcdat.invalid::23::SOCKET", backend=f"{DIALOGUE}@sim") as link,
        pytest.raises(WrongInstrumentError, match=r"-99 Unrecognized Command"),
    ):
        open_attenuator(link)
