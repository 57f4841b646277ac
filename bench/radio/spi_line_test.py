"""The gateway's own process with its radio at the end of a line: killed, cut off, and whole in the end."""

from __future__ import annotations

import os
import random
import time
import tty
from typing import TYPE_CHECKING

import pytest

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.spi_line import SpiLine
from bench.radio.spi_port import ChipPort
from bench.radio.sx1278 import Sx1278 as ChipModel
from bench.world.paced import PacedWorld
from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace
from ledger import frame
from ledger.gateway.spi_line import HostEnd
from ledger.gateway.sx1278 import Interrupt, RadioSettings, Sx1278
from ledger.service.process_pair import ProcessPair, until
from ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEAR_CDB = 9_000
SETTINGS = RadioSettings(bandwidth_khz=500)
"""The shortest packets there are: about 30 ms for a frame, so that a test sees many."""
REPEAT_AFTER_NS = 150 * NS_PER_MS


class LinePort:
    """The host's end wired straight to the chip's, without a stream between."""

    def __init__(self, line: SpiLine) -> None:
        self.host = HostEnd(1)
        self._line = line
        line.send = self.host.receive
        self.host.receive(line.receive(self.host.hello()))

    def transfer(self, data: bytes) -> bytes:
        self.host.receive(self._line.receive(self.host.transfer(data)))
        answer = self.host.answer()
        assert answer is not None
        return answer


class Air:
    def __init__(self) -> None:
        self.simulation = Simulation()
        self.trace = Trace()
        self.medium = Medium(Stream(1, "medium"), self.trace, self.simulation, FixedLinks(NEAR_CDB))

    def chip(self, name: str) -> ChipModel:
        return ChipModel(name, self.medium, self.simulation)


def test_the_driver_behind_the_line_hears_and_is_heard() -> None:
    air = Air()
    port = LinePort(SpiLine(air.chip("gateway")))
    gateway = Sx1278(port, SETTINGS)
    neighbour = Sx1278(ChipPort(air.chip("uno")), SETTINGS)
    for driver in (gateway, neighbour):
        driver.configure()
        driver.start_receiving()
    for sender, receiver in ((neighbour, gateway), (gateway, neighbour)):
        payload = bytes(range(100))
        sender.transmit(payload)
        air.simulation.run(air.simulation.now_ns + NS_PER_S)
        assert Interrupt.TRANSMIT_DONE in sender.interrupts()
        assert receiver.read_packet(receiver.interrupts()).payload == payload
        sender.start_receiving()
        receiver.start_receiving()
    assert port.host.rose
    assert port.host.strays == port.host.damaged == 0


def test_the_pin_is_told_as_it_falls_within_a_transfer_and_rises_by_itself() -> None:
    air = Air()
    port = LinePort(SpiLine(air.chip("gateway")))
    driver, neighbour = Sx1278(port, SETTINGS), Sx1278(ChipPort(air.chip("uno")), SETTINGS)
    for each in (driver, neighbour):
        each.configure()
        each.start_receiving()
    for _ in range(3):
        port.host.rose = False
        neighbour.transmit(b"frame")
        air.simulation.run(air.simulation.now_ns + NS_PER_S)
        assert (port.host.rose, port.host.dio0) == (True, True)
        driver.read_packet(driver.interrupts())
        assert not port.host.dio0


class Uno:
    """Sends each frame until it hears its acknowledgement, then the next one."""

    def __init__(self, air: Air, key: bytes) -> None:
        self.acknowledged = 0
        """Frames with lower counters have been acknowledged."""
        self.paused = False
        self._key = key
        self._air = air
        chip = air.chip("uno")
        chip.dio0 = self._dio0
        self._driver = Sx1278(ChipPort(chip), SETTINGS)
        self._attempt = 0
        self._driver.configure()

    def start(self) -> None:
        self._send()

    def _send(self) -> None:
        self._attempt += 1
        attempt = self._attempt
        if not self.paused:
            counters = (self.acknowledged,) * 4
            plaintext = frame.Snapshot(frame.Status(0), 0, 0, (), counters).encode()
            frame_id = frame.FrameId(ProcessPair.uno_id, 1, self.acknowledged)
            self._driver.transmit(frame.seal_frame(self._key, frame_id, plaintext))
        self._later(REPEAT_AFTER_NS, lambda: self._send() if attempt == self._attempt else None)

    def _later(self, after_ns: int, action: Callable[[], None]) -> None:
        self._air.simulation.at(self._air.simulation.now_ns + after_ns, "uno", action)

    def _dio0(self, high: bool) -> None:
        if high:
            self._later(50_000, self._edge)

    def _edge(self) -> None:
        interrupts = self._driver.interrupts()
        if Interrupt.TRANSMIT_DONE in interrupts:
            self._driver.start_receiving()
        elif Interrupt.RECEIVE_DONE in interrupts:
            packet = self._driver.read_packet(interrupts)
            if packet.crc_ok and frame.open_ack(self._key, packet.payload).counter == self.acknowledged:
                self.acknowledged += 1
                self._send()


