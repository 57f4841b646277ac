"""The link itself: what it does when an instrument is not there, does not answer, or is another one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bench.instruments.scpi.attenuator import AttenuatorInstrument
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.supply import SupplyInstrument
from bench.instruments.supply import KIND
from bench.instruments.visa import (
    InstrumentAnswerError,
    InstrumentRefusalError,
    InstrumentTimeoutError,
    InstrumentUnreachableError,
    VisaLink,
    WrongInstrumentError,
    identify,
)
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.instruments.conftest import OddInstrument, Reply
    from bench.instruments.scpi.instrument import ScpiInstrument

SEAT = "instruments.supply"
SHORT_MS = 200
"""Time-out where the test waits for it to pass."""


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_real_dialogue(served: Callable[[ScpiInstrument], str]) -> None:
    with VisaLink(SEAT, served(SupplyInstrument([SupplyChannel()]))) as link:
        assert identify(link, KIND) == link.identification == "DAG-BENCH,SUPPLY-MODEL,0,1"
        link.write("VOLT 3.3")
        assert link.query("VOLT?") == "3.300"
        assert link.counts("VOLT?", 3) == 3300
        with pytest.raises(
            InstrumentAnswerError, match=r"'\*IDN\?' was answered with .* a number was expected"
        ):
            link.counts("*IDN?", 3)
        assert link.retries == []


def test_nothing_listens() -> None:
    with (
        VisaLink(SEAT, f"TCPIP::127.0.0.1::{closed_port()}::SOCKET") as link,
        pytest.raises(
            InstrumentUnreachableError, match="nothing listens there; switch the instrument on"
        ) as told,
    ):
        link.query("*IDN?")
    assert isinstance(told.value, InfrastructureError)
    assert told.value.retry_helps


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ("", "'' is no VISA resource; write one as TCPIP::"),
        ("192.0.2.7:5025", "is no VISA resource"),
        ("TCPIP::no-such-host.invalid::5025::SOCKET", "cannot be reached: its host name is not known"),
        ("ASRL/dev/ttyNOSUCH::INSTR", "cannot be reached: .*No such file"),
        ("TCPIP::127.0.0.1::INTFC", "takes no messages|cannot be reached"),
    ],
)
def test_what_is_no_resource_is_told(resource: str, reason: str) -> None:
    with pytest.raises(InstrumentUnreachableError, match=reason) as told:
        VisaLink(SEAT, resource).query("*IDN?")
    assert told.value.seat == SEAT
    assert "\n" not in str(told.value)


def test_an_instrument_that_never_answers(odd: Callable[[Reply], OddInstrument]) -> None:
    silent = odd(lambda _line: b"")
    with (
        VisaLink(SEAT, silent.resource, timeout_ms=SHORT_MS) as link,
        pytest.raises(
            InstrumentTimeoutError, match=r"no answer to '\*IDN\?' within 200 ms; check that it is on"
        ),
    ):
        link.query("*IDN?")
    assert silent.lines == ["*IDN?", "*IDN?"]
    assert [(retry.query, retry.seat) for retry in link.retries] == [("*IDN?", SEAT)]


def test_a_query_is_repeated_on_a_new_connection(odd: Callable[[Reply], OddInstrument]) -> None:
    answers = iter([None, b"5.100\n"])
    flaky = odd(lambda _line: next(answers))
    with VisaLink(SEAT, flaky.resource, timeout_ms=SHORT_MS) as link:
        assert link.query("VOLT?") == "5.100"
    assert flaky.connections == 2
    assert len(link.retries) == 1


def test_a_late_answer_is_not_taken_for_that_of_another_query(odd: Callable[[Reply], OddInstrument]) -> None:
    late = odd(lambda line: b"" if line == "VOLT?" else b"7.000\n9.999\n" if line == "CURR?" else b"1\n")
    with VisaLink(SEAT, late.resource, timeout_ms=SHORT_MS, retry_queries=False) as link:
        with pytest.raises(InstrumentTimeoutError):
            link.query("VOLT?")
        assert link.query("*OPC?") == "1"
    assert late.connections == 2


def test_another_instrument_on_the_second_attempt_is_found_out(odd: Callable[[Reply], OddInstrument]) -> None:
    told = iter([b"A,DP832,1,1\n", None, b"B,DP832,2,1\n"])
    swapped = odd(lambda _line: next(told))
    with VisaLink(SEAT, swapped.resource, timeout_ms=SHORT_MS) as link:
        identify(link, KIND)
        with pytest.raises(WrongInstrumentError, match="told 'A,DP832,1,1' at first and 'B,DP832,2,1' now"):
            link.query("VOLT?")
    assert swapped.lines == ["*IDN?", "VOLT?", "*IDN?"]


@pytest.mark.parametrize("breaks", [None, b""])
def test_a_set_is_never_sent_twice(odd: Callable[[Reply], OddInstrument], breaks: bytes | None) -> None:
    lost = odd(lambda line: b"" if line.startswith("OUTP") else breaks)
    with (
        VisaLink(SEAT, lost.resource, timeout_ms=SHORT_MS) as link,
        pytest.raises(
            InstrumentTimeoutError, match=r"after 'OUTP OFF' was sent, which may or may not have taken effect"
        ),
    ):
        link.write("OUTP OFF")
    assert lost.lines == ["OUTP OFF", "SYST:ERR?"]
    assert link.retries == []


def test_all_of_the_error_queue_is_told(odd: Callable[[Reply], OddInstrument]) -> None:
    errors = iter([b'-222,"Data out of range"\n', b'-113,"Undefined header"\n', b'+0,"No error"\n'])
    upset = odd(lambda line: next(errors) if line == "SYST:ERR?" else b"")
    with VisaLink(SEAT, upset.resource) as link:
        with pytest.raises(InstrumentRefusalError, match=r"-222.*-113.*look these up") as told:
            link.write("VOLT 99")
        assert not told.value.retry_helps


def test_an_error_queue_without_end_is_not_read_for_ever(odd: Callable[[Reply], OddInstrument]) -> None:
    stuck = odd(lambda line: b'-350,"Queue overflow"\n' if line == "SYST:ERR?" else b"")
    with VisaLink(SEAT, stuck.resource) as link, pytest.raises(InstrumentRefusalError):
        link.write("VOLT 1")
    assert len(stuck.lines) < 50


def test_a_flood_without_a_line_end_is_cut(odd: Callable[[Reply], OddInstrument]) -> None:
    flood = odd(lambda _line: b"x" * 100_000)
    with (
        VisaLink(SEAT, flood.resource) as link,
        pytest.raises(InstrumentAnswerError, match=r"an answer that ends with") as told,
    ):
        link.query("*IDN?")
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"HTTP/1.1 400 Bad Request\n", "HTTP/1.1 400 Bad Request"),
        (b"\n", "''"),
        (b"\xff\x00\x1b[31m\n", r"\\x1b\[31m"),
        (b"YOKOGAWA,WT310E,C1,1\n", "WT310E"),
        (b"RIGOL,DS1104Z,1,1\n", "DS1104Z"),
    ],
)
def test_what_is_no_supply_is_told_with_what_it_said(
    odd: Callable[[Reply], OddInstrument], answer: bytes, shown: str
) -> None:
    other = odd(lambda _line: answer)
    with VisaLink(SEAT, other.resource) as link:
        with pytest.raises(WrongInstrumentError, match=shown) as told:
            identify(link, KIND)
        assert "\x1b" not in str(told.value)
        assert "expected a power supply (Rigol DP800" in str(told.value)
        assert link.identification == ""


def test_an_identity_in_the_rig_file_decides(served: Callable[[ScpiInstrument], str]) -> None:
    resource = served(AttenuatorInstrument(lambda _attenuation_cdb: None))
    with VisaLink(SEAT, resource) as link:
        assert "STEP-ATTENUATOR" in identify(link, KIND, identity="step-attenuator")
    with (
        VisaLink(SEAT, resource) as link,
        pytest.raises(WrongInstrumentError, match="expected an instrument that tells 'HMP4040'"),
    ):
        identify(link, KIND, identity="HMP4040")


def test_an_instrument_that_comes_back_is_used_again(served: Callable[[ScpiInstrument], str]) -> None:
    with VisaLink(SEAT, served(SupplyInstrument([]))) as link:
        identify(link, KIND)
        link.close()
        assert link.query("*OPC?") == "1"


def test_a_serial_instrument_speaks_the_same(serial_supply: Path) -> None:
    with VisaLink(SEAT, f"ASRL{serial_supply}::INSTR", baud_rate=115_200) as link:
        assert identify(link, KIND) == "DAG-BENCH,SUPPLY-MODEL,0,1"
        link.write("VOLT 12")
        assert link.counts("VOLT?", 3) == 12_000
