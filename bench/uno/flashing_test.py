"""avrdude itself flashes emulated boards over every kind of port, with the command line for real ones."""

import os
import pty
import shutil
import tty
from pathlib import Path

import pytest

from bench.rig.infrastructure import InfrastructureError
from bench.uno.atmega328p import BOOT_SECTION
from bench.uno.build import ROOT
from bench.uno.conftest import KEY, Desk, firmware, programmed
from bench.uno.console import provision
from bench.uno.flashing import FlashingError, avrdude_command, flash, flash_where_needed, is_flashed
from bench.uno.image import FirmwareImage
from bench.uno.provisioning import Provisioning
from bench.uno.serial_port import BoardSilentError, PortMissingError, UnoPort

needs_avrdude = pytest.mark.skipif(shutil.which("avrdude") is None, reason="needs the Debian package avrdude")

SMALL = FirmwareImage("small", bytes.fromhex("ffcf") + bytes(range(200)))
"""`rjmp .`, and something behind it."""


@needs_avrdude
def test_a_new_board_is_flashed_and_its_sketch_greets(desk: Desk) -> None:
    board = desk.running()
    assert flash_where_needed("uno-1", board.port, firmware())
    assert board.memory.flash.startswith(firmware().flash)
    assert not flash_where_needed("uno-1", board.port, firmware())
    with UnoPort(board.port) as port:
        assert provision(port, Provisioning(uno_id=9, key=KEY)).uno_id == 9


@needs_avrdude
@pytest.mark.parametrize("kind", ["rfc2217", "socket"])
def test_boards_behind_a_network_are_flashed_as_well(desk: Desk, kind: str) -> None:
    board = desk.running(programmed(firmware()))
    url = board.serve("rfc2217" if kind == "rfc2217" else "socket")
    assert not is_flashed("uno-1", url, SMALL)
    flash("uno-1", url, SMALL)
    assert board.memory.flash.startswith(SMALL.flash)
    assert is_flashed("uno-1", url, SMALL)


@needs_avrdude
def test_flashing_keeps_boot_loader_and_eeprom(desk: Desk) -> None:
    memory = programmed(firmware(), Provisioning(uno_id=9, key=KEY))
    board = desk.running(memory)
    flash("uno-1", board.port, SMALL)
    board.power_off()
    assert board.memory.flash[BOOT_SECTION:] == memory.flash[BOOT_SECTION:]
    assert Provisioning.decode(board.memory.eeprom).uno_id == 9


@needs_avrdude
def test_a_power_cut_while_flashing_is_told_and_mended_by_flashing(desk: Desk) -> None:
    board = desk.running()
    desk.world.call(
        lambda: desk.simulation.at(desk.simulation.now_ns + 1_500_000_000, "cut", board.power_off)
    )
    with pytest.raises(InfrastructureError, match="avrdude"):
        flash("uno-1", board.port, firmware())
    written = board.memory.flash
    assert written.startswith(firmware().flash[:256])
    assert not written.startswith(firmware().flash)
    desk.power_on(board)
    flash("uno-1", board.port, firmware())
    assert board.memory.flash.startswith(firmware().flash)


@needs_avrdude
def test_a_board_without_a_boot_loader_is_silent() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    try:
        with pytest.raises(BoardSilentError, match="does not answer avrdude, which says: ") as caught:
            is_flashed("uno-4", path, SMALL)
    finally:
        os.close(master)
        os.close(slave)
    assert caught.value.retry_helps
    assert "Optiboot" in str(caught.value)


def test_a_missing_port_and_a_missing_avrdude_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(PortMissingError, match="there is no port /dev/ttyACM99"):
        flash("uno-1", "/dev/ttyACM99", SMALL)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlashingError, match="avrdude is not installed; apt-get install avrdude"):
        flash("uno-1", "socket://127.0.0.1:9", SMALL)


def test_the_command_line_is_the_one_for_a_real_board() -> None:
    command = " ".join(avrdude_command("/dev/ttyACM0", "flash:w:FILE.hex:i"))
    assert command in (ROOT / "firmware/README.md").read_text()
