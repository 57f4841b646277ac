"""Who a node is: its signing key and its registry, from files that others must not read."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from ledger.registry import Registry
from ledger.service.table import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES = 32
_KEY_TEXT = re.compile(rb"[0-9a-fA-F]{64}\s*")


def write_new_key(file: Path) -> bytes:
    """Make a signing key and write it to a new file that its owner alone may read; return the public key.

    Raises ConfigError; an existing file is left as it is.
    """
    key = SigningKey.generate()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key.encode().hex().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise ConfigError(
            f"{file}: is there already; a key is never overwritten: name another file, or move this one away"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; name a file in a folder that may be written") from None
    return bytes(key.verify_key)


def load_key(file: Path) -> SigningKey:
    """Read a signing key. Raises ConfigError, which never quotes the content."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            text = stream.read(2 * KEY_BYTES + 16)
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; it must be a key of `ledger keygen` that this user may read"
        ) from None
    if mode & 0o077:
        raise ConfigError(f"{file}: mode {mode:04o} lets others at the signing key; run `chmod 600 {file}`")
    if not _KEY_TEXT.fullmatch(text):
        raise ConfigError(
            f"{file}: is no signing key ({2 * KEY_BYTES} hexadecimal digits); make one with `ledger keygen`"
        )
    return SigningKey(bytes.fromhex(text.decode()))


def load_registry(file: Path, key: SigningKey) -> Registry:
    """Read a registry and check that the key may write under it. Raises RegistryError, ConfigError."""
    registry = Registry.load(file)
    if registry.meters and file.stat().st_mode & 0o007:
        raise ConfigError(f"{file}: everyone may read the meters' keys in it; run `chmod o= {file}`")
    public_key = bytes(key.verify_key)
    if not registry.may_issue(public_key):
        raise ConfigError(
            f"{file}: does not let the key {public_key.hex()} write in epoch {registry.epoch};"
            " enrol it, or use the key that is enrolled"
        )
    return registry
