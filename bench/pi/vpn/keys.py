"""WireGuard's keys, made as part of provisioning.

A private key is a Curve25519 scalar (RFC 7748), written as WireGuard writes it: base64 of 32 octets
(``wg(8)``). Keys rest in files that only their owner can read, and never stand in an argument list or a log.
"""

import base64
import binascii
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nacl.public import PrivateKey
from nacl.utils import random

from bench.rig.infrastructure import InfrastructureError

KEY_OCTETS = 32
MAX_FILE_OCTETS = 4096


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a pair, or what names a peer."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != KEY_OCTETS:
            raise ValueError(f"a WireGuard key has {KEY_OCTETS} octets, found {len(self.octets)}")

    def __str__(self) -> str:
        """The key as WireGuard writes it."""
        return base64.b64encode(self.octets).decode()


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A private or a preshared key; neither `repr` nor `str` shows it."""

    octets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.octets) != KEY_OCTETS:
            raise ValueError(f"a WireGuard key has {KEY_OCTETS} octets, found {len(self.octets)}")

    def reveal(self) -> str:
        """The key as WireGuard writes it, for a configuration file and nothing else."""
        return base64.b64encode(self.octets).decode()

    @property
    def public(self) -> PublicKey:
        """The public half, when this is a private key."""
        return PublicKey(bytes(PrivateKey(self.octets).public_key))


def parse_key(text: str) -> bytes:
    """The octets of a key in base64; ValueError if it is none. The message does not repeat the text."""
    try:
        octets = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a WireGuard key is base64 of 32 octets, found something else") from None
    if len(octets) != KEY_OCTETS:
        raise ValueError(f"a WireGuard key has {KEY_OCTETS} octets, found {len(octets)}")
    return octets


def make_private_key() -> SecretKey:
    """A new private key from the operating system's randomness."""
    return SecretKey(bytes(PrivateKey.generate()))


def make_preshared_key() -> SecretKey:
    """A new key for two peers to share beside their pairs."""
    return SecretKey(random(KEY_OCTETS))


def private_key_at(path: Path) -> SecretKey:
    """The private key in this file; a new one is made and written there if there is no such file."""
    return _key_at(path, make_private_key)


def preshared_key_at(path: Path) -> SecretKey:
    """The preshared key in this file; a new one is made and written there if there is no such file."""
    return _key_at(path, make_preshared_key)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, at no moment more open than that, whole or not at all."""
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        passing.replace(path)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise


def _key_at(path: Path, make: Callable[[], SecretKey]) -> SecretKey:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = make()
        write_private(path, key.reveal().encode() + b"\n")
        return key
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InfrastructureError(
            f"key file {path}",
            f"others may read it (mode {mode:04o})",
            f"run: chmod 600 {path}, or delete it",
        )
    try:
        with path.open("rb") as file:
            return SecretKey(parse_key(file.read(MAX_FILE_OCTETS).decode("ascii", errors="replace")))
    except ValueError as error:
        raise InfrastructureError(
            f"key file {path}", str(error), "delete it, and a new key is made at the next start"
        ) from None
