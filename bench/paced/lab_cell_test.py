"""A lab on emulated boards: the bench sees two serial ports, and nothing of what is inside.

The metering Uno and the stimulus Uno beside it are emulated and wired pin to pin; all on this side of their
ports is what a lab runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.assembly import LEAD_IN_NS, Stage, pi_name, radio_settings
from bench.keys import FreshKeys
from bench.oracle import LedgerEntry, Oracle
from bench.paced.lab_cell import LabCell, Leads
from bench.paced.seats import Seats
from bench.paced.trial import play
from bench.paced.unos import RealUnos
from bench.pi.virtual import VirtualPi
from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.rig.calibration import load_calibration
from bench.rig.loader import load_rig
from bench.rig.model import Uno
from bench.rig.strategy import State, Strategy
from bench.sensors.stimulus_port import SerialLine, StimulusError
from bench.sensors.waveform import MainsError
from bench.trial import TrialPlan
from bench.truth import PulseTruth
from bench.uno.atmega328p import BOOT_SECTION, Pin
from bench.uno.build import build_firmware, build_stimulus
from bench.uno.clock import UnoClock
from bench.uno.emulated import BoardMemory, EmulatedBoard, EmulatedUno
from bench.uno.provisioning import eeprom_image
from bench.uno.serial_port import UnoPort
from bench.world.paced import PacedWorld
from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace
from ledger.block import Block
from ledger.gateway.gateway import BatchRule
from ledger.node import Node
from ledger.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.rig.model import Branch
    from bench.rig.strategy import Seat
    from bench.uno.image import FirmwareImage

RIG = Path(__file__).parents[2] / "rigs/virtual.toml"
NAME = "east/uno-1"
LINES = (Pin.PD3, Pin.PD4, Pin.PD5, Pin.PD6)
INTERVAL_S = 5
WINDOW_NS = 4 * INTERVAL_S * NS_PER_S
NOTICE_NS = 8 * NS_PER_S


def programmed(name: str, image: FirmwareImage, eeprom: bytes | None = None) -> EmulatedBoard:
    """A board as an ISP programmer leaves it."""
    board = EmulatedBoard(name)
    memory = board.memory
    flash = image.flash.ljust(BOOT_SECTION, b"\xff") + memory.flash[BOOT_SECTION:]
    board.memory = BoardMemory(flash, memory.eeprom if eeprom is None else eeprom)
    return board


class Wires:
    """The stimulus Uno's lines at the metering Uno's pins, pulled up there and carried every millisecond."""

    def __init__(self, stimulus: EmulatedUno, meter: EmulatedUno, simulation: Simulation) -> None:
        self._stimulus = stimulus
        self._meter = meter
        self._simulation = simulation
        self._levels = dict.fromkeys(LINES, True)
        for pin in LINES:
            stimulus._core.set_pin(pin, True)
            meter._core.set_pin(pin, True)
        self._look()

    def _look(self) -> None:
        for pin, before in self._levels.items():
            level = self._stimulus._core.pin_high(pin)
            if level != before:
                self._levels[pin] = level
                self._meter._act(partial(self._meter._core.set_pin, pin, level))
        self._simulation.at(self._simulation.now_ns + NS_PER_MS, "wires", self._look)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    rig = load_rig(RIG).with_changes(unos=1, interval_s=INTERVAL_S)
    return Stage(rig, Stream(7), FreshKeys(), build_firmware(), tmp_path, 0, 0)


@pytest.fixture
def records() -> list[Record]:
    return []


@pytest.fixture
def world(records: list[Record]) -> Iterator[PacedWorld]:
    trace = Trace()
    trace.subscribe(records.append)
    with PacedWorld(Simulation(), trace) as paced:
        yield paced


def gateway(stage: Stage, world: PacedWorld, medium: Medium) -> VirtualPi:
    """A gateway in the same world, so that the board is acknowledged."""
    [branch] = stage.rig.branches
    registry = stage.registry(stage.meter_ids(branch))
    name = pi_name(branch)
    store = SqliteStore(stage.gateway_database(branch), durability="off")
    pi = VirtualPi(
        name,
        Node(stage.keys.signing_key(name), registry, store),
        registry,
        store,
        BatchRule(),
        Sx1278(name, medium, world.simulation),
        radio_settings(branch.radio),
        load_calibration(branch.pi.calibration),
        world.simulation,
        world.trace,
    )
    pi.power_on()
    return pi


def entries(stage: Stage) -> list[LedgerEntry]:
    """All that the gateway holds."""
    [branch] = stage.rig.branches
    with contextlib.closing(SqliteStore(stage.gateway_database(branch), read_only=True)) as store:
        waiting = store.pending(store.pending_count())
        sealed = [reading for block in store.blocks() for reading in Block.decode(block.raw).readings]
        return [
            LedgerEntry(*reading.key, reading.plaintext)
            for reading in sorted([*waiting, *sealed], key=lambda reading: reading.counter)
        ]


def test_boards_behind_ports_are_played_and_judged(
    stage: Stage, world: PacedWorld, records: list[Record]
) -> None:
    [branch] = stage.rig.branches
    simulation, trace = world.simulation, world.trace
    medium = Medium(Stream(0), trace, simulation, FixedLinks(9000))
    meter = programmed(NAME, stage.firmware, eeprom_image(stage.provisioning(1, branch)))
    stimulus = programmed("stimulus", build_stimulus())
    pi = world.call(lambda: gateway(stage, world, medium))
    console = UnoPort(meter.port, NAME, lambda line: world.record(NAME, "console", text=line))
    try:
        metering = meter.power_on(world, Sx1278(NAME, medium, simulation), UnoClock(0, 400_000))
        playing = stimulus.power_on(world, Sx1278("stimulus", medium, simulation), UnoClock(0, -700_000))
        world.call(lambda: Wires(playing, metering, simulation))
        console.open()
        cell = LabCell(branch, stage.seed, world, {NAME: console}, {NAME: stimulus.port})
        begin_ns = world.now_ns + NOTICE_NS + LEAD_IN_NS
        stage = Stage(
            stage.rig,
            stage.seed,
            stage.keys,
            stage.firmware,
            stage.directory,
            begin_ns,
            begin_ns + WINDOW_NS + 2 * INTERVAL_S * NS_PER_S,
        )
        cell.raise_curtain(stage)
        while world.now_ns < stage.until_ns:
            time.sleep(0.2)
        harvest = cell.harvest()
        cell.close()
        world.call(pi.store.close)
        world.close()
    finally:
        console.close()
        for board in (meter, stimulus):
            if board.uno is not None:
                board.power_off()
            board.close()
    oracle = Oracle(begin_ns + WINDOW_NS)
    for record in sorted(records, key=lambda record: record.t_ns):
        oracle(record)
    stored = entries(stage)
    [truth] = harvest.meters
    played = [channel.signal for channel in truth.channels if isinstance(channel, PulseTruth)]
    assert sum(len(signal.starts_ns) for signal in played) > 0, "the data set has pulses in this time"
    verdict = oracle.judge(harvest.meters, stored, [])
    assert verdict.examples == ()
    assert verdict.injected >= 3 * len(LINES)
    assert (verdict.altered, verdict.in_server_ledger) == (0, verdict.injected)
    lost = oracle.judge(harvest.meters, stored[1:], [])
    assert lost.missing == len(LINES)


def test_real_boards_get_no_alternating_current() -> None:
    with pytest.raises(MainsError, match="AC channel 2: a stimulus Uno plays pulses and no AC"):
        Leads(NAME).play_waveform(2, [])


# ---- what is let go of ----


@pytest.fixture
def silent_stimulus() -> Iterator[str]:
    """The port of a stimulus Uno that does not answer."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def two_boards(silent_stimulus: str, missing_stimulus: str) -> Branch:
    """A branch of real Unos; one of the stimuli is not there."""
    [branch] = load_rig(RIG).with_changes(unos=2, interval_s=INTERVAL_S).branches
    uno = Uno(
        kind="real",
        count=2,
        ports=("/dev/none-1", "/dev/none-2"),
        stimuli=(silent_stimulus, missing_stimulus),
    )
    return branch.model_copy(update={"uno": uno})


