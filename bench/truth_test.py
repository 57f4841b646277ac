from pathlib import Path

import pytest

from bench.sensors.assignment import assign_sensors
from bench.sensors.dataset import load_dataset
from bench.sensors.playback import Playback
from bench.sensors.s0 import S0Output, S0Signal, s0_signal
from bench.sensors.waveform import MainsSignal
from bench.truth import PULSE_COUNT_DELAY_NS, MainsTruth, PulseTruth
from bench.world.simulation import NS_PER_S
from ledger.frame import AlternatingCurrent, Snapshot, Status

DATA = Path(__file__).parents[1] / "rigs/datasets/uci_household_1min.csv"
HOUR_NS = 3600 * NS_PER_S
BEGAN_NS = 2 * NS_PER_S


@pytest.fixture(scope="module")
def signal() -> S0Signal:
    (assignment,) = assign_sensors(load_dataset(DATA), 1)
    return s0_signal("sensor", Playback(assignment.circuit.energy_column(), 0, HOUR_NS), S0Output())


def pulses(*registers: int) -> Snapshot:
    return Snapshot(Status(0), 0, 0, (), registers)


def test_a_pulse_register_must_be_exact(signal: S0Signal) -> None:
    truth = PulseTruth(1, signal, BEGAN_NS)
    just_before_ns = BEGAN_NS + int(signal.starts_ns[100]) - 1
    assert truth.disagreement(pulses(0, 100), just_before_ns) is None
    assert (
        truth.disagreement(pulses(0, 99), just_before_ns) == "S0 register 1 is 99, but 100 pulses were played"
    )
    assert truth.disagreement(pulses(0, 101), just_before_ns) is not None
    assert truth.disagreement(pulses(0), just_before_ns) == "S0 register 1 is missing"


def test_a_pulse_that_has_just_begun_may_be_in_this_reading_or_the_next(signal: S0Signal) -> None:
    truth = PulseTruth(0, signal, BEGAN_NS)
    at_ns = BEGAN_NS + int(signal.starts_ns[100])
    assert truth.disagreement(pulses(100), at_ns) is None
    assert truth.disagreement(pulses(101), at_ns) is None
    assert truth.disagreement(pulses(100), at_ns + PULSE_COUNT_DELAY_NS) is not None


def test_an_ac_channel_must_lie_where_it_was() -> None:
    (assignment,) = assign_sensors(load_dataset(DATA), 1)
    mains = MainsSignal("sensor", assignment.circuit, 0, HOUR_NS)
    truth = MainsTruth(0, mains, BEGAN_NS, 60 * NS_PER_S)
    # First row of the data: 4216 W at 234.84 V and 18.4 A, for one minute.
    right = AlternatingCurrent(energy_dwh=702, voltage_cv=23_484, current_ca=1840, power_dw=42_160)

    def found(**changed: int) -> str | None:
        channel = AlternatingCurrent(**{**vars_of(right), **changed})
        return truth.disagreement(Snapshot(Status(0), 0, 0, (channel,), ()), BEGAN_NS + 60 * NS_PER_S - 1)

    assert found() is None
    assert found(voltage_cv=23_000) == "AC channel 0: voltage is 23000 cV, expected 23418 to 23550"
    for changed in ({"current_ca": 1760}, {"power_dw": -42_160}, {"energy_dwh": 680}):
        assert found(**changed) is not None


def vars_of(channel: AlternatingCurrent) -> dict[str, int]:
    return {name: getattr(channel, name) for name in channel.__slots__}
