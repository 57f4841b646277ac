"""The stimulus sketch on the emulated chip, driven by the bench's own host side in virtual time."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bench.sensors.assignment import assign_sensors
from bench.sensors.dataset import load_dataset
from bench.sensors.playback import Playback
from bench.sensors.s0 import S0Output, S0Signal, largest_pulses_per_kwh, s0_signal
from bench.sensors.stimulus_frame import (
    LATEST_TICKS,
    NS_PER_TICK,
    Outcome,
    QueuedPulse,
    Refusal,
    Request,
    State,
    framed,
    play_body,
    request,
)
from bench.sensors.stimulus_port import StimulusError, StimulusPlayer, StimulusPort
from bench.sensors.stimulus_schedule import Schedule
from bench.uno.atmega328p import ResetCause
from bench.uno.build import ROOT
from bench.uno.clock import UnoClock
from bench.uno.image import BOOTLOADER_BYTES, FLASH_BYTES
from bench.uno.provisioning import Provisioning, eeprom_image
from firmware.stimulus.conftest import LINES, StimulusUno, stimulus_image
from ledger.frame import Snapshot, data_frame_id, seal_ack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firmware.conftest import Table, Workbench

DATA = Path(__file__).parents[2] / "rigs/datasets/uci_household_1min.csv"
KEY = bytes.fromhex("8c1f6b2e90d3475aa4e87712cc35f06d")
NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000

# Cycles from the beginning of a tick to the edge, by port: the compare interrupt's response, then one OUT
# after another. A chip that is awake responds up to 4 cycles sooner.
ASLEEP = (*[16] * 5, 19, *[22] * 6)
SOONEST, LATEST = 12, 22
# By how much other work with interrupts off may delay an edge: a byte from the host and a pulse taken over...
OTHER_WORK = 160
# ...and what is reckoned after an earlier edge, for all edges of a tick and for each of them.
MOMENT, EDGE = 720, 110

# An example takes a second: what fails is shown as it was found.
chip = settings(deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])


class Host(StimulusPort):
    """The host's side, which remembers what it sent."""

    def __init__(self, stimulus: StimulusUno) -> None:
        super().__init__("stimulus", stimulus, stimulus.now_ns)
        self.stimulus = stimulus
        self.sent: dict[int, QueuedPulse] = {}
        assert self.greet().capacity == 128
        self.synchronise()

    @property
    def tick(self) -> int:
        return self.clock.tick_at(self.stimulus.now_ns())

    def play(
        self, acknowledged: int, horizon_tick: int, first: int, pulses: tuple[QueuedPulse, ...]
    ) -> State:
        self.sent.update(enumerate(pulses, first))
        return super().play(acknowledged, horizon_tick, first, pulses)

    def load(self, pulses: Sequence[QueuedPulse], first: int = 0) -> State:
        """Sends them all; nothing is acknowledged."""
        for at in range(0, max(1, len(pulses)), 16):
            state = self.play(0, self.tick + 10**8, first + at, tuple(pulses[at : at + 16]))
        return state

    def outcomes(self) -> list[int]:
        """Of all pulses so far."""
        known: list[int] = []
        while True:
            state = self.play(len(known), self.tick + 10**8, len(self.sent), ())
            known += state.outcomes
            if len(known) == state.played:
                return known

    def wait_ms(self, duration_ms: int) -> None:
        self.stimulus.run_until(self.stimulus.now_ns() + duration_ms * NS_PER_MS)


def play(stimulus: StimulusUno, schedule: Schedule, host: Host | None = None) -> StimulusPlayer:
    player = StimulusPlayer(host or Host(stimulus), schedule, stimulus.now_ns)
    while (again_ns := player.advance()) is not None:
        stimulus.run_until(again_ns)
    stimulus.settle()
    return player


