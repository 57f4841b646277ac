import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from bench.pi.vpn.keys import (
    SecretKey,
    make_preshared_key,
    make_private_key,
    parse_key,
    preshared_key_at,
    private_key_at,
    write_private,
)
from bench.rig.infrastructure import InfrastructureError


def test_the_public_half_is_that_of_rfc_7748_section_6_1() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert SecretKey(alice).public.octets.hex() == public


@pytest.mark.skipif(shutil.which("wg") is None, reason="needs wg of the package wireguard-tools")
def test_wg_derives_the_same_public_key_and_takes_our_private_one() -> None:
    for _ in range(5):
        key = make_private_key()
        derived = subprocess.run(
            ["wg", "pubkey"], input=key.reveal(), capture_output=True, text=True, check=True
        ).stdout
        assert derived.strip() == str(key.public)
        assert parse_key(derived) == key.public.octets


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "server.key"
    before = os.umask(0)
    try:
        first = private_key_at(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert private_key_at(path) == first
    assert private_key_at(tmp_path / "another") != first
    assert list(path.parent.iterdir()) == [path]
    assert preshared_key_at(tmp_path / "shared") == preshared_key_at(tmp_path / "shared")


def test_keys_do_not_show_themselves() -> None:
    for key in (make_private_key(), make_preshared_key()):
        for shown in (repr(key), str(key), f"{key}"):
            assert key.reveal() not in shown
            assert repr(key.octets) not in shown


def test_a_file_that_others_may_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    key = private_key_at(path)
    path.chmod(0o640)
    with pytest.raises(InfrastructureError) as caught:
        private_key_at(path)
    assert "chmod 600" in str(caught.value)
    assert key.reveal() not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no key\n", b"AAAA\n", b"\xff" * 9000, b"A" * 43 + b"?"])
def test_a_file_that_holds_no_key_is_refused_with_the_mend(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.key"
    write_private(path, content)
    with pytest.raises(InfrastructureError, match="delete it"):
        private_key_at(path)


@given(st.text(min_size=12).filter(lambda text: len(text.strip()) != 44))
def test_what_is_no_key_is_a_value_error_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(ValueError, match="a WireGuard key") as caught:
        parse_key(text)
    assert text not in str(caught.value)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_its_text(octets: bytes) -> None:
    assert parse_key(SecretKey(octets).reveal()) == octets
    assert SecretKey(octets).public.octets == bytes(PrivateKey(octets).public_key)
