"""Frames: round trips, and a named refusal for everything that is not a frame."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.frame import (
    ACK_BYTES,
    LARGEST_DATA_BYTES,
    SMALLEST_DATA_BYTES,
    AlternatingCurrent,
    DataFrame,
    FrameError,
    FrameId,
    Kind,
    Reason,
    Snapshot,
    Status,
    data_frame_id,
    open_ack,
    open_frame,
    seal_ack,
    seal_frame,
)

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
keys = st.binary(min_size=16, max_size=16)
frame_ids = st.builds(FrameId, u16, u32, u32)
snapshots = st.builds(
    Snapshot,
    u8.map(Status),
    u16,
    u8,
    st.lists(st.builds(AlternatingCurrent, u32, u16, u16, st.integers(-(2**31), 2**31 - 1)), max_size=2).map(
        tuple
    ),
    st.lists(u32, max_size=12).map(tuple),
)


# Shared with the firmware, which seals the same frames.
VECTORS = json.loads((Path(__file__).parents[1] / "firmware/lib/vectors/frames.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"uno-{vector['uno_id']}")
def test_the_firmwares_frames(vector: dict[str, Any]) -> None:
    key, plaintext, data, ack = (bytes.fromhex(vector[name]) for name in ("key", "plaintext", "data", "ack"))
    frame_id = FrameId(vector["uno_id"], vector["boot_epoch"], vector["counter"])
    assert seal_frame(key, frame_id, plaintext) == data
    assert open_frame(key, data) == DataFrame(frame_id, plaintext, Snapshot.decode(plaintext))
    assert seal_ack(key, frame_id) == ack
    assert open_ack(key, ack) == frame_id


def flip(payload: bytes, bit: int) -> bytes:
    return (int.from_bytes(payload, "big") ^ 1 << bit).to_bytes(len(payload), "big")


def refusal(key: bytes, payload: bytes) -> Reason:
    with pytest.raises(FrameError) as caught:
        open_frame(key, payload)
    return caught.value.reason


def test_layout_of_a_snapshot() -> None:
    """The field order written out by hand, from the description of the frame."""
    snapshot = Snapshot(
        Status.FIRST_AFTER_BOOT | Status.POWER_ON,
        0x0102,
        3,
        (AlternatingCurrent(0x0A0B0C0D, 23012, 1234, -5),),
        (1, 0xFFFFFFFF),
    )
    assert snapshot.encode() == bytes.fromhex("21 12 0102 03 0a0b0c0d 59e4 04d2 fffffffb 00000001 ffffffff")


def test_layout_of_a_header() -> None:
    assert FrameId(0x0102, 0x03040506, 0x0708090A).header(Kind.DATA) == bytes.fromhex(
        "11 0102 03040506 0708090a"
    )


@given(snapshots)
def test_snapshot_round_trip(snapshot: Snapshot) -> None:
    assert Snapshot.decode(snapshot.encode()) == snapshot


@given(st.binary(max_size=90))
def test_whatever_decodes_encodes_to_the_same_bytes(plaintext: bytes) -> None:
    with contextlib.suppress(FrameError):
        assert Snapshot.decode(plaintext).encode() == plaintext


@given(keys, frame_ids, snapshots)
def test_frame_round_trip(key: bytes, frame_id: FrameId, snapshot: Snapshot) -> None:
    payload = seal_frame(key, frame_id, snapshot.encode())
    assert SMALLEST_DATA_BYTES <= len(payload) <= LARGEST_DATA_BYTES
    assert data_frame_id(payload) == frame_id
    frame = open_frame(key, payload)
    assert (frame.frame_id, frame.snapshot, frame.plaintext) == (frame_id, snapshot, snapshot.encode())


@given(keys, frame_ids)
def test_ack_round_trip(key: bytes, frame_id: FrameId) -> None:
    payload = seal_ack(key, frame_id)
    assert len(payload) == ACK_BYTES
    assert open_ack(key, payload) == frame_id


@given(keys, frame_ids, snapshots, st.data())
def test_any_flipped_bit_is_refused(
    key: bytes, frame_id: FrameId, snapshot: Snapshot, data: st.DataObject
) -> None:
    payload = seal_frame(key, frame_id, snapshot.encode())
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    in_kind = bit >= 8 * (len(payload) - 1)
    expected = {Reason.UNKNOWN_KIND, Reason.OTHER_KIND} if in_kind else {Reason.BAD_TAG}
    assert refusal(key, flip(payload, bit)) in expected


@given(keys, frame_ids, st.integers(0, 8 * ACK_BYTES - 1))
def test_any_flipped_bit_of_an_ack_is_refused(key: bytes, frame_id: FrameId, bit: int) -> None:
    with pytest.raises(FrameError):
        open_ack(key, flip(seal_ack(key, frame_id), bit))


@given(keys, frame_ids, snapshots, st.data())
def test_any_truncation_is_refused_with_its_reason(
    key: bytes, frame_id: FrameId, snapshot: Snapshot, data: st.DataObject
) -> None:
    payload = seal_frame(key, frame_id, snapshot.encode())
    length = data.draw(st.integers(0, len(payload) - 1))
    looks_whole = length >= SMALLEST_DATA_BYTES and (length - SMALLEST_DATA_BYTES) % 4 == 0
    assert refusal(key, payload[:length]) is (Reason.BAD_TAG if looks_whole else Reason.TRUNCATED)


@given(keys, frame_ids, st.integers(0, ACK_BYTES - 1))
def test_any_truncation_of_an_ack_is_refused(key: bytes, frame_id: FrameId, length: int) -> None:
    with pytest.raises(FrameError) as caught:
        open_ack(key, seal_ack(key, frame_id)[:length])
    assert caught.value.reason is Reason.TRUNCATED


@given(keys, frame_ids, st.binary(min_size=LARGEST_DATA_BYTES - SMALLEST_DATA_BYTES + 6, max_size=255))
def test_overlong_is_refused(key: bytes, frame_id: FrameId, plaintext: bytes) -> None:
    assert refusal(key, seal_frame(key, frame_id, plaintext)) is Reason.OVERLONG


@given(keys, frame_ids, snapshots, u8)
def test_authentic_frame_with_a_false_composition(
    key: bytes, frame_id: FrameId, snapshot: Snapshot, composition: int
) -> None:
    plaintext = bytearray(snapshot.encode())
    true_composition = plaintext[1]
    plaintext[1] = composition
    payload = seal_frame(key, frame_id, bytes(plaintext))
    alternating_current, counters = composition >> 4, composition & 0xF
    if (
        12 * alternating_current + 4 * counters == len(plaintext) - 5
        and alternating_current <= 2
        and counters <= 12
    ):
        assert open_frame(key, payload).plaintext == plaintext
    else:
        assert composition != true_composition
        assert refusal(key, payload) is Reason.BAD_COMPOSITION


@given(st.binary(max_size=300))
def test_noise_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        open_frame(bytes(16), payload)
    with pytest.raises(FrameError):
        open_ack(bytes(16), payload)


def test_frames_of_the_other_kind_are_told_apart() -> None:
    frame_id = FrameId(1, 2, 3)
    assert refusal(bytes(16), seal_ack(bytes(16), frame_id)) is Reason.OTHER_KIND
    with pytest.raises(FrameError) as caught:
        open_ack(bytes(16), seal_frame(bytes(16), frame_id, Snapshot(Status(0), 0, 0, (), ()).encode()))
    assert caught.value.reason is Reason.OTHER_KIND


@pytest.mark.parametrize(
    "snapshot",
    [
        Snapshot(Status(0), 65536, 0, (), ()),
        Snapshot(Status(0), 0, 0, (), (2**32,)),
        Snapshot(Status(0), 0, 0, (), (0,) * 13),
        Snapshot(Status(0), 0, 0, (AlternatingCurrent(0, 0, 0, 2**31),), ()),
    ],
)
def test_what_does_not_fit_is_not_encoded(snapshot: Snapshot) -> None:
    with pytest.raises(ValueError, match=r"does not fit|at most"):
        snapshot.encode()


def test_an_identity_that_does_not_fit_is_not_sent() -> None:
    with pytest.raises(ValueError, match="does not fit a header"):
        FrameId(65536, 0, 0).header(Kind.DATA)
