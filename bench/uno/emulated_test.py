"""An emulated board is the virtual Uno in real time, and a board that keeps what a board keeps."""

import math
import os
import stat
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import BOOT_SECTION, Pin
from bench.uno.boot_loader import build_boot_loader
from bench.uno.clock import UnoClock
from bench.uno.conftest import KEY, PATH_LOSS_CDB, Desk, firmware, programmed
from bench.uno.emulated import BoardError, EmulatedBoard, _shifted
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.uno.virtual import VirtualUno
from bench.world.patience import until
from bench.world.simulation import NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

PATIENCE_S = 60
PROVISIONING = Provisioning(uno_id=7, key=KEY, interval_s=1, journal_intervals=1)


def booted_after(desk: Desk, boots: int) -> bool:
    return len(desk.of("boot")) > boots


def played_virtually(until_ns: int) -> list[Record]:
    """Two Unos as of `test_it_does_what_the_virtual_one_does`, in virtual time."""
    simulation, trace, records = Simulation(), Trace(), list[Record]()
    trace.subscribe(records.append)
    medium = Medium(Stream(1, "medium"), trace, simulation, FixedLinks(PATH_LOSS_CDB))
    for index in range(2):
        name = f"uno-{index + 1}"
        uno = VirtualUno(
            name,
            firmware(),
            eeprom_image(Provisioning(uno_id=index + 1, key=KEY, interval_s=1)),
            Sx1278(name, medium, simulation),
            UnoClock(index * 10_000_000),
            simulation,
            trace,
            until_ns,
            boot_loader=build_boot_loader(),
        )
        uno.play_pulses(Pin.PD3, range(1_000_000_000, until_ns, 150_000_000), 30_000_000)
        uno.power_on()
    simulation.run(until_ns)
    trace.settle()
    return records


def test_it_does_what_the_virtual_one_does_at_the_same_time(desk: Desk) -> None:
    """Frames on air, readings, markers: the same records at the same nanoseconds, however slices fall."""
    until_ns = 4 * NS_PER_S
    for index in range(2):
        provisioning = Provisioning(uno_id=index + 1, key=KEY, interval_s=1)
        board = desk.board(f"uno-{index + 1}", programmed(firmware(), provisioning))
        uno = desk.power_on(board, index * 10_000_000)
        uno.play_pulses(Pin.PD3, range(1_000_000_000, until_ns, 150_000_000), 30_000_000)
    over = threading.Event()
    desk.simulation.at(until_ns, "end", over.set)
    desk.world.start()
    assert over.wait(PATIENCE_S)
    desk.world.close()
    own = {"console", "power", "halted"}
    paced = [r for r in desk.records if r.kind not in own and r.t_ns < until_ns]
    virtual = [r for r in played_virtually(until_ns) if r.kind not in own and r.t_ns < until_ns]
    assert [record.line() for record in paced] == [record.line() for record in virtual]
    kinds = {record.kind for record in virtual}
    assert {"boot", "snapshot", "sent", "transmission"} <= kinds


def test_power_cuts_at_any_moment_reuse_no_epoch(desk: Desk) -> None:
    board = desk.running(programmed(firmware(), PROVISIONING))
    for cut in range(8):
        booted = len(desk.of("boot"))
        if cut % 2:
            until(partial(booted_after, desk, booted), PATIENCE_S)
        board.power_off()
        desk.power_on(board)
    until(lambda: len(desk.of("snapshot")) > 0, PATIENCE_S)
    epochs = [record.fields["epoch"] for record in desk.of("boot")]
    assert epochs == sorted(set(epochs))
    powers = [record.fields["on"] for record in desk.of("power")]
    assert powers == [True, *[False, True] * 8]


def test_nothing_happens_without_power(desk: Desk) -> None:
    board = desk.running(programmed(firmware(), PROVISIONING))
    until(lambda: bool(desk.of("boot")), PATIENCE_S)
    board.power_off()
    before = len(desk.of("boot")) + len(desk.of("snapshot"))
    done = threading.Event()
    desk.world.call(lambda: desk.simulation.at(desk.simulation.now_ns + 1_500_000_000, "x", done.set))
    assert done.wait(PATIENCE_S)
    assert len(desk.of("boot")) + len(desk.of("snapshot")) == before
    assert board.uno is None


