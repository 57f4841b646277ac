"""Truths where the time of a reading is known within bounds only."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sensors.assignment import assign_sensors
from bench.sensors.dataset import load_dataset
from bench.sensors.s0 import S0Output, S0Signal
from bench.sensors.waveform import MainsSignal
from bench.truth import PULSE_COUNT_DELAY_NS, MainsTruth, PulseTruth
from bench.world.simulation import NS_PER_MS, NS_PER_S
from ledger.frame import AlternatingCurrent, Snapshot, Status

DATA = Path(__file__).parents[1] / "rigs/datasets/uci_household_1min.csv"
BEGAN_NS = 5 * NS_PER_S
SIGNAL = S0Signal("sensor", S0Output(), 10**12, np.array([1, 2, 4, 8], dtype=np.int64) * NS_PER_S, 0, ())


def pulses(count: int) -> Snapshot:
    return Snapshot(Status(0), 0, 0, (), (count,))


def at(seconds: float) -> int:
    return BEGAN_NS + round(seconds * NS_PER_S)


@pytest.mark.parametrize(
    ("earliest_s", "latest_s", "right"),
    [(0, 0.9, {0}), (0, 1, {0, 1}), (1.03, 1.9, {1}), (1.5, 4.5, {1, 2, 3}), (9, 100, {4})],
)
def test_a_register_may_be_what_it_was_at_any_time_in_between(
    earliest_s: float, latest_s: float, right: set[int]
) -> None:
    truth = PulseTruth(0, SIGNAL, BEGAN_NS)
    found = {
        n for n in range(7) if truth.disagreement_within(pulses(n), at(earliest_s), at(latest_s)) is None
    }
    assert found == right


def test_the_spread_is_told() -> None:
    truth = PulseTruth(0, SIGNAL, BEGAN_NS)
    told = truth.disagreement_within(pulses(4), at(1.5), at(4.5))
    assert told == "S0 register 0 is 4, but 1 to 3 pulses were played"


def test_a_stimulus_that_is_known_less_well_widens_the_bounds() -> None:
    truth = PulseTruth(0, SIGNAL, BEGAN_NS, uncertainty_ns=3 * NS_PER_MS)
    assert truth.disagreement(pulses(1), at(0.998)) is None
    assert truth.disagreement(pulses(0), at(1.022)) is None
    assert truth.disagreement(pulses(1), at(0.996)) is not None
    assert truth.disagreement(pulses(0), at(1.024)) is not None


@given(st.integers(0, 4), st.integers(0, 10_000), st.integers(0, 3))
def test_when_a_register_can_have_been_so_is_when_it_agrees(
    count: int, at_ms: int, uncertainty_ms: int
) -> None:
    truth = PulseTruth(0, SIGNAL, BEGAN_NS, uncertainty_ms * NS_PER_MS)
    since_ns, until_ns = truth.possible_ns(pulses(count))
    t_ns = BEGAN_NS + at_ms * NS_PER_MS
    possible = (since_ns is None or since_ns <= t_ns) and (until_ns is None or t_ns < until_ns)
    assert possible is (truth.disagreement(pulses(count), t_ns) is None)
    assert PULSE_COUNT_DELAY_NS == 20 * NS_PER_MS


def test_an_ac_channel_may_be_what_it_was_meanwhile() -> None:
    (assignment,) = assign_sensors(load_dataset(DATA), 1)
    truth = MainsTruth(
        0, MainsSignal("sensor", assignment.circuit, 0, 3600 * NS_PER_S), BEGAN_NS, 60 * NS_PER_S
    )
    # 4216 W for one minute, then 5360 W (the data's first rows).
    for energy_dwh, right in ((680, False), (703, True), (770, True), (850, False)):
        channel = AlternatingCurrent(energy_dwh, voltage_cv=23_484, current_ca=1840, power_dw=42_160)
        snapshot = Snapshot(Status(0), 0, 0, (channel,), ())
        found = truth.disagreement_within(snapshot, at(60), at(66))
        assert (found is None) is right, (energy_dwh, found)
    assert truth.possible_ns(snapshot) == (None, None)
