"""The loop over a bare register file and a gateway that acknowledges everything."""

from __future__ import annotations

import pytest

from ledger.effects import Effect, Operation, Rejected, Spent, Transmit
from ledger.gateway.radio_loop import MAX_WAITING, RadioFault, RadioLoop
from ledger.gateway.sx1278 import Mode, RadioError, RadioSettings, Sx1278
from ledger.gateway.sx1278_test import RegisterChip
from ledger.messages import FrameReceived, Message, PeerUp, Tick

SECOND_NS = 1_000_000_000


class Acknowledger:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        assert now_ns >= 0
        self.messages.append(message)
        return [Transmit(b"ack " + message.payload)] if isinstance(message, FrameReceived) else []


class Bench:
    def __init__(self) -> None:
        self.chip = RegisterChip()
        self.gateway = Acknowledger()
        self.loop = RadioLoop(Sx1278(self.chip, RadioSettings()), self.gateway)
        self.loop.start()

    @property
    def mode(self) -> int:
        return self.chip.registers[0x01]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def without_spending(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Spent)]


def faults(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Rejected)]


def test_a_packet_reaches_the_gateway_and_its_answer_the_air(bench: Bench) -> None:
    bench.chip.packet_arrives(b"frame")
    effects = bench.loop.dio0_rose(0)
    assert bench.gateway.messages == [FrameReceived(b"frame", -10_000, 500)]
    assert without_spending(effects) == [Transmit(b"ack frame")]
    assert bench.chip.sent == []
    bench.loop.transmit(b"ack frame", 1)
    assert bench.chip.sent == [b"ack frame"]
    assert bench.loop.on_air
    bench.chip.transmission_ends()
    bench.loop.dio0_rose(2)
    assert not bench.loop.on_air
    assert bench.mode == Mode.RECEIVE_CONTINUOUS


def test_reading_is_charged_before_what_follows_from_it(bench: Bench) -> None:
    bench.chip.packet_arrives(b"frame")
    effects = bench.loop.dio0_rose(0)
    # Flags 1, four registers from the packet's address on, signal 2, checksum bit 1, payload 5.
    assert effects[0] == Spent(Operation.RADIO_READ, 1 + 4 + 2 + 1 + 5)
    assert isinstance(effects[-1], Transmit)


def test_answers_queue_while_one_is_on_air(bench: Bench) -> None:
    for number in range(3):
        bench.loop.transmit(b"%d" % number, 0)
    assert bench.chip.sent == [b"0"]
    for _ in range(3):
        bench.chip.transmission_ends()
        bench.loop.dio0_rose(0)
    assert bench.chip.sent == [b"0", b"1", b"2"]
    assert bench.mode == Mode.RECEIVE_CONTINUOUS


def test_too_many_answers_drop_the_oldest_waiting(bench: Bench) -> None:
    effects: list[Effect] = []
    for number in range(MAX_WAITING + 2):
        effects += bench.loop.transmit(b"%d" % number, 0)
    assert faults(effects) == [RadioFault.DROPPED]
    bench.chip.transmission_ends()
    bench.loop.dio0_rose(0)
    assert bench.chip.sent == [b"0", b"2"]


def test_a_packet_not_fetched_yet_is_saved_before_sending(bench: Bench) -> None:
    bench.chip.packet_arrives(b"late")
    effects = bench.loop.transmit(b"answer", 0)
    assert without_spending(effects) == [Transmit(b"ack late")]
    assert bench.chip.sent == [b"answer"]


def test_a_damaged_packet_is_counted_and_not_handed_on(bench: Bench) -> None:
    bench.chip.packet_arrives(b"frame", flags=0x60)
    assert faults(bench.loop.dio0_rose(0)) == [RadioFault.PAYLOAD_CRC]
    assert bench.gateway.messages == []
    assert bench.loop.counts == {RadioFault.PAYLOAD_CRC: 1}


def test_a_spare_edge_does_no_harm(bench: Bench) -> None:
    assert without_spending(bench.loop.dio0_rose(0)) == []
    bench.loop.transmit(b"answer", 0)
    bench.loop.dio0_rose(0)
    assert bench.loop.on_air


def test_peers_are_passed_on_without_touching_the_chip(bench: Bench) -> None:
    assert bench.loop.handle(PeerUp("server"), 0) == []
    assert bench.gateway.messages == [PeerUp("server")]


def test_a_transmission_that_never_ends_is_given_up(bench: Bench) -> None:
    bench.loop.transmit(b"answer", 0)
    bench.loop.transmit(b"waiting", 0)
    assert faults(bench.loop.handle(Tick(), SECOND_NS // 10)) == []
    assert faults(bench.loop.handle(Tick(), SECOND_NS)) == [RadioFault.STALLED, RadioFault.DROPPED]
    assert bench.mode == Mode.RECEIVE_CONTINUOUS
    bench.loop.transmit(b"next", SECOND_NS)
    assert bench.chip.sent == [b"answer", b"next"]


def test_a_chip_that_lost_its_supply_is_configured_again_at_a_tick(bench: Bench) -> None:
    bench.chip.loses_supply()
    assert faults(bench.loop.handle(Tick(), 0)) == [RadioFault.STALLED]
    assert bench.mode == Mode.RECEIVE_CONTINUOUS
    assert faults(bench.loop.handle(Tick(), 1)) == []


def test_a_packet_whose_edge_was_missed_is_found_at_a_tick(bench: Bench) -> None:
    bench.chip.packet_arrives(b"frame")
    assert without_spending(bench.loop.handle(Tick(), 0)) == [Transmit(b"ack frame")]
    assert bench.gateway.messages == [FrameReceived(b"frame", -10_000, 500), Tick()]


def test_a_chip_that_is_gone_is_told_and_tried_again(bench: Bench) -> None:
    bench.chip.loses_supply()
    bench.chip.registers[0x42] = 0
    assert faults(bench.loop.handle(Tick(), 0)) == [RadioFault.STALLED, RadioFault.GONE]
    bench.chip.registers[0x42] = 0x12
    assert faults(bench.loop.handle(Tick(), 1)) == [RadioFault.STALLED]
    assert bench.mode == Mode.RECEIVE_CONTINUOUS


def test_a_missing_chip_stops_the_start() -> None:
    chip = RegisterChip()
    chip.registers[0x42] = 0xFF
    with pytest.raises(RadioError, match="no radio answers"):
        RadioLoop(Sx1278(chip, RadioSettings()), Acknowledger()).start()
