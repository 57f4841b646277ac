from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey

from ledger import merkle
from ledger.block import (
    MAX_BLOCK_BYTES,
    MAX_PLAINTEXT_BYTES,
    NO_PREVIOUS,
    Block,
    BlockError,
    FraudProof,
    Reading,
    SignedHeader,
    frame_hash,
    seal,
)

NETWORK = b"test network 16B"
KEY = SigningKey(bytes(range(32)))
READING = Reading(0x1234, 7, 70_000, 1_700_000_000_123_456_789, -10_150, b"\x01\x04plain", bytes(range(32)))

READINGS = st.builds(
    Reading,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 2**63 - 1),
    st.integers(-32_768, 32_767),
    st.binary(max_size=MAX_PLAINTEXT_BYTES),
    st.binary(min_size=32, max_size=32),
)


def sealed(**changes: Any) -> Block:
    arguments: dict[str, Any] = {
        "seq": 0,
        "prev": NO_PREVIOUS,
        "heads": (),
        "leaves": [READING.encode()],
        "frontier_root": bytes(32),
        "sealed_ns": 5,
        "registry_epoch": 3,
    }
    return seal(KEY, NETWORK, **(arguments | changes))


def cbor_bytes(data: bytes) -> bytes:
    """A byte string by RFC 8949, section 3.1, written out here to be independent of any library."""
    if len(data) < 24:
        return bytes([0x40 + len(data)]) + data
    if len(data) < 256:
        return bytes([0x58, len(data)]) + data
    return b"\x59" + len(data).to_bytes(2, "big") + data


def test_golden_reading() -> None:
    received = (1_700_000_000_123_456_789).to_bytes(8, "big").hex()
    expected = (
        f"87 191234 07 1a00011170 1b{received} 3927a5 47 0104706c61696e 5820"
        " 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    )
    assert READING.encode() == bytes.fromhex(expected)


def test_golden_block() -> None:
    head = b"\x22" * 32
    block = sealed(seq=300, prev=b"\x11" * 32, heads=[head], sealed_ns=1_000)
    leaf = READING.encode()
    header = b"".join(
        [
            b"\x8a\x01",
            cbor_bytes(bytes(KEY.verify_key)),
            b"\x19\x01\x2c",
            cbor_bytes(b"\x11" * 32),
            b"\x81" + cbor_bytes(head),
            cbor_bytes(hashlib.blake2b(b"\x00" + leaf, digest_size=32).digest()),
            b"\x01",
            cbor_bytes(bytes(32)),
            b"\x19\x03\xe8",
            b"\x03",
        ]
    )
    signature = KEY.sign(b"dag-ledger block v1\x00" + NETWORK + header).signature
    signed = b"\x82" + cbor_bytes(header) + cbor_bytes(signature)
    assert block.raw == b"\x82" + cbor_bytes(signed) + b"\x81" + cbor_bytes(leaf)
    assert block.hash == hashlib.blake2b(signed, digest_size=32, person=b"dag-ledger-block").digest()
    # Pinned, so that a change of the format cannot go unnoticed: every older ledger would become unreadable.
    assert block.hash.hex() == "1aeb143dfc260a2536e55e9264f6be26ee39572a5d02329cc88d4c700dc108c6"


def test_signature_is_plain_ed25519_over_domain_network_and_header() -> None:
    signed = sealed().signed
    VerifyKey(signed.header.issuer).verify(
        b"dag-ledger block v1\x00" + NETWORK + signed.header_raw, signed.signature
    )
    assert signed.signature_holds(NETWORK)
    assert not signed.signature_holds(b"other network 16")


@given(READINGS)
def test_reading_round_trip(reading: Reading) -> None:
    assert Reading.decode(reading.encode()) == reading


@given(st.lists(READINGS, max_size=20, unique_by=lambda reading: reading.key), st.integers(1, 2**63 - 1))
@settings(deadline=None)
def test_block_round_trip(readings: list[Reading], seq: int) -> None:
    block = sealed(leaves=[reading.encode() for reading in readings], seq=seq, prev=b"\x01" * 32)
    again = Block.decode(block.raw)
    assert again == block
    assert list(again.readings) == readings
    assert again.signed.signature_holds(NETWORK)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_every_flipped_bit_is_noticed(data: st.DataObject) -> None:
    block = sealed(leaves=[leaf_of(number) for number in range(3)])
    place = data.draw(st.integers(0, len(block.raw) * 8 - 1))
    raw = bytearray(block.raw)
    raw[place // 8] ^= 1 << place % 8
    try:
        altered = Block.decode(bytes(raw))
        altered.check_batch()
    except BlockError:
        return
    assert not altered.signed.signature_holds(NETWORK)


def leaf_of(counter: int) -> bytes:
    return Reading(1, 1, counter, 5, -9000, b"plain", frame_hash(b"%d" % counter)).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq": 1}, "only the first block"),
        ({"prev": b"\x01" * 32}, "only the first block"),
        ({"heads": [b"\x01" * 32] * 2}, "sorted and unique"),
        ({"heads": [bytes([n]) * 32 for n in range(1, 10)]}, "at most 8"),
        ({"seq": 1, "prev": b"\x01" * 32, "heads": [b"\x01" * 32]}, "own previous"),
        ({"leaves": [leaf_of(1)] * 2}, "twice"),
        ({"leaves": [leaf_of(n) for n in range(257)]}, "at most 256"),
        ({"leaves": [b"\x00"]}, "reading"),
        ({"sealed_ns": -1}, "sealed_ns"),
        ({"frontier_root": b"short"}, "frontier_root"),
        ({"registry_epoch": 2**63}, "registry_epoch"),
    ],
)
def test_rules_that_a_block_shows_by_itself(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BlockError, match=message):
        sealed(**changes)


def test_sizes_are_bounded() -> None:
    big = [Reading(1, 1, n, 0, 0, bytes(228), bytes(32)).encode() for n in range(200)]
    with pytest.raises(BlockError, match=str(MAX_BLOCK_BYTES)):
        sealed(leaves=big)
    with pytest.raises(BlockError, match="plaintext"):
        Reading(1, 1, 1, 0, 0, bytes(229), bytes(32)).encode()
    with pytest.raises(BlockError, match="uno_id"):
        Reading(65_536, 1, 1, 0, 0, b"", bytes(32)).encode()


def test_inclusion_of_a_reading_is_proven_by_the_signed_header() -> None:
    leaves = [leaf_of(number) for number in range(5)]
    block = sealed(leaves=leaves)
    header = SignedHeader.decode(block.signed.raw).header
    proof = merkle.inclusion_proof(leaves, 3)
    assert merkle.includes(header.root, leaves[3], 3, header.count, proof)


def test_fraud_proofs() -> None:
    one, other = sealed(sealed_ns=1).signed, sealed(sealed_ns=2).signed
    proof = FraudProof.of(one, other)
    assert proof == FraudProof.of(other, one) == FraudProof.decode(other.raw, one.raw)
    assert proof.holds(NETWORK)
    assert not proof.holds(b"other network 16")
    assert (proof.issuer, proof.seq) == (bytes(KEY.verify_key), 0)
    with pytest.raises(BlockError, match="different headers"):
        FraudProof.of(one, one)
    with pytest.raises(BlockError, match="same seq"):
        FraudProof.of(one, sealed(seq=1, prev=one.hash).signed)
