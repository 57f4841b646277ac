"""The gateway's own driver on the SX1278 model: two programs written apart must agree on the datasheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.spi_port import ChipPort
from bench.radio.sx1278 import Sx1278 as ChipModel
from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace
from ledger import frame
from ledger.effects import Effect, Rejected, Transmit
from ledger.gateway.gateway import Gateway
from ledger.gateway.radio_loop import RadioFault, RadioLoop
from ledger.gateway.sx1278 import Interrupt, RadioSettings, ReceivedPacket, Sx1278
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import MEMORY, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(16))
SIGNING_KEY = SigningKey(bytes(32))
PROMPTLY_NS = 50_000
NEAR_CDB = 9_000
AT_NOISE_CDB = 13_200


class Air:
    """A medium with the same attenuation between all, and a trace that must tell of no misuse."""

    def __init__(self, attenuation_cdb: int) -> None:
        self.simulation = Simulation()
        self.trace = Trace()
        self.records: list[Record] = []
        self.trace.subscribe(self.records.append)
        self.medium = Medium(Stream(1, "medium"), self.trace, self.simulation, FixedLinks(attenuation_cdb))

    def radio(self, name: str, settings: RadioSettings, edge: Callable[[], None]) -> Sx1278:
        chip = ChipModel(name, self.medium, self.simulation)

        def dio0(high: bool) -> None:
            if high:
                self.simulation.at(self.simulation.now_ns + PROMPTLY_NS, name, edge)

        chip.dio0 = dio0
        return Sx1278(ChipPort(chip), settings)

    def run(self, duration_ns: int) -> None:
        self.simulation.run(self.simulation.now_ns + duration_ns)
        self.trace.settle()
        assert "radio_misuse" not in {record.kind for record in self.records}


class Uno:
    """The other end: sends, then listens."""

    def __init__(self, air: Air, settings: RadioSettings, name: str = "uno") -> None:
        self.air = air
        self.sent_ns = 0
        self.received: list[ReceivedPacket] = []
        self.driver = air.radio(name, settings, self.edge)
        self.driver.configure()

    def edge(self) -> None:
        interrupts = self.driver.interrupts()
        if Interrupt.TRANSMIT_DONE in interrupts:
            self.sent_ns = self.air.simulation.now_ns - PROMPTLY_NS
            self.driver.start_receiving()
        if Interrupt.RECEIVE_DONE in interrupts:
            self.received.append(self.driver.read_packet(interrupts))


class Pi:
    """Gateway, node and store behind the radio loop, with effects carried out at once."""

    def __init__(self, air: Air, settings: RadioSettings) -> None:
        self.air = air
        registry = Registry(bytes(16), 0, {bytes(SIGNING_KEY.verify_key): Issuer("pi")}, {7: KEY})
        self.store = SqliteStore(MEMORY, "off")
        self.effects: list[Effect] = []
        driver = air.radio("pi", settings, self.edge)
        gateway = Gateway(Node(SIGNING_KEY, registry, self.store), registry, self.store)
        self.loop = RadioLoop(driver, gateway)
        self.loop.start()

    def edge(self) -> None:
        self.carry_out(self.loop.dio0_rose(self.air.simulation.now_ns))

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Transmit):
                self.carry_out(self.loop.transmit(effect.payload, self.air.simulation.now_ns))


def sealed(counter: int, counters: int = 4) -> bytes:
    plaintext = frame.Snapshot(frame.Status(0), 0, 0, (), (counter,) * counters).encode()
    return frame.seal_frame(KEY, frame.FrameId(7, 1, counter), plaintext)


@pytest.mark.parametrize(
    ("spreading_factor", "bandwidth_khz"), [(7, 125), (9, 125), (12, 125), (11, 250), (8, 500)]
)
def test_a_frame_is_stored_and_its_acknowledgement_heard(spreading_factor: int, bandwidth_khz: int) -> None:
    settings = RadioSettings(spreading_factor=spreading_factor, bandwidth_khz=bandwidth_khz)
    air = Air(NEAR_CDB)
    pi, uno = Pi(air, settings), Uno(air, settings)
    for counter in range(3):
        uno.driver.transmit(sealed(counter))
        air.run(20 * NS_PER_S)
    assert [frame.open_ack(KEY, packet.payload) for packet in uno.received] == [
        frame.FrameId(7, 1, counter) for counter in range(3)
    ]
    assert [reading.counter for reading in pi.store.pending(10)] == [0, 1, 2]
    assert not pi.loop.on_air
    assert pi.loop.counts == {}


@pytest.mark.parametrize("spreading_factor", [7, 10, 12])
def test_the_model_and_the_driver_agree_on_time_on_air(spreading_factor: int) -> None:
    settings = RadioSettings(spreading_factor=spreading_factor)
    air = Air(NEAR_CDB)
    uno = Uno(air, settings)
    air.run(NS_PER_MS)
    start_ns = air.simulation.now_ns
    payload = sealed(0, 12)
    uno.driver.transmit(payload)
    air.run(20 * NS_PER_S)
    assert uno.sent_ns - start_ns == settings.airtime_ns(len(payload))


def test_the_longest_frame_passes_unaltered() -> None:
    air = Air(NEAR_CDB)
    pi, uno = Pi(air, RadioSettings()), Uno(air, RadioSettings())
    plaintext = frame.Snapshot(
        frame.Status.POWER_ON, 1, 2, (frame.AlternatingCurrent(1, 2, 3, -4),) * 2, tuple(range(12))
    ).encode()
    payload = frame.seal_frame(KEY, frame.FrameId(7, 1, 9), plaintext)
    assert len(payload) == frame.LARGEST_DATA_BYTES
    uno.driver.transmit(payload)
    air.run(NS_PER_S)
    (reading,) = pi.store.pending(10)
    assert reading.plaintext == plaintext


def test_strength_and_noise_distance_below_the_noise_floor() -> None:
    """10 dBm less 132 dB is -122 dBm; the noise in 125 kHz at 5.5 dB is -117.5 dBm (radio reference, 1)."""
    air = Air(AT_NOISE_CDB)
    pi, uno = Pi(air, RadioSettings(spreading_factor=9)), Uno(air, RadioSettings(spreading_factor=9))
    uno.driver.transmit(sealed(0))
    air.run(5 * NS_PER_S)
    (reading,) = pi.store.pending(10)
    (acknowledgement,) = uno.received
    for rssi_cdbm in (reading.rssi_cdbm, acknowledgement.rssi_cdbm):
        assert rssi_cdbm == pytest.approx(-12_200, abs=100)
    assert acknowledgement.snr_cdb == pytest.approx(-450, abs=50)


def test_too_far_and_set_otherwise_is_silence() -> None:
    for attenuation_cdb, spreading_factor in ((AT_NOISE_CDB + 1_000, 7), (NEAR_CDB, 8)):
        air = Air(attenuation_cdb)
        pi, uno = Pi(air, RadioSettings()), Uno(air, RadioSettings(spreading_factor=spreading_factor))
        uno.driver.transmit(sealed(0))
        air.run(5 * NS_PER_S)
        assert pi.store.pending(10) == []
        assert pi.loop.counts == {}


def test_a_collision_in_the_payload_is_counted_as_damage() -> None:
    air = Air(NEAR_CDB)
    pi = Pi(air, RadioSettings())
    first, second = Uno(air, RadioSettings()), Uno(air, RadioSettings(), "other")
    first.driver.transmit(sealed(0))
    air.run(60 * NS_PER_MS)
    second.driver.transmit(sealed(1))
    air.run(5 * NS_PER_S)
    assert pi.loop.counts == {RadioFault.PAYLOAD_CRC: 1}
    assert [effect.reason for effect in pi.effects if isinstance(effect, Rejected)] == ["payload_crc"]
    assert pi.store.pending(10) == []


def test_two_frames_close_together_are_both_acknowledged() -> None:
    """The second is sent while the answer to the first is on air: it is lost, repeated, and then answered."""
    air = Air(NEAR_CDB)
    pi = Pi(air, RadioSettings())
    first, second = Uno(air, RadioSettings()), Uno(air, RadioSettings(), "other")
    first.driver.transmit(sealed(0))
    air.run(RadioSettings().airtime_ns(len(sealed(0))) + 10 * NS_PER_MS)
    assert pi.loop.on_air
    second.driver.transmit(sealed(1))
    air.run(NS_PER_S)
    assert [reading.counter for reading in pi.store.pending(10)] == [0]
    second.driver.transmit(sealed(1))
    air.run(NS_PER_S)
    assert [reading.counter for reading in pi.store.pending(10)] == [0, 1]
    assert frame.open_ack(KEY, second.received[-1].payload) == frame.FrameId(7, 1, 1)
