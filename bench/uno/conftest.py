"""A desk for the tests of the emulated seat: boards, their radios on one medium, and a world for them."""

import shutil
from collections.abc import Iterator
from functools import cache

import pytest

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.uno.atmega328p import BOOT_SECTION
from bench.uno.boot_loader import build_boot_loader
from bench.uno.build import PACKAGES, build_firmware
from bench.uno.clock import UnoClock
from bench.uno.emulated import BoardMemory, EmulatedBoard, EmulatedUno
from bench.uno.image import FirmwareImage
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.world.paced import PacedWorld
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

KEY = bytes(range(16))
PATH_LOSS_CDB = 9_000


@cache
def firmware() -> FirmwareImage:
    """The sketch."""
    return build_firmware()


def programmed(image: FirmwareImage, provisioning: Provisioning | None = None) -> BoardMemory:
    """The memory of a board as if it had been flashed and provisioned."""
    flash = image.flash.ljust(BOOT_SECTION, b"\xff") + build_boot_loader()
    eeprom = b"\xff" * 1024 if provisioning is None else eeprom_image(provisioning)
    return BoardMemory(flash.ljust(32_768, b"\xff"), eeprom)


class Desk:
    """Boards with power in a world that plays."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.simulation, self.trace = Simulation(), Trace()
        self.trace.subscribe(self.records.append)
        self.medium = Medium(Stream(1, "medium"), self.trace, self.simulation, FixedLinks(PATH_LOSS_CDB))
        self.world = PacedWorld(self.simulation, self.trace)
        self.boards: list[EmulatedBoard] = []
        self._radios: dict[str, Sx1278] = {}

    def board(self, name: str = "uno-1", memory: BoardMemory | None = None) -> EmulatedBoard:
        """A board without power, empty unless `memory` says what it holds."""
        board = EmulatedBoard(name)
        if memory is not None:
            board.memory = memory
        self.boards.append(board)
        return board

    def power_on(self, board: EmulatedBoard, origin_ns: int = 0) -> EmulatedUno:
        """Power for the board and the radio at its side."""
        if board.name not in self._radios:
            self._radios[board.name] = Sx1278(board.name, self.medium, self.simulation)
        return board.power_on(self.world, self._radios[board.name], UnoClock(origin_ns), firmware())

    def running(self, memory: BoardMemory | None = None, name: str = "uno-1") -> EmulatedBoard:
        """A board that has power in a world that plays."""
        board = self.board(name, memory)
        self.power_on(board)
        if not self.world.is_playing:
            self.world.start()
        return board

    def of(self, kind: str) -> list[Record]:
        """The records of one kind so far."""
        return self.world.call(lambda: [record for record in self.records if record.kind == kind])

    def close(self) -> None:
        """Clear the desk."""
        for board in self.boards:
            board.close()
        self.world.close()


def cleared_desk() -> Iterator[Desk]:
    """An empty desk for one test, cleared after it; skipped where the firmware cannot be built."""
    if shutil.which("avr-gcc") is None:
        pytest.skip(f"needs the Debian packages {PACKAGES}")
    desk = Desk()
    yield desk
    desk.close()


desk = pytest.fixture(cleared_desk)
