"""Readings, blocks and fraud proofs: what they are, and their one encoding.

A block on the wire and in the store is the canonical CBOR array ``[signed, leaves]``:

``signed``
    byte string holding the array ``[header, signature]``; the block's hash is BLAKE2b-256 over it, so a
    header and its signature prove themselves without the readings.
``header``
    byte string holding the array ``[version, issuer, seq, prev, heads, root, count, frontier_root, sealed_ns,
    registry_epoch]``.
``leaves``
    one byte string per reading, holding the array of the fields of :class:`Reading`; ``root`` is the Merkle
    root over them (:mod:`ledger.merkle`), ``count`` their number.

The Ed25519 signature is over ``SIGNATURE_DOMAIN || network || header``. The network's id is not sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

from ledger import merkle
from ledger.encoding import MAX_I64, EncodingError, Value, array, decode, encode, integer, octets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nacl.signing import SigningKey

VERSION = 1
KEY_BYTES = 32
HASH_BYTES = 32
NETWORK_BYTES = 16
SIGNATURE_BYTES = crypto_sign_BYTES
SIGNATURE_DOMAIN = b"dag-ledger block v1\x00"

MAX_HEADS = 8
MAX_BATCH = 256
MAX_PLAINTEXT_BYTES = 228
"""A LoRa packet has at most 255 bytes; 11 of header and 16 of tag go off."""
MAX_READING_BYTES = 320
MAX_SIGNED_BYTES = 640
MAX_BLOCK_BYTES = 48 * 1024
MAX_SEQ = MAX_I64

NO_PREVIOUS = bytes(HASH_BYTES)
"""Stands for the previous block in the first block of an issuer."""

_BLOCK_PERSON = b"dag-ledger-block"
_FRAME_PERSON = b"dag-ledger-frame"


class BlockError(ValueError):
    """A block, reading or fraud proof that breaks a rule which can be checked on itself alone."""


def frame_hash(frame: bytes) -> bytes:
    """Return the hash by which a reading refers to the radio frame that brought it."""
    return hashlib.blake2b(frame, digest_size=HASH_BYTES, person=_FRAME_PERSON).digest()


@dataclass(frozen=True, slots=True)
class Reading:
    """One authenticated meter frame as its gateway understood it: one leaf of a batch."""

    uno_id: int
    boot_epoch: int
    counter: int
    received_ns: int
    rssi_cdbm: int
    plaintext: bytes
    frame_hash: bytes

    @property
    def key(self) -> tuple[int, int, int]:
        """What makes two readings the same one: meter, boot epoch, counter."""
        return (self.uno_id, self.boot_epoch, self.counter)

    def encode(self) -> bytes:
        """Return the canonical encoding. Raises BlockError when a field is out of range."""
        fields: list[Value] = [
            self.uno_id,
            self.boot_epoch,
            self.counter,
            self.received_ns,
            self.rssi_cdbm,
            self.plaintext,
            self.frame_hash,
        ]
        _reading_from(fields)
        return encode(fields)

    @classmethod
    def decode(cls, leaf: bytes) -> Reading:
        """Return the reading that a leaf encodes. Raises BlockError."""
        try:
            return _reading_from(decode(leaf, MAX_READING_BYTES))
        except EncodingError as error:
            raise BlockError(f"reading: {error}") from None


def _reading_from(value: Value) -> Reading:
    try:
        uno_id, boot_epoch, counter, received_ns, rssi_cdbm, plaintext, frame = array(value, "reading", 7)
        return Reading(
            integer(uno_id, "uno_id", 0, 0xFFFF),
            integer(boot_epoch, "boot_epoch", 0, 0xFFFF_FFFF),
            integer(counter, "counter", 0, 0xFFFF_FFFF),
            integer(received_ns, "received_ns", 0, MAX_I64),
            integer(rssi_cdbm, "rssi_cdbm", -32_768, 32_767),
            octets(plaintext, "plaintext", 0, MAX_PLAINTEXT_BYTES),
            octets(frame, "frame_hash", HASH_BYTES, HASH_BYTES),
        )
    except EncodingError as error:
        raise BlockError(f"reading: {error}") from None


@dataclass(frozen=True, slots=True)
class Header:
    """What a block's issuer signs. Times are what the issuer's clock said: they order nothing."""

    issuer: bytes
    seq: int
    prev: bytes
    heads: tuple[bytes, ...]
    root: bytes
    count: int
    frontier_root: bytes
    sealed_ns: int
    registry_epoch: int

    def encode(self) -> bytes:
        """Return the canonical encoding."""
        fields: list[Value] = [
            VERSION,
            self.issuer,
            self.seq,
            self.prev,
            list(self.heads),
            self.root,
            self.count,
            self.frontier_root,
            self.sealed_ns,
            self.registry_epoch,
        ]
        return encode(fields)

    @property
    def parents(self) -> tuple[bytes, ...]:
        """The hashes of all blocks that must be known before this one."""
        return self.heads if self.seq == 0 else (self.prev, *self.heads)


@dataclass(frozen=True)
class SignedHeader:
    """A header with its signature; its hash is the block's hash."""

    raw: bytes
    header: Header
    header_raw: bytes
    signature: bytes

    @cached_property
    def hash(self) -> bytes:
        """The hash of the block that this header belongs to."""
        return hashlib.blake2b(self.raw, digest_size=HASH_BYTES, person=_BLOCK_PERSON).digest()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Check the form of a signed header, not yet its signature. Raises BlockError."""
        try:
            header_value, signature_value = array(decode(raw, MAX_SIGNED_BYTES), "signed header", 2)
            header_raw = octets(header_value, "header", 1, MAX_SIGNED_BYTES)
            signature = octets(signature_value, "signature", SIGNATURE_BYTES, SIGNATURE_BYTES)
            header = _header_from(decode(header_raw, MAX_SIGNED_BYTES))
        except EncodingError as error:
            raise BlockError(str(error)) from None
        return cls(raw, header, header_raw, signature)

    def signature_holds(self, network: bytes) -> bool:
        """Tell whether the issuer signed this header in this network."""
        message = SIGNATURE_DOMAIN + network + self.header_raw
        try:
            crypto_sign_open(self.signature + message, self.header.issuer)
        except BadSignatureError:
            return False
        return True


def _header_from(value: Value) -> Header:
    version, issuer, seq, prev, heads, root, count, frontier_root, sealed_ns, registry_epoch = array(
        value, "header", 10
    )
    if version != VERSION:
        raise BlockError(f"block version {version!r} is not known here (this program knows {VERSION})")
    header = Header(
        octets(issuer, "issuer", KEY_BYTES, KEY_BYTES),
        integer(seq, "seq", 0, MAX_SEQ),
        octets(prev, "prev", HASH_BYTES, HASH_BYTES),
        tuple(
            octets(head, "head", HASH_BYTES, HASH_BYTES) for head in array(heads, "heads", at_most=MAX_HEADS)
        ),
        octets(root, "root", HASH_BYTES, HASH_BYTES),
        integer(count, "count", 0, MAX_BATCH),
        octets(frontier_root, "frontier_root", HASH_BYTES, HASH_BYTES),
        integer(sealed_ns, "sealed_ns", 0, MAX_I64),
        integer(registry_epoch, "registry_epoch", 0, MAX_I64),
    )
    if any(a >= b for a, b in zip(header.heads, header.heads[1:], strict=False)):
        raise BlockError("heads must be sorted and unique")
    if (header.seq == 0) != (header.prev == NO_PREVIOUS):
        raise BlockError("only the first block of an issuer has no previous block")
    if header.prev in header.heads:
        raise BlockError("a block's own previous block must not be among its heads")
    return header


@dataclass(frozen=True)
class Block:
    """A signed header with the batch of readings that it commits to."""

    raw: bytes
    signed: SignedHeader
    leaves: tuple[bytes, ...]

    @property
    def hash(self) -> bytes:
        """BLAKE2b-256 over the signed header."""
        return self.signed.hash

    @property
    def header(self) -> Header:
        """What the issuer signed."""
        return self.signed.header

    @property
    def issuer(self) -> bytes:
        """The issuer's Ed25519 public key."""
        return self.signed.header.issuer

    @property
    def seq(self) -> int:
        """The block's place in its issuer's chain, from 0."""
        return self.signed.header.seq

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """The batch. Raises BlockError when a leaf is malformed."""
        return tuple(Reading.decode(leaf) for leaf in self.leaves)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Check a block's form, but neither signature nor batch yet. Raises BlockError."""
        try:
            signed_value, leaves_value = array(decode(raw, MAX_BLOCK_BYTES), "block", 2)
            signed_raw = octets(signed_value, "signed header", 1, MAX_SIGNED_BYTES)
            leaves = tuple(
                octets(leaf, "leaf", 1, MAX_READING_BYTES)
                for leaf in array(leaves_value, "leaves", at_most=MAX_BATCH)
            )
        except EncodingError as error:
            raise BlockError(str(error)) from None
        return cls(raw, SignedHeader.decode(signed_raw), leaves)

    def check_batch(self) -> None:
        """Raise BlockError unless the readings are well formed, distinct, and those the header commits to."""
        if len(self.leaves) != self.header.count:
            raise BlockError(f"{len(self.leaves)} readings, but the header says {self.header.count}")
        if merkle.root(self.leaves) != self.header.root:
            raise BlockError("the readings do not have the Merkle root that the header says")
        if len({reading.key for reading in self.readings}) != len(self.readings):
            raise BlockError("the same reading stands twice in the batch")


