"""The HC-12's loop over a pseudo-terminal: the test is the air."""

from __future__ import annotations

import os
import select
import tty
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ledger.effects import Effect, Rejected, Transmit
from ledger.frame import LARGEST_DATA_BYTES
from ledger.gateway.byte_stream import open_stream
from ledger.gateway.framing import Deframer, wrap
from ledger.gateway.hc12 import BITS_PER_SECOND, UNKNOWN_RSSI_CDBM, Hc12Loop
from ledger.gateway.radio_loop_test import Acknowledger
from ledger.messages import FrameReceived, PeerUp, Tick

if TYPE_CHECKING:
    from collections.abc import Iterator


class Air:
    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self._slave = slave
        self.path = os.ttyname(slave)
        self.gateway = Acknowledger()
        self.loop = Hc12Loop(partial(open_stream, self.path, BITS_PER_SECOND), self.gateway)
        self.loop.keep_alive()

    def send(self, data: bytes, effects: int) -> list[Effect]:
        """Have bytes arrive, and wait for so many effects."""
        os.write(self.master, data)
        descriptor = self.loop.fileno()
        assert descriptor is not None
        found: list[Effect] = []
        while len(found) < effects:
            assert select.select([descriptor], [], [], 30)[0]
            found += self.loop.attend(0)
        return found

    def heard(self, packets: int) -> list[bytes]:
        deframer = Deframer(LARGEST_DATA_BYTES)
        found: list[bytes] = []
        while len(found) < packets:
            found += deframer.feed(os.read(self.master, 4096))
        return found

    def close(self) -> None:
        self.loop.close()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def air() -> Iterator[Air]:
    air = Air()
    yield air
    air.close()


def test_frames_go_in_and_answers_out(air: Air) -> None:
    assert air.loop.fault is None
    frames = [b"first", bytes(LARGEST_DATA_BYTES)]
    effects = air.send(b"".join(map(wrap, frames)), 2)
    assert air.gateway.messages == [FrameReceived(frame, UNKNOWN_RSSI_CDBM, 0) for frame in frames]
    assert effects == [Transmit(b"ack " + frame) for frame in frames]
    for frame in frames:
        assert air.loop.transmit(b"ack " + frame[:20], 0) == []
    assert air.heard(2) == [b"ack " + frame[:20] for frame in frames]


def test_a_frame_in_pieces_is_one_and_nothing_is_no_frame(air: Air) -> None:
    whole = wrap(b"frame")
    assert air.send(whole[:3], 0) == []
    assert air.loop.attend(0) == []
    assert air.send(whole[3:], 1) == [Transmit(b"ack frame")]


def test_damage_is_counted_and_the_next_frame_is_heard(air: Air) -> None:
    spoilt = bytearray(wrap(b"frame"))
    spoilt[2] ^= 0x20
    (damage, answer) = air.send(bytes(spoilt) + wrap(b"next"), 2)
    assert isinstance(damage, Rejected)
    assert damage.reason == "payload_crc"
    assert answer == Transmit(b"ack next")
    assert air.loop.counts == {"damaged": 1}


def test_the_rest_is_passed_on(air: Air) -> None:
    air.loop.handle(PeerUp("server"), 0)
    air.loop.handle(Tick(), 0)
    assert air.gateway.messages == [PeerUp("server"), Tick()]


def test_a_port_that_is_missing_or_lost_is_named_and_opened_again(air: Air) -> None:
    missing = Hc12Loop(partial(open_stream, "/dev/ttyNONE7", BITS_PER_SECOND), air.gateway)
    missing.keep_alive()
    assert "/dev/ttyNONE7: No such file or directory" in (missing.fault or "")
    (dropped,) = missing.transmit(b"answer", 0)
    assert isinstance(dropped, Rejected)
    assert missing.attend(0) == []
    os.close(air.master)
    descriptor = air.loop.fileno()
    assert descriptor is not None
    select.select([descriptor], [], [], 30)
    assert air.loop.attend(0) == []
    assert air.path in (air.loop.fault or "")
    assert air.loop.fileno() is None
    air.master, slave = os.openpty()
    tty.setraw(slave)
    os.close(air._slave)
    air._slave = slave
    reopened = Hc12Loop(partial(open_stream, os.ttyname(slave), BITS_PER_SECOND), air.gateway)
    reopened.keep_alive()
    assert reopened.fault is None
    reopened.close()
