"""Boards on their way to a trial that has a use for some of them. They are emulated, and held to be real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.assembly import Stage
from bench.keys import FreshKeys
from bench.paced.unos import EmulatedUnos, RealUnos
from bench.rig.loader import load_rig
from bench.rig.model import Uno
from bench.rig.strategy import State
from bench.uno.atmega328p import EEPROM_BYTES
from bench.uno.conftest import cleared_desk, firmware, programmed
from bench.uno.provisioning import Provisioning, stored_epochs
from bench.world.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.paced.unos import UnoSeats
    from bench.uno.conftest import Desk
    from bench.uno.emulated import EmulatedBoard

RIG = Path(__file__).parents[2] / "rigs/virtual.toml"
COUNT = 3
LONGEST_S = 0xFFFF


def stage_of(unos: int, directory: Path) -> Stage:
    """A trial of so many Unos, with keys of its own."""
    rig = load_rig(RIG).with_changes(unos=unos)
    return Stage(rig, Stream(7), FreshKeys(), firmware(), directory, 0, 0)


def provision_for(unos: UnoSeats, stage: Stage) -> None:
    """As a trial does, from boards that are flashed."""
    unos.orders = stage
    unos.step_to(State.FLASHED)
    unos.step_to(State.RUNNING)


def record_of(board: EmulatedBoard) -> Provisioning:
    return Provisioning.decode(board.memory.eeprom)


def wanted(stage: Stage) -> list[Provisioning]:
    [branch] = stage.rig.branches
    return [stage.provisioning(uno_id, branch) for uno_id in stage.meter_ids(branch)]


desk = pytest.fixture(cleared_desk)


@pytest.fixture
def boards(desk: Desk) -> list[EmulatedBoard]:
    return [desk.running(programmed(firmware()), f"uno-{place + 1}") for place in range(COUNT)]


@pytest.fixture
def unos(boards: list[EmulatedBoard]) -> Iterator[RealUnos]:
    [branch] = load_rig(RIG).branches
    ports = tuple(board.port for board in boards)
    uno = Uno(kind="real", count=COUNT, ports=ports, stimuli=tuple(f"{port}-stimulus" for port in ports))
    seats = RealUnos(branch.model_copy(update={"uno": uno}), firmware())
    seats.state = State.FLASHED
    yield seats
    seats.close()


def test_real_boards_beyond_the_trial_s_are_made_quiet_once(
    unos: RealUnos, boards: list[EmulatedBoard], tmp_path: Path
) -> None:
    of_all = stage_of(COUNT, tmp_path)
    provision_for(unos, of_all)
    assert [record_of(board) for board in boards] == wanted(of_all)

    of_one = stage_of(1, tmp_path)
    provision_for(unos, of_one)
    first, *surplus = map(record_of, boards)
    assert [first] == wanted(of_one)
    assert {record.interval_s for record in surplus} == {LONGEST_S}
    keys = {record.key for record in [*wanted(of_all), first, *surplus]}
    assert len(keys) == COUNT + 1 + len(surplus), "no two boards share a key, nor does one get one again"
    [branch] = of_one.rig.branches
    assert {record.frequency_hz for record in surplus} == {branch.radio.frequency_hz}

    quiet = [board.memory.eeprom for board in boards[1:]]
    provision_for(unos, stage_of(1, tmp_path))
    assert [board.memory.eeprom for board in boards[1:]] == quiet, "they are left alone"

    of_two = stage_of(2, tmp_path)
    provision_for(unos, of_two)
    assert [record_of(board) for board in boards[:2]] == wanted(of_two)
    assert boards[2].memory.eeprom == quiet[1]


def test_a_real_board_of_which_nothing_is_known_is_made_quiet(
    unos: RealUnos, boards: list[EmulatedBoard], tmp_path: Path
) -> None:
    provision_for(unos, stage_of(COUNT - 1, tmp_path))
    assert record_of(boards[-1]).interval_s == LONGEST_S
    before = boards[-1].memory.eeprom
    unos.step_to(State.OFF)
    unos.state = State.FLASHED
    provision_for(unos, stage_of(COUNT - 1, tmp_path))
    assert stored_epochs(boards[-1].memory.eeprom) != stored_epochs(before), "it may have been anybody's"


def test_real_boards_are_left_quiet(unos: RealUnos, boards: list[EmulatedBoard], tmp_path: Path) -> None:
    provision_for(unos, stage_of(COUNT, tmp_path))
    boards[0].close()
    unos.close()
    assert [record_of(board).interval_s for board in boards[1:]] == [LONGEST_S] * (COUNT - 1)
    assert unos.state is State.OFF, "also with a board that is gone"


def test_emulated_boards_beyond_the_trial_s_are_left_alone(tmp_path: Path) -> None:
    [branch] = load_rig(RIG).with_changes(unos=2).branches
    seats = EmulatedUnos(branch, firmware())
    try:
        for board in seats.boards.values():
            board.memory = programmed(firmware())
        seats.state = State.FLASHED
        of_one = stage_of(1, tmp_path)
        provision_for(seats, of_one)
        used, unused = seats.boards.values()
        assert [record_of(used)] == wanted(of_one)
        assert unused.memory.eeprom == b"\xff" * EEPROM_BYTES
    finally:
        seats.close()
