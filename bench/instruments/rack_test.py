"""The rack: what a rig file's instruments become, with boards that are really cut."""

from __future__ import annotations

import termios
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bench.instruments.load import (
    PI_BROWN_OUT_MV,
    PI_IDLE_UA,
    UNO_BROWN_OUT_MV,
    Load,
    PiPart,
    SteppedCurrent,
)
from bench.instruments.rack import (
    ATTENUATOR,
    POWER_METER,
    SUPPLY,
    Found,
    Rack,
    RackError,
    open_rack,
    survey,
)
from bench.instruments.scpi.attenuator import AttenuatorInstrument
from bench.instruments.scpi.supply import SupplyInstrument
from bench.instruments.visa import (
    InstrumentRangeError,
    InstrumentUnreachableError,
    WrongInstrumentError,
)
from bench.rig.instruments import Attenuator, Instruments, PowerMeter, Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.instruments.conftest import Eventually, OddInstrument, Reply
    from bench.instruments.scpi.instrument import ScpiInstrument
    from bench.instruments.supply import PowerSupply

UNO = Supply(kind="emulated", voltage_mv=5_000, current_limit_ma=500, feeds=("east/uno-1",))
PI = Supply(kind="emulated", voltage_mv=5_100, current_limit_ma=2_500, feeds=("east/pi",), channel=2)
TABLES = Instruments(
    supply=(UNO, PI),
    power_meter=PowerMeter(kind="emulated", channel=2),
    attenuator=(Attenuator(kind="emulated", branch="east", attenuation_db=10.0),),
)


def supplies(*tables: Supply) -> Instruments:
    return Instruments(supply=tables)


def changed(supply: Supply, **fields: object) -> Supply:
    return Supply.model_validate({**dict(supply), **fields})


