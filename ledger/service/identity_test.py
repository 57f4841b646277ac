from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from ledger.registry import Issuer, Registry
from ledger.service.identity import load_key, load_registry, write_new_key
from ledger.service.table import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_key_is_its_owners_alone_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "east.key"
    earlier = os.umask(0)
    try:
        public_key = write_new_key(file)
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert bytes(load_key(file).verify_key) == public_key
    assert re.fullmatch(r"[0-9a-f]{64}\n", file.read_text())


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "east.key"
    write_new_key(file)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=r"east\.key: is there already; a key is never overwritten"):
        write_new_key(file)
    assert file.read_bytes() == before
    with pytest.raises(ConfigError, match="No such file or directory; name a file in a folder"):
        write_new_key(tmp_path / "none" / "east.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "east.key"
    write_new_key(file)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o} lets others .* `chmod 600 "):
        load_key(file)


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 32 + "\nmore"])
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "east.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="is no signing key") as raised:
        load_key(file)
    assert "abab" not in str(raised.value)
    with pytest.raises(ConfigError, match="No such file"):
        load_key(tmp_path / "none.key")


def test_a_registry_must_know_the_key_and_keep_the_meters_secrets(tmp_path: Path) -> None:
    key, file = SigningKey(bytes(32)), tmp_path / "registry.json"
    registry = Registry(bytes(16), 3, {bytes(key.verify_key): Issuer("east")}, {1: bytes(16)})
    registry.save(file)
    assert load_registry(file, key) == registry
    with pytest.raises(ConfigError, match=r"does not let the key [0-9a-f]{64} write in epoch 3; enrol it"):
        load_registry(file, SigningKey(bytes(31) + b"\x01"))
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="everyone may read the meters' keys"):
        load_registry(file, key)
    Registry(bytes(16), 3, registry.issuers).save(file)
    file.chmod(0o644)
    assert load_registry(file, key).meters == {}