def late_cycles(stimulus: StimulusUno, pulses: Iterable[QueuedPulse]) -> list[tuple[int, int, int]]:
    """(tick, line, cycles from its beginning on) of every edge of these pulses, all of which were played."""
    found = []
    for line, pin in enumerate(LINES):
        edges = [edge for edge in stimulus.edges if edge.pin is pin]
        ticks = [tick for p in pulses if p.line == line for tick in (p.start, p.start + p.width)]
        assert [edge.high for edge in edges] == [False, True] * (len(ticks) // 2)
        found += [
            (tick, line, edge.cycle - stimulus.cycle_of(tick))
            for tick, edge in zip(ticks, edges, strict=True)
        ]
    return sorted(found)


def uci_signals(duration_ns: int, most_pulses_per_kwh: int = 100_000) -> dict[int, S0Signal]:
    """By line, twelve stretches of the UCI data, at the largest meter constant that the peak allows."""
    signals = {}
    for line, assignment in enumerate(assign_sensors(load_dataset(DATA), 12)):
        playback = Playback(
            assignment.circuit.energy_column(), assignment.offset_ns + line * 240 * 60 * NS_PER_S, duration_ns
        )
        constant = min(most_pulses_per_kwh, largest_pulses_per_kwh(playback, S0Output()))
        signals[line] = s0_signal(f"sensor {line}", playback, S0Output(constant))
    return signals


def acknowledge(frame: bytes) -> Iterable[bytes]:
    return (seal_ack(KEY, data_frame_id(frame)),)


def metering(workbench: Workbench, stimulus: StimulusUno, clock: UnoClock, interval_s: int) -> Table:
    eeprom = eeprom_image(Provisioning(uno_id=17, key=KEY, s0_count=12, interval_s=interval_s))
    meter = workbench.uno(eeprom)
    meter.radio.gateway = acknowledge
    stimulus.wire_to(meter, clock)
    return meter


@pytest.mark.parametrize(
    ("duration_s", "stimulus_ppb", "meter_ppb"),
    [(60, 0, 0), (15, 2_500_000, -2_500_000), (15, -2_021_000, 400_000)],
)
def test_a_meter_counts_every_pulse_of_the_data_exactly(
    workbench: Workbench, duration_s: int, stimulus_ppb: int, meter_ppb: int
) -> None:
    stimulus = StimulusUno(UnoClock(0, stimulus_ppb))
    meter = metering(workbench, stimulus, UnoClock(0, meter_ppb), interval_s=10)
    schedule = Schedule.of(uci_signals(duration_s * NS_PER_S), 3 * NS_PER_S)
    record = play(stimulus, schedule).performance()
    stimulus.run_until(schedule.ends_ns + 11 * NS_PER_S)
    played = tuple(len(record.signals[line].starts_ns) for line in range(12))
    assert played == tuple(len(signal.starts_ns) for signal in schedule.signals.values())
    assert sum(played) > 20 * duration_s
    assert Snapshot.decode(meter.plaintexts[-1]).pulses == played
    assert (record.unplayed, record.underruns) == ((), 0)
    assert stimulus.free_sram_bytes >= 128


def test_the_record_tells_when_each_pulse_was_on_its_line() -> None:
    stimulus = StimulusUno(UnoClock(5 * NS_PER_S, 1_700_000))
    schedule = Schedule.of(uci_signals(12 * NS_PER_S), 9 * NS_PER_S)
    record = play(stimulus, schedule).performance()
    assert record.uncertainty_ns < 2 * NS_PER_MS
    for line, pin in enumerate(LINES):
        falls = [stimulus.clock.ns_at(e.cycle) for e in stimulus.edges if e.pin is pin and not e.high]
        planned = schedule.signals[line].starts_ns + schedule.began_ns
        told = record.signals[line].starts_ns + schedule.began_ns
        assert len(falls) == len(told) == len(planned)
        assert np.abs(told - falls).max(initial=0) <= record.uncertainty_ns
        assert np.abs(told - planned).max(initial=0) < 10 * NS_PER_MS


def test_an_edge_of_its_own_comes_at_the_same_cycle_of_its_tick_always(stimulus: StimulusUno) -> None:
    host = Host(stimulus)
    first = host.tick + 50_000
    pulses = [QueuedPulse(first + 1_300 * i, 650 + i, i % 12) for i in range(100)]
    host.load(pulses)
    host.wait_ms(800)
    assert all(late == ASLEEP[line] for _, line, late in late_cycles(stimulus, pulses))
    assert host.outcomes() == [0] * 100


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """(start, width, line): pulses that crowd together, each line's 200 ticks apart at least."""
    starts = sorted(draw(st.lists(st.integers(0, 5_000), min_size=1, max_size=40)))
    free = [0] * 12
    pulses = []
    for start in starts:
        line = draw(st.integers(0, 11))
        if free[line] > start:
            continue
        width = draw(st.integers(400, 2_000) | st.sampled_from([400, 401, 402]))
        free[line] = start + width + 400
        pulses.append((start, width, line))
    return pulses


@chip
@given(crowds())
def test_edges_come_late_by_no_more_than_those_before_them_cost(crowd: list[tuple[int, int, int]]) -> None:
    """The host talks without a pause meanwhile."""
    stimulus = StimulusUno()
    host = Host(stimulus)
    first = host.tick + 10_000
    pulses = [QueuedPulse(first + start, width, line) for start, width, line in crowd]
    host.load(pulses)
    while host.tick < first + 8_000:
        host.synchronise()
    stimulus.settle()
    free_cycle = 0
    for tick, edges in groupby(late_cycles(stimulus, pulses), key=lambda edge: edge[0]):
        late = [cycles for _, _, cycles in edges]
        busy = max(0, free_cycle - stimulus.cycle_of(tick))
        assert min(late) >= SOONEST
        assert max(late) <= LATEST + OTHER_WORK + busy
        free_cycle = stimulus.cycle_of(tick) + max(late) + MOMENT + EDGE * len(late)
    assert all(outcome <= LATEST_TICKS for outcome in host.outcomes())


def test_the_outcome_is_how_late_a_pulse_was(stimulus: StimulusUno) -> None:
    host = Host(stimulus)
    first = host.tick + 20_000
    pulses = [QueuedPulse(first + i, 10_000, i) for i in range(12)]
    host.load(pulses)
    host.wait_ms(200)
    falls = [late // 64 for tick, _, late in late_cycles(stimulus, pulses) if tick < first + 100]
    assert falls[0] == 0
    assert falls[-1] > 50
    # The tick is read just after the edge.
    assert {told - true for told, true in zip(host.outcomes(), falls, strict=True)} <= {0, 1}


def test_what_came_too_late_or_cannot_be_is_told(stimulus: StimulusUno) -> None:
    host = Host(stimulus)
    now = host.tick
    host.load([QueuedPulse(now - 300, 1_000, 0), QueuedPulse(now + 9_000, 5_000, 1)])
    host.load([QueuedPulse(now + start, 1_000, 1) for start in (13_000, 14_000, 14_100)], first=2)
    host.load([QueuedPulse(now + 16_000, 500, line) for line in (0, 0)], first=5)
    host.wait_ms(100)
    overlap = Outcome.OVERLAP
    assert host.outcomes() == [Outcome.MISSED, 0, overlap, overlap, 0, 0, overlap]
    assert [edge.high for edge in stimulus.edges] == [False, True] * 3


@pytest.mark.parametrize(
    ("pulses", "first", "refusal", "appended"),
    [
        ([(1_000, 100, 12)], 0, Refusal.PULSE, 0),
        ([(1_000, 0, 3)], 0, Refusal.PULSE, 0),
        ([(2_000, 100, 3), (1_999, 100, 4)], 0, Refusal.PULSE, 1),
        ([(1_000, 100, 3)], 1, Refusal.GAP, 0),
        ([(1_000 + i, 100, i % 12) for i in range(129)], 0, Refusal.ROOM, 128),
    ],
)
def test_what_cannot_be_taken_over_is_refused(
    stimulus: StimulusUno, pulses: list[tuple[int, int, int]], first: int, refusal: Refusal, appended: int
) -> None:
    host = Host(stimulus)
    later = host.tick + 100_000
    state = host.load([QueuedPulse(later + start, width, line) for start, width, line in pulses], first)
    assert (state.refusals, state.appended) == (refusal, appended)


def test_a_host_that_is_too_slow_is_told_so(stimulus: StimulusUno) -> None:
    host = Host(stimulus)
    assert host.play(0, host.tick + 2_000, 0, ()).underruns == 0
    host.wait_ms(3)
    assert host.play(0, host.tick + 2_000, 0, ()).underruns == 0
    host.wait_ms(10)
    assert host.play(0, host.tick + 2_000, 0, ()).underruns == 1
    host.halt()
    host.wait_ms(100)
    assert host.play(0, host.tick + 2_000, 0, ()).underruns == 1


def test_a_halt_lets_go_of_all_lines(stimulus: StimulusUno) -> None:
    host = Host(stimulus)
    now = host.tick
    host.load([QueuedPulse(now + 5_000 + 10_000 * (line == 11), 60_000, line) for line in range(12)])
    host.wait_ms(40)
    assert [stimulus.core.pin_high(pin) for pin in LINES] == [False] * 11 + [True]
    assert host.halt().played == 12
    assert all(stimulus.core.pin_high(pin) for pin in LINES)
    assert host.outcomes()[11] == Outcome.HALTED
    host.load([QueuedPulse(host.tick + 2_000, 1_000, 0)], first=12)
    host.wait_ms(20)
    assert host.outcomes()[12:] == [0]


def test_lines_are_let_go_when_the_host_has_died(stimulus: StimulusUno) -> None:
    host = Host(stimulus)
    host.load([QueuedPulse(host.tick + 5_000 + i, 10_000, i % 12) for i in range(12)])
    host.wait_ms(40)
    assert not any(stimulus.core.pin_high(pin) for pin in LINES)
    host.wait_ms(60)
    assert all(stimulus.core.pin_high(pin) for pin in LINES)


@pytest.mark.parametrize("seed", range(3))
def test_a_line_that_damages_bytes_costs_time_but_no_pulse(seed: int) -> None:
    chance = random.Random(seed)

    def damaged(data: bytes) -> bytes:
        kept = (byte ^ 1 << chance.randrange(8) if chance.random() < 0.0008 else byte for byte in data)
        return bytes(byte for byte in kept if chance.random() >= 0.0004)

    stimulus = StimulusUno(damage=damaged)
    port = StimulusPort("stimulus", stimulus, stimulus.now_ns)
    schedule = Schedule.of(uci_signals(12 * NS_PER_S), 20 * NS_PER_S)
    player = StimulusPlayer(port, schedule, stimulus.now_ns)
    while (again_ns := player.advance()) is not None:
        stimulus.run_until(again_ns)
    stimulus.settle()
    record = player.performance()
    assert port.repeats > 3
    assert len(record.unplayed) + sum(len(s.starts_ns) for s in record.signals.values()) == len(schedule)
    assert sum(not edge.high for edge in stimulus.edges) == len(schedule) - len(record.unplayed)
    for line, pin in enumerate(LINES):
        falls = [stimulus.clock.ns_at(e.cycle) for e in stimulus.edges if e.pin is pin and not e.high]
        told = record.signals[line].starts_ns + schedule.began_ns
        assert np.abs(told - falls).max(initial=0) <= record.uncertainty_ns


@chip
@given(st.lists(st.binary(max_size=140), max_size=8))
def test_no_bytes_whatever_upset_the_sketch(noise: list[bytes]) -> None:
    stimulus = StimulusUno()
    host = Host(stimulus)
    host.load([QueuedPulse(host.tick + 30_000, 1_000, 5)])
    for data in noise:
        stimulus.write(data)
        stimulus.write(framed(data))
        stimulus.write(framed(request(Request.PLAY, 0, play_body(0, 0, 1, ()) + data[:112])))
        host.wait_ms(40)
    stimulus.write(b"\0")
    host.wait_ms(200)
    assert len(stimulus.edges) >= 2 or any(data[:1] in (b"\x01", b"\x04") for data in noise)
    assert host.greet().capacity == 128


def test_a_board_that_begins_anew_is_found_out(stimulus: StimulusUno) -> None:
    schedule = Schedule.of(uci_signals(12 * NS_PER_S), 3 * NS_PER_S)
    player = StimulusPlayer(Host(stimulus), schedule, stimulus.now_ns)
    while stimulus.now_ns() < 6 * NS_PER_S:
        again_ns = player.advance()
        assert again_ns is not None
        stimulus.run_until(again_ns)
    stimulus.core.reset(ResetCause.EXTERNAL)
    stimulus.run_until(7 * NS_PER_S)
    with pytest.raises(StimulusError, match="began anew while it played") as caught:
        player.advance()
    assert caught.value.retry_helps


def test_ticks_wrap_and_playing_goes_on(stimulus: StimulusUno) -> None:
    wrap_ns = 2**32 * NS_PER_TICK
    stimulus.run_until(wrap_ns - 6 * NS_PER_S)
    schedule = Schedule.of(uci_signals(8 * NS_PER_S), wrap_ns - 3 * NS_PER_S)
    record = play(stimulus, schedule).performance()
    assert record.unplayed == ()
    for line, pin in enumerate(LINES):
        falls = [stimulus.clock.ns_at(e.cycle) for e in stimulus.edges if e.pin is pin and not e.high]
        told = record.signals[line].starts_ns + schedule.began_ns
        assert len(told) == len(falls)
        assert np.abs(told - falls).max(initial=0) <= record.uncertainty_ns


def test_another_sketch_is_named(workbench: Workbench) -> None:
    meter = workbench.uno(eeprom_image(Provisioning(uno_id=17, key=KEY)))

    class MeterLine:
        """The serial line of a metering Uno, which prints one line when it boots."""

        def write(self, data: bytes) -> None:
            meter.core.uart_send(data)

        def read(self, timeout_ns: int) -> bytes:
            before = len(meter.console)
            meter.run_ms(timeout_ns // NS_PER_MS + 1, until=lambda: len(meter.console) > before)
            return meter.console[before:]

    port = StimulusPort("stimulus", MeterLine(), lambda: UnoClock(0).ns_at(meter.core.cycle))
    with pytest.raises(StimulusError, match=r"is not .* but says 'uno 17 collect, epoch \d") as caught:
        port.greet()
    assert not caught.value.retry_helps


def test_the_image_fits_and_names_no_path_of_the_machine_that_built_it() -> None:
    image = stimulus_image()
    assert image.flash_used <= FLASH_BYTES - BOOTLOADER_BYTES
    assert str(ROOT).encode() not in image.flash
    assert b"/usr/share" not in image.flash
