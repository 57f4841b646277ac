"""Keys of a virtual rig, all from its seed: they protect nothing outside a simulation and are not stored."""

from nacl.signing import SigningKey

from bench.world.streams import Stream
from ledger.block import NETWORK_BYTES
from ledger.registry import METER_KEY_BYTES


def network_id(stream: Stream) -> bytes:
    """The network's id, which keeps signatures of different networks apart."""
    return stream.child("network").octets(0, NETWORK_BYTES)


def meter_key(stream: Stream, uno_id: int) -> bytes:
    """The Ascon-AEAD128 key that an Uno shares with its gateway."""
    return stream.child("meter").octets(uno_id, METER_KEY_BYTES)


def signing_key(stream: Stream, issuer: str) -> SigningKey:
    """The Ed25519 key with which a gateway or server signs its blocks."""
    return SigningKey(stream.child("issuer", issuer).octets(0, 32))