def players() -> int:
    return [thread.name for thread in threading.enumerate()].count("stimulus")


def test_a_cell_whose_curtain_failed_lets_go_of_its_stimuli_although_time_stands_still(
    stage: Stage, silent_stimulus: str, tmp_path: Path
) -> None:
    branch = two_boards(silent_stimulus, str(tmp_path / "missing"))
    names = (f"{branch.name}/uno-1", f"{branch.name}/uno-2")
    stage = replace(stage, rig=stage.rig.with_changes(unos=2), until_ns=WINDOW_NS)
    with PacedWorld(Simulation(), Trace()) as world:
        cell = LabCell(branch, stage.seed, world, {}, dict(zip(names, branch.uno.stimuli, strict=True)))
        with pytest.raises(StimulusError, match=r"uno-2 stimulus: .*missing cannot be opened"):
            cell.raise_curtain(stage)
        assert players() == 1
    for _ in range(2):
        cell.close()
    assert players() == 0
    SerialLine("another", silent_stimulus).close()


class Unmoved(Strategy):
    """Finds every seat where it is wanted."""

    def reach(self, state: State, seats: Sequence[Seat] | None = None) -> None:
        """Nothing to do."""


class Still:
    """A gateway, a server and instruments that have nothing to do."""

    orders: Stage | None = None

    def begin(self, *_: object) -> None:
        """Links are not shaped."""


def test_a_trial_that_fails_leaves_the_stimuli_to_its_replay(
    stage: Stage, silent_stimulus: str, tmp_path: Path
) -> None:
    rig = stage.rig.with_changes(unos=2)
    [branch] = rig.branches
    unos = RealUnos(two_boards(silent_stimulus, str(tmp_path / "missing")), stage.firmware)
    still: Any = Still()
    seats = Seats(still, {branch.name: still}, {branch.name: unos}, still)
    plan = TrialPlan(rig, 7, WINDOW_NS, tmp_path / "trial")
    for _ in range(2):
        with pytest.raises(StimulusError, match=r"uno-2 stimulus: .*missing cannot be opened"):
            play(seats, Unmoved([]), plan, stage.firmware, lambda _share: None, None)
        assert players() == 0
