"""The stimulus sketch on the emulated chip, driven by the bench's own host side in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.sensors.assignment import assign_sensors
from bench.sensors.dataset import load_dataset
from bench.sensors.playback import Playback
from bench.sensors.s0 import S0Output, S0Signal, largest_pulses_per_kwh, s0_signal
from bench.sensors.stimulus_frame import LATEST_TICKS, Outcome, QueuedPulse, Refusal, State
from bench.sensors.stimulus_port import StimulusError, StimulusPlayer, StimulusPort
from bench.sensors.stimulus_schedule import Schedule
from bench.uno.atmega328p import ResetCause
from bench.uno.clock import UnoClock
from bench.uno.provisioning import Provisioning, eeprom_image
from firmware.stimulus.conftest import LINES, TICK_CYCLES, StimulusUno
from ledger.frame import Snapshot, data_frame_id, seal_ack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware.conftest import Table, Workbench

DATA = Path(__file__).parents[2] / "rigs/datasets/uci_household_1min.csv"
KEY = bytes.fromhex("8c1f6b2e90d3475aa4e87712cc35f06d")
NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000

# From the beginning of its tick to the edge, in cycles: response to the compare interrupt and three OUT, D first.
FIRST_LATENCY, LAST_LATENCY = 16, 22
# By how much more an edge may come late for what else the chip does with interrupts off.
MOST_DELAY = 10**9

chip = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def port_of(stimulus: StimulusUno) -> StimulusPort:
    port = StimulusPort("stimulus", stimulus, stimulus.now_ns)
    assert port.greet().capacity == 128
    port.synchronise()
    return port


def play(stimulus: StimulusUno, schedule: Schedule) -> StimulusPlayer:
    player = StimulusPlayer(StimulusPort("stimulus", stimulus, stimulus.now_ns), schedule, stimulus.now_ns)
    while (again_ns := player.advance()) is not None:
        stimulus.run_until(again_ns)
    stimulus.settle()
    return player


def latencies(stimulus: StimulusUno) -> list[int]:
    return [(edge.cycle - stimulus.first_tick_cycle) % TICK_CYCLES for edge in stimulus.edges]


def uci_signals(count: int, duration_ns: int, first_row_ns: int = 0) -> dict[int, S0Signal]:
    """By line, pulses of the UCI data at the largest meter constant its peak allows."""
    signals = {}
    for line, assignment in enumerate(assign_sensors(load_dataset(DATA), count)):
        playback = Playback(assignment.circuit.energy_column(), assignment.offset_ns + first_row_ns, duration_ns)
        output = S0Output(min(100_000, largest_pulses_per_kwh(playback, S0Output())))
        signals[line] = s0_signal(f"sensor {line}", playback, output)
    return signals


def acknowledge(frame: bytes) -> Iterable[bytes]:
    return (seal_ack(KEY, data_frame_id(frame)),)


def metering(workbench: Workbench, stimulus: StimulusUno, clock: UnoClock, interval_s: int) -> Table:
    meter = workbench.uno(eeprom_image(Provisioning(uno_id=17, key=KEY, s0_count=12, interval_s=interval_s)))
    meter.radio.gateway = acknowledge
    stimulus.wire_to(meter, clock)
    return meter


@pytest.mark.parametrize(("stimulus_ppb", "meter_ppb"), [(0, 0), (2_500_000, -2_500_000), (-2_021_000, 400_000)])
def test_a_meter_counts_every_pulse_of_the_data_exactly(
    workbench: Workbench, stimulus_ppb: int, meter_ppb: int
) -> None:
    stimulus = StimulusUno(UnoClock(0, stimulus_ppb))
    meter = metering(workbench, stimulus, UnoClock(0, meter_ppb), interval_s=10)
    schedule = Schedule.of(uci_signals(12, 60 * NS_PER_S), 3 * NS_PER_S)
    player = play(stimulus, schedule)
    stimulus.run_until(schedule.ends_ns + 11 * NS_PER_S)
    record = player.performance()
    played = tuple(len(record.signals[line].starts_ns) for line in range(12))
    assert played == tuple(len(signal.starts_ns) for signal in schedule.signals.values())
    assert sum(played) > 1_000
    assert Snapshot.decode(meter.plaintexts[-1]).pulses == played
    assert (record.unplayed, record.underruns) == ((), 0)


def test_the_record_tells_when_each_pulse_was_on_its_line() -> None:
    stimulus = StimulusUno(UnoClock(5 * NS_PER_S, 1_700_000))
    schedule = Schedule.of(uci_signals(12, 30 * NS_PER_S), 9 * NS_PER_S)
    record = play(stimulus, schedule).performance()
    assert record.uncertainty_ns < 4 * NS_PER_MS
    for line, pin in enumerate(LINES):
        falls = [stimulus.clock.ns_at(e.cycle) for e in stimulus.edges if e.pin is pin and not e.high]
        planned = schedule.signals[line].starts_ns + schedule.began_ns
        told = record.signals[line].starts_ns + schedule.began_ns
        assert len(falls) == len(told) == len(planned)
        assert np.abs(told - falls).max(initial=0) <= record.uncertainty_ns
        assert np.abs(told - planned).max(initial=0) < 10 * NS_PER_MS
        print(len(falls), record.uncertainty_ns, np.abs(told - falls).max(initial=0), np.abs(told - planned).max(initial=0))


def test_edges_keep_their_ticks_to_the_cycle(stimulus: StimulusUno) -> None:
    """The host's requests are being answered meanwhile, and every byte of them interrupts the chip."""
    play(stimulus, Schedule.of(uci_signals(12, 60 * NS_PER_S), 3 * NS_PER_S))
    found = latencies(stimulus)
    print(min(found), max(found), np.bincount(found))
    print(stimulus.free_sram_bytes)
    assert len(found) > 2_000
