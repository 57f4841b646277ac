"""What goes into the ledger's state machines.

Gateway and node do no input or output of their own. A runner (the virtual world, a daemon, a test) turns
whatever happens outside into one of these messages and calls ``handle(message, now_ns)``; what must happen
next comes back as effects (:mod:`ledger.effects`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; the answer to an earlier ``WakeAt``. An early, late or spare tick does no harm."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A link to a peer has come up, for the first time or again."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The link to a peer is gone; what was under way on it may or may not have arrived."""

    peer: str


@dataclass(frozen=True, slots=True)
class FromPeer:
    """One whole message from a peer, as its ``SendToPeer`` gave it. The content is not trusted."""

    peer: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """One radio packet that passed the chip's CRC. ``rssi_cdbm`` and ``snr_cdb`` are in 0.01 dB(m)."""

    payload: bytes
    rssi_cdbm: int
    snr_cdb: int


NodeMessage = Tick | PeerUp | PeerDown | FromPeer
"""What :class:`ledger.node.Node` handles."""

Message = NodeMessage | FrameReceived
"""What :class:`ledger.gateway.gateway.Gateway` handles: its own messages and those of its node."""
