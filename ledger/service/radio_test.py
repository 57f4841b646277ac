"""A radio that is there, gone, and there again, on the register file of the driver's tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ledger.effects import Effect, Operation, Rejected, Spent, Transmit
from ledger.gateway.hc12 import Hc12Loop
from ledger.gateway.radio_loop_test import Acknowledger
from ledger.gateway.sx1278 import Mode, RadioSettings
from ledger.gateway.sx1278_test import RegisterChip
from ledger.messages import FrameReceived, PeerUp, Tick
from ledger.service.config import Hc12Port, SerialWires, SpidevWires
from ledger.service.radio import ChipRadio, radio_maker

if TYPE_CHECKING:
    from collections.abc import Sequence


class Wires:
    """The register file behind wires that may be cut, with a chip that may be missing."""

    def __init__(self) -> None:
        self.chip = RegisterChip()
        self.fault: str | None = None
        self.chip_there = True
        self.risen = False
        self.resets = 0
        self.closed = False

    def transfer(self, data: bytes) -> bytes:
        if self.fault or not self.chip_there:
            return bytes(len(data))
        return self.chip.transfer(data)

    def fileno(self) -> int | None:
        return None

    def take_rise(self) -> bool:
        risen, self.risen = self.risen, False
        return risen

    def reset(self) -> None:
        self.resets += 1

    def keep_alive(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def wires() -> Wires:
    return Wires()


@pytest.fixture
def radio(wires: Wires) -> ChipRadio:
    return ChipRadio(wires, RadioSettings(), Acknowledger())


def reasons(effects: Sequence[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Rejected)]


def test_it_is_started_by_the_first_look_at_it(radio: ChipRadio, wires: Wires) -> None:
    assert radio.fault == "the radio was not started yet"
    effects = radio.keep_alive()
    assert radio.fault is None
    assert wires.resets == 1
    assert wires.chip.registers[0x01] == Mode.RECEIVE_CONTINUOUS
    assert any(isinstance(effect, Spent) and effect.operation is Operation.RADIO_WRITE for effect in effects)
    assert list(radio.keep_alive()) == []
    assert wires.resets == 1


def test_a_packet_is_taken_once_for_one_rise(radio: ChipRadio, wires: Wires) -> None:
    radio.keep_alive()
    assert list(radio.attend(0)) == []
    wires.chip.packet_arrives(b"frame")
    wires.risen = True
    assert Transmit(b"ack frame") in radio.attend(0)
    assert list(radio.attend(0)) == []
    radio.transmit(b"ack frame", 1)
    assert wires.chip.sent == [b"ack frame"]


def test_without_a_chip_it_says_what_to_look_at_and_peers_are_served_all_the_same(wires: Wires) -> None:
    wires.chip_there = False
    gateway = Acknowledger()
    radio = ChipRadio(wires, RadioSettings(), gateway)
    for _ in range(3):
        assert list(radio.keep_alive()) == []
        assert (radio.fault or "").startswith("no radio answers on SPI (version reads 0x00): check its 3.3 V")
    assert wires.resets == 3
    radio.handle(PeerUp("server"), 0)
    radio.handle(Tick(), 0)
    assert gateway.messages == [PeerUp("server"), Tick()]
    assert reasons(radio.transmit(b"answer", 0)) == ["acknowledgement_dropped"]
    wires.risen = True
    assert list(radio.attend(0)) == []
    wires.chip_there = True
    radio.keep_alive()
    assert radio.fault is None


def test_a_chip_that_goes_missing_is_seen_at_a_tick_and_started_again(radio: ChipRadio, wires: Wires) -> None:
    radio.keep_alive()
    wires.chip_there = False
    assert reasons(radio.handle(Tick(), 0)) == ["radio_stalled", "radio_gone"]
    assert "no radio answers" in (radio.fault or "")
    wires.chip_there = True
    wires.chip.loses_supply()
    radio.keep_alive()
    assert radio.fault is None
    assert reasons(radio.handle(Tick(), 0)) == []


def test_wires_that_are_cut_are_named_by_their_own_reason(radio: ChipRadio, wires: Wires) -> None:
    radio.keep_alive()
    wires.fault = "/dev/ttyUSB0: unplugged"
    radio.keep_alive()
    assert radio.fault == "/dev/ttyUSB0: unplugged"
    wires.fault = None
    radio.keep_alive()
    assert radio.fault is None
    radio.close()
    assert wires.closed


def test_each_kind_of_wires_makes_its_radio() -> None:
    gateway = Acknowledger()
    for wires, named in (
        (SpidevWires(9, 7, 25, None), "/dev/spidev9.7"),
        (SerialWires("/dev/ttyNONE7"), "/dev/ttyNONE7"),
        (Hc12Port("/dev/ttyNONE7"), "/dev/ttyNONE7"),
    ):
        radio = radio_maker(wires, RadioSettings())(gateway)
        assert isinstance(radio, Hc12Loop if isinstance(wires, Hc12Port) else ChipRadio)
        radio.keep_alive()
        assert (radio.fault or "").startswith(f"{named}: No such file or directory; ")
        assert radio.fileno() is None
        assert set(radio.counts) <= {"line_repeats", "line_damaged", "damaged"}
        radio.close()


@pytest.mark.parametrize("kind", [SerialWires, Hc12Port])
def test_a_radio_made_anew_takes_over_the_device_of_the_one_before(
    kind: type[SerialWires] | type[Hc12Port],
) -> None:
    """Nobody is at the far end, which an HC-12 cannot tell, and a chip's line does."""
    master, slave = os.openpty()
    maker = radio_maker(kind(os.ttyname(slave)), RadioSettings())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        radio = maker(Acknowledger())
        radio.keep_alive()
        assert radio.fault is None or "nobody answers" in radio.fault
        radio.handle(FrameReceived(b"x", 0, 0), 0)
        radio.close()
    assert len(os.listdir("/proc/self/fd")) == before
    for descriptor in (master, slave):
        os.close(descriptor)