def seal(
    signing_key: SigningKey,
    network: bytes,
    *,
    seq: int,
    prev: bytes,
    heads: Sequence[bytes],
    leaves: Sequence[bytes],
    frontier_root: bytes,
    sealed_ns: int,
    registry_epoch: int,
) -> Block:
    """Build and sign a block. Raises BlockError when it would break a rule, sizes included."""
    header = Header(
        bytes(signing_key.verify_key),
        seq,
        prev,
        tuple(sorted(heads)),
        merkle.root(leaves),
        len(leaves),
        frontier_root,
        sealed_ns,
        registry_epoch,
    )
    header_raw = header.encode()
    message = SIGNATURE_DOMAIN + network + header_raw
    signature = crypto_sign(message, signing_key.encode() + bytes(signing_key.verify_key))[:SIGNATURE_BYTES]
    raw = encode([encode([header_raw, signature]), list(leaves)])
    block = Block.decode(raw)
    block.check_batch()
    return block


@dataclass(frozen=True)
class FraudProof:
    """Two signed headers of one issuer with the same seq: proves by itself that the issuer wrote both."""

    first: SignedHeader
    second: SignedHeader

    @property
    def issuer(self) -> bytes:
        """Who signed twice."""
        return self.first.header.issuer

    @property
    def seq(self) -> int:
        """Where the chain forks, as far as this proof tells."""
        return self.first.header.seq

    @classmethod
    def of(cls, one: SignedHeader, other: SignedHeader) -> Self:
        """Return the proof that two different headers make. Raises BlockError when they make none."""
        if (one.header.issuer, one.header.seq) != (other.header.issuer, other.header.seq):
            raise BlockError("a fraud proof needs two headers of one issuer with the same seq")
        if one.hash == other.hash:
            raise BlockError("a fraud proof needs two different headers")
        return cls(*sorted((one, other), key=lambda signed: signed.hash))

    @classmethod
    def decode(cls, first: bytes, second: bytes) -> Self:
        """Check the form of a proof, not yet its signatures. Raises BlockError."""
        return cls.of(SignedHeader.decode(first), SignedHeader.decode(second))

    def holds(self, network: bytes) -> bool:
        """Tell whether both signatures are the issuer's in this network."""
        return self.first.signature_holds(network) and self.second.signature_holds(network)