class Village:
    """One Uno, one gateway chip at the end of a pseudo-terminal, in a world at the pace of the wall clock."""

    def __init__(self, meter_key: bytes) -> None:
        self.air = Air()
        self.chip = self.air.chip("gateway")
        self.line = SpiLine(self.chip)
        self.uno = Uno(self.air, meter_key)
        self.world = PacedWorld(self.air.simulation, self.air.trace)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.line.send = self._write
        self.world.attach(self._master, self._read)
        self.world.start()
        self.world.post(self.uno.start)

    def wait_for_another(self) -> None:
        """Wait until one more frame is acknowledged."""
        before = self.uno.acknowledged
        until(lambda: self.uno.acknowledged > before)

    def _read(self) -> None:
        self._write(self.line.receive(os.read(self._master, 4096)))

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._master, data) :]
        except BlockingIOError:
            # Nobody reads: the gateway is dead.
            pass

    def close(self) -> None:
        self.world.detach(self._master)
        self.world.close()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[ProcessPair]:
    with ProcessPair(tmp_path) as network:
        yield network


@pytest.fixture
def village(network: ProcessPair) -> Iterator[Village]:
    village = Village(network.meter_key)
    network.configure(
        radio=f'port = "serial:{village.path}"\nbandwidth_khz = {SETTINGS.bandwidth_khz}',
        readings=8,
        age_s=0.5,
    )
    yield village
    village.close()


def test_frames_by_radio_reach_the_server(network: ProcessPair, village: Village) -> None:
    network.gateway.start()
    network.server.start()
    until(lambda: village.uno.acknowledged >= 30)
    village.uno.paused = True
    network.wait_until_converged(village.uno.acknowledged)
    (status,) = network.gateway.stop()["status"][-1:]
    assert status["radio"]["up"]
    assert status["stored"]["readings"] >= village.uno.acknowledged
    assert status["spent"]["radio_read"] > 30 * frame.SMALLEST_DATA_BYTES
    network.server.stop()
    network.check(village.uno.acknowledged)


def test_a_chip_that_loses_its_power_is_configured_again(network: ProcessPair, village: Village) -> None:
    network.gateway.start()
    until(lambda: village.uno.acknowledged >= 5)
    village.world.call(village.chip.reset)
    before = village.uno.acknowledged
    until(lambda: village.uno.acknowledged >= before + 5)
    assert "radio_stalled" in [event["reason"] for event in network.gateway.stop()["rejected"]]


def test_nothing_acknowledged_is_lost_when_either_is_killed_or_they_are_parted(
    network: ProcessPair, village: Village
) -> None:
    """LEDGER_KILLS sets the number of rounds."""
    rounds = int(os.environ.get("LEDGER_KILLS", "8"))
    chance = random.Random(5)
    for daemon in (network.gateway, network.server):
        daemon.start()
    for number in range(rounds):
        time.sleep(chance.uniform(0.0, 1.0))
        fate = chance.choice(["gateway", "server", "parted"])
        if fate == "parted":
            network.cable.hold()
            village.wait_for_another()
            network.cable.let_pass()
            network.cable.break_all()
        else:
            daemon = network.gateway if fate == "gateway" else network.server
            daemon.kill()
            audit = verify(daemon.store)
            assert audit.clean, f"round {number}: {audit.findings}"
            daemon.start()
        village.wait_for_another()
    village.uno.paused = True
    network.wait_until_converged(village.uno.acknowledged)
    for daemon in (network.gateway, network.server):
        daemon.stop()
    network.check(village.uno.acknowledged)
