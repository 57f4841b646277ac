"""What comes out of the ledger's state machines: what to do, what happened, what was paid for.

A runner carries out :class:`SendToPeer`, :class:`Transmit` and :class:`WakeAt`; it counts, traces or charges
the others. Whatever an effect tells about was durable in the store before the effect was returned.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Operation(enum.StrEnum):
    """What costs time on a gateway or server. ``Spent.count`` counts the unit given for each."""

    ASCON_OPEN = "ascon_open"
    """one frame opened (authenticated and decrypted), or found false"""
    ASCON_TAG = "ascon_tag"
    """one acknowledgement tag computed"""
    ED25519_SIGN = "ed25519_sign"
    """one signature made"""
    ED25519_VERIFY = "ed25519_verify"
    """one signature checked"""
    BLAKE2B = "blake2b"
    """128 bytes hashed, or the last part of them: a call on n bytes counts max(1, ceil(n / 128))"""
    COMMIT = "commit"
    """one durable transaction of the store"""
    RADIO_READ = "radio_read"
    """one byte read over SPI"""
    RADIO_WRITE = "radio_write"
    """one byte written over SPI"""
    BLOCK_ENCODE = "block_encode"
    """one byte of block encoded"""
    BLOCK_DECODE = "block_decode"
    """one byte of block decoded and checked to be canonical"""


@dataclass(frozen=True, slots=True)
class SendToPeer:
    """Send one message to a peer. It may be lost: the sender will offer again."""

    peer: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send one packet by radio, as soon as the radio is free."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Give a ``Tick`` at this time. A later ``WakeAt`` of the same machine replaces an earlier one."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A costed operation was carried out ``count`` times (for the unit see :class:`Operation`)."""

    operation: Operation
    count: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Input was refused, and nothing valid was lost by it. ``reason`` is one word to count by."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReadingStored:
    """A reading is durable at this gateway; ``repeat`` when it already was, by an identical frame."""

    uno_id: int
    boot_epoch: int
    counter: int
    repeat: bool


@dataclass(frozen=True, slots=True)
class BlockStored:
    """A block has entered this node's DAG, its own or a peer's, with this many readings."""

    block_hash: bytes
    issuer: bytes
    seq: int
    readings: int
    own: bool


@dataclass(frozen=True, slots=True)
class IssuerFrozen:
    """Two valid signatures on one (issuer, seq) exist: what the issuer wrote from there on does not count."""

    issuer: bytes
    seq: int


NodeEffect = SendToPeer | WakeAt | Spent | Rejected | BlockStored | IssuerFrozen
"""What :class:`ledger.node.Node` returns."""

Effect = NodeEffect | Transmit | ReadingStored
"""What :class:`ledger.gateway.gateway.Gateway` returns: its own effects and those of its node."""
