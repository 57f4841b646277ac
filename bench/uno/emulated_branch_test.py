"""From blank boards to authentic frames at the gateway's radio, with what a lab has: avrdude and pyserial."""

import shutil
import threading
import time
from collections import defaultdict

import pytest

from bench.radio.spi_port import ChipPort
from bench.radio.sx1278 import Sx1278
from bench.uno.atmega328p import Pin
from bench.uno.conftest import Desk, firmware
from bench.uno.console import provision
from bench.uno.flashing import flash
from bench.uno.provisioning import Provisioning
from bench.uno.serial_port import UnoPort
from bench.world.simulation import NS_PER_MS, NS_PER_S
from ledger.frame import Snapshot, data_frame_id, open_frame, seal_ack
from ledger.gateway.sx1278 import Interrupt, RadioSettings
from ledger.gateway.sx1278 import Sx1278 as Driver

PATIENCE_S = 120
KEYS = {1: bytes(range(16)), 2: bytes(range(16, 32))}
PULSE_PERIOD_NS = 100 * NS_PER_MS


class Gateway:
    """The gateway's own driver on a chip of the same medium; it opens and acknowledges what is authentic."""

    def __init__(self, desk: Desk) -> None:
        self.snapshots: dict[int, dict[tuple[int, int], Snapshot]] = defaultdict(dict)
        self.has_enough = threading.Event()
        chip = Sx1278("gateway", desk.medium, desk.simulation)
        self._driver = Driver(ChipPort(chip), RadioSettings())
        self._driver.configure()
        self._driver.start_receiving()

        def rose(high: bool) -> None:
            if high:
                desk.simulation.at(desk.simulation.now_ns + 50_000, "gateway", self._attend)

        chip.dio0 = rose

    def _attend(self) -> None:
        interrupts = self._driver.interrupts()
        if Interrupt.TRANSMIT_DONE in interrupts:
            self._driver.start_receiving()
        if Interrupt.RECEIVE_DONE in interrupts:
            payload = self._driver.read_packet(interrupts).payload
            frame_id = data_frame_id(payload)
            opened = open_frame(KEYS[frame_id.uno_id], payload)
            place = frame_id.boot_epoch, frame_id.counter
            earlier = self.snapshots[frame_id.uno_id].setdefault(place, opened.snapshot)
            assert earlier == opened.snapshot, f"{frame_id} came with two contents"
            self._driver.transmit(seal_ack(KEYS[frame_id.uno_id], frame_id))
            if all(len(self.snapshots[uno_id]) >= 3 for uno_id in KEYS):
                self.has_enough.set()


@pytest.mark.skipif(shutil.which("avrdude") is None, reason="needs the Debian package avrdude")
def test_two_blank_boards_become_meters_whose_frames_are_authentic(desk: Desk) -> None:
    heard: list[str] = []
    gateway = Gateway(desk)
    boards = {uno_id: desk.running(name=f"uno-{uno_id}") for uno_id in KEYS}
    ports = {}
    for uno_id, board in boards.items():
        flash(board.name, board.port, firmware())
        ports[uno_id] = port = UnoPort(board.port, board.name, heard.append)
        port.open()
        greeting = provision(port, Provisioning(uno_id=uno_id, key=KEYS[uno_id], interval_s=2))
        assert (greeting.uno_id, greeting.epoch) == (uno_id, 2)
        uno = board.uno
        assert uno is not None
        begin_ns = desk.world.now_ns
        uno.play_pulses(Pin.PD3, range(begin_ns, begin_ns + 600 * NS_PER_S, PULSE_PERIOD_NS), 30 * NS_PER_MS)
    deadline_s = time.monotonic() + PATIENCE_S
    while not gateway.has_enough.wait(0.1):
        desk.world.call(lambda: None)  # an error in the world comes out here
        assert time.monotonic() < deadline_s, f"waited in vain, with {heard}"
    for port in ports.values():
        port.close()
    for uno_id in KEYS:
        in_order = [snapshot for _, snapshot in sorted(gateway.snapshots[uno_id].items())]
        first, *_, last = in_order
        assert first.status & 1
        assert last.pulses[0] > first.pulses[0]
        assert last.pulses[1:] == (0, 0, 0)
    assert {record.source for record in desk.of("acked")} == {"uno-1", "uno-2"}
