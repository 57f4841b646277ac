from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bench.doctor.finding import State
from bench.doctor.inquiry import ask as ask_all
from bench.doctor.instrument import instrument_inquiries
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.power_meter import PowerMeterInstrument
from bench.instruments.scpi.server import ScpiServer
from bench.instruments.scpi.supply import DP832, SupplyInstrument
from bench.rig.instruments import Attenuator, Instruments, PowerMeter, Supply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.doctor.finding import Finding


@pytest.fixture
def resources() -> Iterator[dict[str, str]]:
    """A supply and a power meter on the loopback, by the resources that PyVISA opens."""
    channels = [SupplyChannel([], print) for _ in DP832]
    supply, meter = SupplyInstrument(channels), PowerMeterInstrument(channels[:1])
    with ScpiServer([supply, meter]) as server:
        yield {"supply": server.resource_of(supply), "meter": server.resource_of(meter)}


def ask(tables: Instruments) -> list[Finding]:
    return ask_all(instrument_inquiries(tables))


def supply_at(resource: str, channel: int = 1, identity: str = "") -> Supply:
    return Supply(
        kind="real",
        voltage_mv=5000,
        current_limit_ma=500,
        channel=channel,
        resource=resource,
        identity=identity,
    )


def test_every_instrument_says_who_it_is_once(resources: dict[str, str]) -> None:
    tables = Instruments(
        supply=(supply_at(resources["supply"]), supply_at(resources["supply"], channel=2)),
        power_meter=PowerMeter(kind="real", resource=resources["meter"]),
    )
    supply, meter = ask(tables)
    assert (supply.state, meter.state) == (State.PRESENT, State.PRESENT)
    assert supply.found.startswith(f"{resources['supply']} is '")
    assert supply.found != meter.found


def test_another_instrument_than_the_rig_file_says(resources: dict[str, str]) -> None:
    [wrong] = ask(Instruments(supply=(supply_at(resources["meter"]),)))
    assert wrong.state is State.MISSING
    assert "expected a power supply" in wrong.found
    [other] = ask(Instruments(supply=(supply_at(resources["supply"], identity="ACME 9000"),)))
    assert "expected an instrument that tells 'ACME 9000'" in other.found


def test_a_dead_port_and_what_is_no_resource() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    dead, odd = ask(
        Instruments(
            supply=(supply_at(f"TCPIP::127.0.0.1::{port}::SOCKET"),),
            attenuator=(Attenuator(kind="real", branch="east", resource="the grey box"),),
        )
    )
    assert (dead.state, dead.subject) == (State.MISSING, "instruments.supply")
    assert "nothing listens there" in dead.found
    assert "switch the instrument on" in dead.mend
    assert odd.subject == "instruments.attenuator of east"
    assert odd.found == "'the grey box' is no VISA resource"


def test_emulated_instruments_need_no_look() -> None:
    tables = Instruments(
        supply=(Supply(kind="emulated", voltage_mv=5000, current_limit_ma=500),),
        power_meter=PowerMeter(kind="emulated"),
        attenuator=(Attenuator(kind="emulated", branch="east"),),
    )
    assert ask(tables) == []
