from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.gateway.framing import Deframer, FramingError, stuff, unstuff, unwrap, wrap

PACKETS = st.binary(max_size=600)


@pytest.mark.parametrize(
    ("data", "stuffed"),
    [
        # The examples of the paper and of its usual summary.
        (b"\x00", b"\x01\x01"),
        (b"\x00\x00", b"\x01\x01\x01"),
        (b"\x00\x11\x00", b"\x01\x02\x11\x01"),
        (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
        (b"\x11\x22\x33\x44", b"\x05\x11\x22\x33\x44"),
        (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
        (bytes(range(255)), b"\x01\xff" + bytes(range(1, 255)) + b"\x01"),
        (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
    ],
)
def test_published_examples(data: bytes, stuffed: bytes) -> None:
    assert stuff(data) == stuffed
    assert unstuff(stuffed) == data


@given(PACKETS)
@example(b"")
@example(b"\x01" * 253 + b"\x00")
@example(b"\x01" * 254 + b"\x00")
@example(b"\x01" * 508)
def test_what_is_wrapped_has_no_zero_but_its_end_and_comes_back(packet: bytes) -> None:
    wrapped = wrap(packet)
    assert wrapped.index(b"\x00") == len(wrapped) - 1
    assert unwrap(wrapped[:-1]) == packet


def test_the_checksum_is_the_published_one() -> None:
    """CRC-16 with this polynomial and start gives 0x29B1 for "123456789" (ITU-T V.41 catalogues)."""
    assert unstuff(wrap(b"123456789")[:-1])[-2:] == b"\x29\xb1"


@given(st.lists(PACKETS, max_size=6), st.data())
def test_packets_survive_any_cutting_into_pieces(packets: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(wrap, packets))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    deframer = Deframer(600)
    found = [
        packet
        for start, end in itertools.pairwise([0, *cuts, len(stream)])
        for packet in deframer.feed(stream[start:end])
    ]
    assert found == packets
    assert deframer.damaged == 0


@given(PACKETS, PACKETS, st.data())
def test_a_changed_byte_costs_no_later_packet(first: bytes, second: bytes, data: st.DataObject) -> None:
    stream = bytearray(wrap(first))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    deframer = Deframer(600)
    found = deframer.feed(bytes(stream) + b"\x00" + wrap(second))
    assert found == [second]
    assert deframer.damaged >= 1


@given(st.binary(max_size=4000))
def test_noise_neither_raises_nor_grows(noise: bytes) -> None:
    deframer = Deframer(16)
    deframer.feed(noise)
    assert len(deframer._buffer) <= deframer._limit
    deframer.feed(b"\x00")
    assert deframer.feed(wrap(b"after it")) == [b"after it"]


def test_a_packet_over_the_limit_is_dropped_and_counted_once() -> None:
    deframer = Deframer(16)
    assert deframer.feed(wrap(b"x" * 5000)) == []
    assert deframer.damaged == 1
    assert deframer.feed(wrap(b"y" * 16)) == [b"y" * 16]


@pytest.mark.parametrize("stuffed", [b"", b"\x01", b"\x05\x01", b"\x03\x00\x00", b"\x00"])
def test_what_is_no_packet_is_refused(stuffed: bytes) -> None:
    with pytest.raises(FramingError):
        unwrap(stuffed)