def test_signals_go_on_after_a_power_cut(desk: Desk) -> None:
    board = desk.board(memory=programmed(firmware(), PROVISIONING))
    uno = desk.power_on(board)
    uno.play_pulses(Pin.PD3, range(100_000_000, 600 * NS_PER_S, 100_000_000), 30_000_000)
    desk.world.start()
    until(lambda: bool(desk.of("snapshot")), PATIENCE_S)
    board.power_off()
    desk.power_on(board)
    told = len(desk.of("snapshot"))
    until(lambda: len(desk.of("snapshot")) >= told + 2, PATIENCE_S)
    pulses = [
        int.from_bytes(plaintext[5:9], "big")
        for record in desk.of("snapshot")[told:]
        if isinstance(plaintext := record.fields["plaintext"], bytes)
    ]
    assert 9 <= pulses[1] - pulses[0] <= 11


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=6, unique=True).map(sorted),
    st.integers(0, 12_000),
    st.integers(0, 12_000),
    st.integers(0, 2**64 - 1),
)
def test_a_shifted_waveform_is_the_same_voltage_later(
    starts: list[int], shift: int, cycle: int, phase_step: int
) -> None:
    segments = [AnalogSegment(start, n, 1000 + n, n << 50, phase_step) for n, start in enumerate(starts)]

    def at(segments: list[AnalogSegment], cycle: int) -> tuple[int, float] | None:
        """The voltage's parts: offset, and phase in turns."""
        current = [segment for segment in segments if segment.from_cycle <= cycle]
        if not current:
            return None
        last = current[-1]
        phase = (last.phase + (cycle - last.from_cycle) * last.phase_step) % 2**64
        return last.offset_uv, math.sin(2 * math.pi * phase / 2**64)

    assert at(_shifted(segments, shift), cycle) == at(segments, cycle + shift)


def test_a_new_board_has_a_boot_loader_and_no_sketch(desk: Desk) -> None:
    board = desk.running()
    assert board.memory.flash[BOOT_SECTION:].startswith(build_boot_loader())
    until(lambda: bool(desk.of("fault")), PATIENCE_S)
    (fault,) = desk.of("fault")
    assert "0xffff" in str(fault.fields["reason"])


def test_memory_is_kept_in_files_that_only_their_owner_reads(desk: Desk, tmp_path: Path) -> None:
    memory = programmed(firmware(), PROVISIONING)
    board = EmulatedBoard("east/uno-1", tmp_path)
    board.memory = memory
    desk.boards.append(board)
    desk.power_on(board)
    desk.world.start()
    until(lambda: bool(desk.of("boot")), PATIENCE_S)
    board.power_off()
    board.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["east-uno-1.eeprom", "east-uno-1.flash"]
    assert all(stat.S_IMODE(os.stat(file).st_mode) == 0o600 for file in files)
    again = EmulatedBoard("east/uno-1", tmp_path)
    desk.boards.append(again)
    assert again.memory.flash == memory.flash
    assert again.memory.eeprom != memory.eeprom  # the boot has written its epoch
    assert Provisioning.decode(again.memory.eeprom) == PROVISIONING


def test_stored_memory_of_another_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.flash").write_bytes(bytes(5))
    (tmp_path / "x.eeprom").write_bytes(bytes(1024))
    with pytest.raises(
        BoardError, match=r"x\.flash: has 5 bytes, expected 32768; delete the board's two files"
    ):
        EmulatedBoard("x", tmp_path, boot_loader=b"")
    (tmp_path / "x.flash").unlink()
    with pytest.raises(BoardError, match=r"x\.flash: cannot be read: No such file"):
        EmulatedBoard("x", tmp_path, boot_loader=b"")


def test_power_is_switched_in_turns(desk: Desk) -> None:
    board = desk.board()
    with pytest.raises(BoardError, match="uno-1 has no power that could be switched off"):
        board.power_off()
    desk.power_on(board)
    with pytest.raises(BoardError, match="uno-1 has power already"):
        desk.power_on(board)
    with pytest.raises(BoardError, match="switch it off before its memory is replaced"):
        board.memory = programmed(firmware())
