"""A machine's card when this host fails it; no emulator is needed for that."""

from __future__ import annotations

import resource
import tempfile
from typing import TYPE_CHECKING

import pytest

from bench.pi.emulated.card import SECTOR_BYTES
from bench.pi.emulated.card_server_test import Client
from bench.pi.emulated.image import PiImage
from bench.pi.emulated.machine import PiMachine
from bench.pi.emulated.machine_card import CARD_FILE, CardDrive
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

CARD_BYTES = 1 << 20
KEEPS_ALL = 0
"""A seed with which a power cut keeps all that was not flushed."""


@pytest.fixture
def image(tmp_path: Path) -> PiImage:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / CARD_FILE).write_bytes(bytes(CARD_BYTES))
    return PiImage(folder, "bench", "ssh-ed25519 AAAA")


def test_a_closed_machine_leaves_nothing_also_when_its_card_is_gone(
    tmp_path: Path, image: PiImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    machine = PiMachine(image)
    drive = CardDrive(machine.name, image, machine._folder, machine._sockets / "card", kept=False)
    machine._drive = drive
    assert len(list(room.rglob(CARD_FILE))) == 1
    drive._server.kill()
    with pytest.raises(InfrastructureError, match="the process that serves its card has ended"):
        machine.close()
    assert list(room.iterdir()) == []
    machine.close()


@pytest.mark.parametrize("end", ["release", "cut"])
def test_a_card_that_cannot_be_written_is_told(tmp_path: Path, image: PiImage, end: str) -> None:
    drive = CardDrive("pi", image, tmp_path / "cards", tmp_path / "socket", kept=True)
    client = Client(tmp_path / "socket")
    assert client.request(1, 0, SECTOR_BYTES, b"A" * SECTOR_BYTES) == 0
    resource.prlimit(drive._server.pid, resource.RLIMIT_FSIZE, (0, 0))
    with pytest.raises(InfrastructureError, match=r"cannot be written \(File too large\); make room in"):
        drive.release() if end == "release" else drive.cut_power(KEEPS_ALL)
    assert drive._server.poll() is not None
