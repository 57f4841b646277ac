"""The keys of a rig: drawn from the seed on a virtual one, made anew on one that others could reach."""

import secrets
from typing import Protocol

from nacl.signing import SigningKey

from bench.world.streams import Stream
from ledger.block import NETWORK_BYTES
from ledger.registry import METER_KEY_BYTES


class Keyring(Protocol):
    """Every key of one trial. The same name gets the same key."""

    @property
    def network_id(self) -> bytes:
        """The network's id, which keeps signatures of different networks apart."""

    def meter_key(self, uno_id: int) -> bytes:
        """The Ascon-AEAD128 key that an Uno shares with its gateway."""

    def signing_key(self, issuer: str) -> SigningKey:
        """The Ed25519 key with which a gateway or server signs its blocks."""


class SeededKeys:
    """Keys of a virtual rig, all from its seed: they protect nothing outside a simulation, and repeat."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    @property
    def network_id(self) -> bytes:
        """The network's id."""
        return self._stream.child("network").octets(0, NETWORK_BYTES)

    def meter_key(self, uno_id: int) -> bytes:
        """The key of an Uno."""
        return self._stream.child("meter").octets(uno_id, METER_KEY_BYTES)

    def signing_key(self, issuer: str) -> SigningKey:
        """The key of an issuer."""
        return SigningKey(self._stream.child("issuer", issuer).octets(0, 32))


class FreshKeys:
    """Keys that nobody can know, for one trial of a rig of ports and hosts. They are kept in memory alone."""

    def __init__(self) -> None:
        self.network_id = secrets.token_bytes(NETWORK_BYTES)
        self._meters: dict[int, bytes] = {}
        self._issuers: dict[str, SigningKey] = {}

    def meter_key(self, uno_id: int) -> bytes:
        """The key of an Uno."""
        return self._meters.setdefault(uno_id, secrets.token_bytes(METER_KEY_BYTES))

    def signing_key(self, issuer: str) -> SigningKey:
        """The key of an issuer."""
        if issuer not in self._issuers:
            self._issuers[issuer] = SigningKey.generate()
        return self._issuers[issuer]
