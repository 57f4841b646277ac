"""Who may write into the ledger: issuers by their public keys, and meters with their secret keys.

A registry is a file that the operator writes and carries to the nodes. It has an epoch that grows with each
version; a block says under which epoch it was sealed, and validity goes by that, never by time.
The meters' keys stay in the file of their gateway: :meth:`Registry.public_part` leaves them out, and only
that goes into a store.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ledger.block import KEY_BYTES, NETWORK_BYTES
from ledger.encoding import MAX_I64, EncodingError, Value, array, decode, encode, integer, octets, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

METER_KEY_BYTES = 16
MAX_NAME_CHARACTERS = 64
MAX_ISSUERS = 65_536
MAX_REGISTRY_BYTES = 16 * 1024 * 1024


class RegistryError(ValueError):
    """A registry, or its file, that cannot be used; the message names the entry and the mend."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A node that may write blocks under the registry epochs ``from_epoch <= epoch < until_epoch``."""

    name: str
    from_epoch: int = 0
    until_epoch: int | None = None

    def may_issue(self, epoch: int) -> bool:
        """Tell whether the issuer may write under this epoch."""
        return self.from_epoch <= epoch and (self.until_epoch is None or epoch < self.until_epoch)


@dataclass(frozen=True)
class Registry:
    """One version of the membership of one network.

    A revoked key can still back-date blocks to an epoch under which it was allowed to write, as long as they
    build on nothing newer.
    """

    network: bytes
    epoch: int
    issuers: Mapping[bytes, Issuer]
    meters: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.network) != NETWORK_BYTES:
            raise RegistryError(f"network id must have {NETWORK_BYTES} bytes, not {len(self.network)}")
        _require_epoch(self.epoch, "epoch")
        if len(self.issuers) > MAX_ISSUERS:
            raise RegistryError(f"{len(self.issuers)} issuers are more than the permitted {MAX_ISSUERS}")
        for public_key, issuer in self.issuers.items():
            _require_text(issuer.name)
            if len(public_key) != KEY_BYTES:
                raise RegistryError(f"issuer {issuer.name}: public key must have {KEY_BYTES} bytes")
            _require_epoch(issuer.from_epoch, f"issuer {issuer.name}: from_epoch")
            if issuer.until_epoch is not None:
                _require_epoch(issuer.until_epoch, f"issuer {issuer.name}: until_epoch")
            if len(issuer.name) > MAX_NAME_CHARACTERS:
                raise RegistryError(
                    f"issuer {issuer.name[:16]}...: name is over {MAX_NAME_CHARACTERS} characters"
                )
        for uno_id, key in self.meters.items():
            if not 0 <= uno_id <= 0xFFFF:
                raise RegistryError(f"meter {uno_id}: id must be 0..65535")
            if len(key) != METER_KEY_BYTES:
                raise RegistryError(f"meter {uno_id}: key must have {METER_KEY_BYTES} bytes, not {len(key)}")

    def may_issue(self, public_key: bytes, epoch: int | None = None) -> bool:
        """Tell whether a node may write blocks under an epoch, by default the present one."""
        issuer = self.issuers.get(public_key)
        return issuer is not None and issuer.may_issue(self.epoch if epoch is None else epoch)

    def meter_key(self, uno_id: int) -> bytes | None:
        """Return a meter's Ascon key, or None for a stranger."""
        return self.meters.get(uno_id)

    def issuer_name(self, public_key: bytes) -> str:
        """Return the issuer's name, or the start of the key of a stranger."""
        issuer = self.issuers.get(public_key)
        return issuer.name if issuer else public_key.hex()[:12]

    def public_part(self) -> bytes:
        """Return the canonical encoding of everything but the meters' keys."""
        issuers: list[Value] = [
            [public_key, issuer.name, issuer.from_epoch, issuer.until_epoch]
            for public_key, issuer in sorted(self.issuers.items())
        ]
        return encode([self.network, self.epoch, issuers])

    @classmethod
    def from_public_part(cls, raw: bytes) -> Registry:
        """Return the registry that :meth:`public_part` encoded; it knows no meters. Raises RegistryError."""
        try:
            network, epoch, entries = array(decode(raw, MAX_REGISTRY_BYTES), "registry", 3)
            issuers = []
            for entry in array(entries, "issuers", at_most=MAX_ISSUERS):
                public_key, name, from_epoch, until_epoch = array(entry, "issuer", 4)
                issuer = Issuer(
                    text(name, "name", MAX_NAME_CHARACTERS),
                    integer(from_epoch, "from_epoch", 0, MAX_I64),
                    None if until_epoch is None else integer(until_epoch, "until_epoch", 0, MAX_I64),
                )
                issuers.append((octets(public_key, "public key", KEY_BYTES, KEY_BYTES), issuer))
            return cls(
                octets(network, "network", NETWORK_BYTES, NETWORK_BYTES),
                integer(epoch, "epoch", 0, MAX_I64),
                _each_once(issuers),
            )
        except EncodingError as error:
            raise RegistryError(f"registry: {error}") from None

    def to_json(self) -> str:
        """Return the registry as JSON, with the meters' keys."""
        document = {
            "network": self.network.hex(),
            "epoch": self.epoch,
            "issuers": [
                {
                    "public_key": public_key.hex(),
                    "name": issuer.name,
                    "from_epoch": issuer.from_epoch,
                    "until_epoch": issuer.until_epoch,
                }
                for public_key, issuer in sorted(self.issuers.items())
            ],
            "meters": {str(uno_id): key.hex() for uno_id, key in sorted(self.meters.items())},
        }
        return json.dumps(document, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the registry as JSON, readable by its owner alone since it may hold meters' keys."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # A file that was there keeps its mode.
            os.fchmod(descriptor, 0o600)
            file.write(self.to_json())

    @classmethod
    def load(cls, path: Path) -> Registry:
        """Read a registry from JSON. Raises RegistryError naming the file and the entry."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
        except OSError as error:
            raise RegistryError(f"{path}: {error.strerror}; give the path of a registry file") from None
        except RegistryError as error:
            raise RegistryError(f"{path}: {error}") from None
        except ValueError as error:
            raise RegistryError(f"{path}: not a JSON file ({error})") from None
        try:
            return cls(
                bytes.fromhex(document["network"]),
                document["epoch"],
                _each_once(map(_entry, document["issuers"])),
                {_meter_id(uno_id): bytes.fromhex(key) for uno_id, key in document.get("meters", {}).items()},
            )
        except KeyError as error:
            raise RegistryError(f"{path}: entry {error} is missing") from None
        except (TypeError, AttributeError, ValueError) as error:
            raise RegistryError(f"{path}: {error}") from None


def _each_once(entries: Iterable[tuple[bytes, Issuer]]) -> dict[bytes, Issuer]:
    issuers: dict[bytes, Issuer] = {}
    for public_key, issuer in entries:
        if public_key in issuers:
            names = f"{issuers[public_key].name} and {issuer.name}"
            raise RegistryError(f"{public_key.hex()} is listed twice, as {names}; leave one entry")
        issuers[public_key] = issuer
    return issuers


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of the file; of a name that is there twice, JSON itself would keep the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise RegistryError(f"{name!r} is there twice; leave one")
        found[name] = value
    return found


def _entry(entry: dict[str, Any]) -> tuple[bytes, Issuer]:
    issuer = Issuer(entry["name"], entry.get("from_epoch", 0), entry.get("until_epoch"))
    return bytes.fromhex(entry["public_key"]), issuer


def _meter_id(digits: str) -> int:
    # One spelling for each meter, and none of those that int() takes besides: " 7", "+7", "0_7".
    if not (digits.isascii() and digits.isdigit() and str(int(digits)) == digits):
        raise RegistryError(f"meter {digits!r}: id must be 0..65535")
    return int(digits)


def _require_epoch(value: object, name: str) -> None:
    # JSON has numbers that Python compares with integers, and takes true for 1.
    if type(value) is not int or not 0 <= value <= MAX_I64:
        raise RegistryError(f"{name} must be an integer of 0..2^63-1, not {value!r}")


def _require_text(name: object) -> None:
    try:
        if type(name) is str:
            name.encode()
            return
    except UnicodeEncodeError:
        pass
    raise RegistryError(f"an issuer's name must be text, not {name!r}")