class Boards:
    """An Uno and a Pi that keep what is done to them."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, bool]] = []
        self.attenuations_cdb: list[int] = []
        self.loads = {
            "east/uno-1": self._load("east/uno-1", SteppedCurrent(42_600), UNO_BROWN_OUT_MV),
            "east/pi": self._load("east/pi", PiPart(lambda _t_ns: 0), PI_BROWN_OUT_MV),
        }

    def _load(self, name: str, part: SteppedCurrent | PiPart, brown_out_mv: int) -> Load:
        return Load(name, part, brown_out_mv, lambda powered: self.acts.append((name, powered)))

    def open(self, tables: Instruments = TABLES) -> Rack:
        return open_rack(tables, self.loads, {"east": self.attenuations_cdb.append})


@pytest.fixture
def boards() -> Boards:
    return Boards()


@pytest.fixture
def rack(boards: Boards) -> Iterator[Rack]:
    with boards.open() as opened:
        yield opened


def test_all_is_opened_identified_and_set(boards: Boards, rack: Rack) -> None:
    assert [(found.seat, found.kind, found.identification) for found in rack.found] == [
        (SUPPLY, "emulated", "DAG-BENCH,SUPPLY-MODEL,0,1"),
        (POWER_METER, "emulated", "DAG-BENCH,POWER-METER-MODEL,0,1"),
        (f"{ATTENUATOR} of east", "emulated", "DAG-BENCH,STEP-ATTENUATOR-MODEL,0,1"),
    ]
    uno, pi = rack.supplies
    assert (uno.voltage_mv(), uno.current_limit_ma(), uno.is_on()) == (5_000, 500, False)
    assert (pi.voltage_mv(), pi.current_limit_ma(), pi.is_on()) == (5_100, 2_500, False)
    assert boards.attenuations_cdb == [9_500, 1_000]
    assert boards.acts == []
    assert rack.retries == ()
    assert rack.power_failures == ()


def test_switching_an_output_off_cuts_what_it_feeds_and_nothing_else(
    boards: Boards, rack: Rack, eventually: Eventually
) -> None:
    for seat in boards.loads:
        assert not rack.is_powered(seat)
        rack.supply_of(seat).output(True)
    eventually(lambda: all(rack.is_powered(seat) for seat in boards.loads))
    rack.supply_of("east/pi").output(False)
    eventually(lambda: not rack.is_powered("east/pi"))
    assert rack.is_powered("east/uno-1")
    assert boards.acts[-1] == ("east/pi", False)
    rack.supply_of("east/pi").output(True)
    eventually(lambda: rack.is_powered("east/pi"))
    assert boards.acts.count(("east/uno-1", True)) == 1
    assert ("east/uno-1", False) not in boards.acts


def test_a_brown_out_takes_the_pi_first_and_then_the_uno(boards: Boards, eventually: Eventually) -> None:
    together = supplies(changed(UNO, feeds=("east/uno-1", "east/pi"), current_limit_ma=2_000))
    with boards.open(together) as rack:
        (supply,) = rack.supplies
        supply.output(True)
        eventually(lambda: len(boards.acts) == 2)
        supply.set_voltage_mv(3_000)
        eventually(lambda: not rack.is_powered("east/pi"))
        assert rack.is_powered("east/uno-1")
        supply.set_voltage_mv(2_000)
        eventually(lambda: not rack.is_powered("east/uno-1"))
    uno, pi = "east/uno-1", "east/pi"
    assert boards.acts == [(uno, True), (pi, True), (pi, False), (uno, False)]


def test_meter_and_supply_see_the_same_lead(rack: Rack, eventually: Eventually) -> None:
    supply, meter = rack.supply_of("east/pi"), rack.power_meter
    assert meter is not None
    supply.output(True)
    eventually(lambda: supply.measured_voltage_mv() == 5_100)
    eventually(lambda: supply.measured_current_ua() == PI_IDLE_UA)
    meter.start()
    eventually(lambda: meter.integrated().elapsed_us >= 100_000)
    total = meter.stop()
    assert abs(total.average_current_ua - PI_IDLE_UA) <= PI_IDLE_UA // 1000
    assert abs(total.energy_uj * 1000 - total.charge_uc * 5_100) <= 10_000
    supply.output(False)
    eventually(lambda: meter.current_ua() == 0)


def test_the_attenuator_reaches_its_branch(boards: Boards, rack: Rack) -> None:
    rack.attenuators["east"].set_attenuation_cdb(3_025)
    assert boards.attenuations_cdb[-1] == 3_025


def _stands_at(supply: PowerSupply, voltage_mv: int) -> bool:
    return supply.measured_voltage_mv() == voltage_mv


def test_a_slow_board_holds_up_neither_instruments_nor_its_order(eventually: Eventually) -> None:
    acts: list[bool] = []
    released = threading.Event()

    def switch(powered: bool) -> None:
        released.wait()
        acts.append(powered)

    loads = {"east/uno-1": Load("east/uno-1", SteppedCurrent(1_000), UNO_BROWN_OUT_MV, switch)}
    with open_rack(supplies(UNO), loads) as rack:
        (supply,) = rack.supplies
        for on, voltage_mv in ((True, 5_000), (False, 0), (True, 5_000)):
            supply.output(on)
            eventually(partial(_stands_at, supply, voltage_mv))
        assert acts == []
        released.set()
    assert acts == [True, False, True]


def test_a_board_that_cannot_be_switched_is_told_and_stops_nothing(eventually: Eventually) -> None:
    def fail(powered: bool) -> None:
        raise RuntimeError("its process is gone" if powered else "")

    acts: list[bool] = []
    loads = {
        "east/uno-1": Load("east/uno-1", SteppedCurrent(1_000), UNO_BROWN_OUT_MV, fail),
        "east/pi": Load("east/pi", SteppedCurrent(1_000), PI_BROWN_OUT_MV, acts.append),
    }
    with open_rack(supplies(changed(UNO, feeds=("east/uno-1", "east/pi"))), loads) as rack:
        rack.supplies[0].output(True)
        eventually(lambda: acts == [True])
        assert not rack.is_powered("east/uno-1")
        assert rack.power_failures == ("east/uno-1 could not be switched on: its process is gone",)


def test_a_real_instrument_is_any_visa_resource(served: Callable[[ScpiInstrument], str]) -> None:
    resource = served(SupplyInstrument([]))
    tables = supplies(
        changed(UNO, kind="real", resource=resource), changed(PI, kind="real", resource=resource)
    )
    with open_rack(tables) as rack:
        assert rack.found == (Found(SUPPLY, "real", resource, "DAG-BENCH,SUPPLY-MODEL,0,1"),)
        rack.supply_of("east/pi").output(True)
        assert (rack.supply_of("east/pi").is_on(), rack.supply_of("east/uno-1").is_on()) == (True, False)


def test_a_serial_instrument_is_spoken_to_at_the_speed_that_the_rig_file_gives(serial_supply: Path) -> None:
    supply = {
        "kind": "real",
        "resource": f"ASRL{serial_supply}::INSTR",
        "baud_rate": 115_200,
        "voltage_mv": 5_000,
        "current_limit_ma": 500,
    }
    with (
        open_rack(Instruments.model_validate({"supply": [supply]})) as rack,
        serial_supply.open("rb") as port,
    ):
        assert rack.supplies[0].voltage_mv() == 5_000
        assert termios.tcgetattr(port)[4:6] == [termios.B115200] * 2


def test_nothing_stays_open_when_one_cannot_be_opened(boards: Boards) -> None:
    before = set(threading.enumerate())
    wrong = TABLES.model_copy(
        update={"power_meter": PowerMeter(kind="real", resource="TCPIP::127.0.0.1::1::SOCKET")}
    )
    with pytest.raises(InstrumentUnreachableError, match=r"instruments.power_meter: .*nothing listens there"):
        boards.open(wrong)
    with pytest.raises(InstrumentRangeError, match="59999 mV"):
        boards.open(supplies(changed(UNO, voltage_mv=59_999)))
    assert set(threading.enumerate()) == before


def test_what_was_repeated_is_kept_for_the_report(odd: Callable[[Reply], OddInstrument]) -> None:
    lost = iter([True])

    def reply(line: str) -> bytes | None:
        if line == "MEAS:VOLT?" and next(lost, False):
            return None
        answers = {"*IDN?": b"M,DP832,1,1\n", "SYST:ERR?": b"0\n", "VOLT? MAX": b"9\n", "CURR? MAX": b"9\n"}
        return answers.get(line, b"5.0\n" if line == "MEAS:VOLT?" else b"0\n" if "?" in line else b"")

    tables = supplies(changed(UNO, kind="real", resource=odd(reply).resource))
    with open_rack(tables) as rack:
        assert rack.supplies[0].measured_voltage_mv() == 5_000
        assert [(retry.seat, retry.query) for retry in rack.retries] == [(SUPPLY, "MEAS:VOLT?")]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (supplies(UNO, changed(PI, channel=1)), "output 1 of the emulated supply stands twice"),
        (supplies(changed(UNO, channel=4)), r"found channel = 4, the emulated one has 1 to 3"),
        (supplies(UNO, changed(PI, feeds=UNO.feeds)), "east/uno-1 is fed twice"),
        (
            supplies(changed(UNO, feeds=("west/pi",))),
            r"feeds names west/pi, .*\(these are: east/pi, east/uno-1\)",
        ),
        (Instruments(power_meter=PowerMeter(kind="emulated", channel=7)), r"power_meter: found channel = 7"),
        (
            Instruments(attenuator=(Attenuator(kind="emulated", branch="west"),)),
            r"branch west has no emulated radio \(east",
        ),
        (Instruments(attenuator=TABLES.attenuator * 2), "branch east has two of them"),
    ],
)
def test_tables_that_do_not_fit_are_told(boards: Boards, tables: Instruments, message: str) -> None:
    with pytest.raises(RackError, match=message):
        boards.open(tables)


def test_a_seat_that_nothing_feeds_is_told(rack: Rack) -> None:
    with pytest.raises(RackError, match="no output feeds west/pi, only east/uno-1, east/pi; add it to feeds"):
        rack.supply_of("west/pi")


def test_a_survey_tells_what_is_there_and_what_is_not(served: Callable[[ScpiInstrument], str]) -> None:
    supply, attenuator = SupplyInstrument([]), AttenuatorInstrument(lambda _attenuation_cdb: None)
    resources = served(supply), served(attenuator)
    tables = Instruments(
        supply=(UNO, changed(PI, kind="real", resource=resources[0])),
        power_meter=PowerMeter(kind="real", resource=resources[1]),
        attenuator=(Attenuator(kind="real", branch="east", resource="TCPIP::127.0.0.1::1::SOCKET"),),
    )
    found, wrong, missing = survey(tables)
    assert found == Found(SUPPLY, "real", resources[0], "DAG-BENCH,SUPPLY-MODEL,0,1")
    assert isinstance(wrong, WrongInstrumentError)
    assert isinstance(missing, InstrumentUnreachableError)
    assert missing.seat == f"{ATTENUATOR} of east"
    assert attenuator.attenuation_cdb == 9_500
