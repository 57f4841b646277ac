"""The gateway's own driver at one end of a Unix socket, the chip in a paced world at the other."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from bench.paced.radio_line import RadioLine
from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.registers import Mode
from bench.radio.sx1278 import Sx1278
from bench.world.paced import PacedWorld
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace
from ledger.gateway.byte_stream import ByteStream, open_stream
from ledger.gateway.spi_line import SpiLinePort
from ledger.gateway.sx1278 import RadioSettings
from ledger.gateway.sx1278 import Sx1278 as Driver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world() -> Iterator[PacedWorld]:
    with PacedWorld(Simulation(), Trace()) as paced:
        yield paced


@pytest.fixture
def chip(world: PacedWorld) -> Sx1278:
    medium = Medium(Stream(0), world.trace, world.simulation, FixedLinks(9000))
    return world.call(lambda: Sx1278("east/pi", medium, world.simulation))


class Machine:
    """The Pi's end: it listens at a socket while it has power, and the bench connects."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener: socket.socket | None = None

    def boot(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen()

    def accepted(self) -> ByteStream:
        assert self._listener is not None
        self._listener.settimeout(30)
        connection, _ = self._listener.accept()
        self._listener.close()
        return ByteStream("radio", connection.detach())


def connected(machine: Machine) -> SpiLinePort:
    return SpiLinePort(machine.accepted, time.monotonic_ns, session=1)


def configured(port: SpiLinePort) -> Driver:
    driver = Driver(port, RadioSettings())
    driver.configure()
    driver.start_receiving()
    return driver


def test_the_line_comes_back_with_its_pi_and_the_chip_loses_power_with_it(
    world: PacedWorld, chip: Sx1278, tmp_path: Path
) -> None:
    path = tmp_path / "radio"
    machine = Machine(path)
    line = RadioLine("east/pi/line", world, chip, lambda: open_stream(str(path), 0))
    machine.boot()
    port = connected(machine)
    first = configured(port)
    assert world.call(lambda: chip.mode) is Mode.RECEIVE_CONTINUOUS
    assert first.is_receiving()
    line.cut_power()
    assert world.call(lambda: chip.mode) is not Mode.RECEIVE_CONTINUOUS
    machine.boot()
    # The first connection is still open: the line notices its end and takes up the next.
    port.close()
    again = configured(connected(machine))
    assert again.is_receiving()
    line.close()
