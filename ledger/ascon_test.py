"""Ascon-AEAD128 against the published vectors, and against the standard's own wording of the permutation."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import ascon

PUBLISHED = json.loads((Path(__file__).parents[1] / "firmware/lib/vectors/ascon_aead128.json").read_text())

keys = st.binary(min_size=16, max_size=16)
texts = st.binary(max_size=70)


@pytest.mark.parametrize("vector", PUBLISHED["vectors"], ids=lambda vector: f"count-{vector['count']}")
def test_published_vector(vector: dict[str, Any]) -> None:
    key, nonce, sealed = map(bytes.fromhex, (PUBLISHED["key"], PUBLISHED["nonce"], vector["sealed"]))
    plaintext = bytes(range(vector["plaintext_bytes"]))
    associated_data = bytes(range(vector["associated_bytes"]))
    assert ascon.encrypt(key, nonce, associated_data, plaintext) == sealed
    assert ascon.decrypt(key, nonce, associated_data, sealed) == plaintext


SBOX = bytes.fromhex("040b1f141a1509021b0508121d03061c1e13070e000d1118100c0119160a0f17")
ROTATIONS = ((19, 28), (61, 39), (1, 6), (10, 17), (7, 41))


def plain_permutation(words: list[int], rounds: int) -> list[int]:
    """SP 800-232, section 3: the S-box as a table, column by column, rotations word by word."""
    for round_index in range(12 - rounds, 12):
        words[2] ^= (0xF - round_index) << 4 | round_index
        after = [0] * 5
        for column in range(64):
            value = 0
            for word in words:
                value = value << 1 | word >> column & 1
            value = SBOX[value]
            for lane in range(5):
                after[lane] |= (value >> (4 - lane) & 1) << column
        words = [
            word ^ (word >> a | word << 64 - a) % 2**64 ^ (word >> b | word << 64 - b) % 2**64
            for word, (a, b) in zip(after, ROTATIONS, strict=True)
        ]
    return words


def plain_encrypt(key: bytes, nonce: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    def words(data: bytes) -> list[int]:
        return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]

    def padded(data: bytes) -> list[bytes]:
        data = data + b"\x01"
        data += bytes(-len(data) % 16)
        return [data[at : at + 16] for at in range(0, len(data), 16)]

    state = plain_permutation([0x00001000808C0001, *words(key), *words(nonce)], 12)
    state[3:] = [state[3] ^ words(key)[0], state[4] ^ words(key)[1]]
    for block in padded(associated_data) if associated_data else ():
        state[:2] = [state[0] ^ words(block)[0], state[1] ^ words(block)[1]]
        state = plain_permutation(state, 8)
    state[4] ^= 1 << 63
    ciphertext = b""
    blocks = padded(plaintext)
    for index, block in enumerate(blocks):
        state[:2] = [state[0] ^ words(block)[0], state[1] ^ words(block)[1]]
        ciphertext += state[0].to_bytes(8, "little") + state[1].to_bytes(8, "little")
        if index < len(blocks) - 1:
            state = plain_permutation(state, 8)
    state[2:4] = [state[2] ^ words(key)[0], state[3] ^ words(key)[1]]
    state = plain_permutation(state, 12)
    tag = [state[3] ^ words(key)[0], state[4] ^ words(key)[1]]
    return ciphertext[: len(plaintext)] + b"".join(word.to_bytes(8, "little") for word in tag)


@given(keys, keys, texts, texts)
def test_agrees_with_the_standards_wording(
    key: bytes, nonce: bytes, associated_data: bytes, plaintext: bytes
) -> None:
    sealed = ascon.encrypt(key, nonce, associated_data, plaintext)
    assert sealed == plain_encrypt(key, nonce, associated_data, plaintext)
    assert ascon.decrypt(key, nonce, associated_data, sealed) == plaintext


@given(keys, keys, texts, texts, st.data())
def test_any_flipped_bit_is_refused(
    key: bytes, nonce: bytes, associated_data: bytes, plaintext: bytes, data: st.DataObject
) -> None:
    sealed = ascon.encrypt(key, nonce, associated_data, plaintext)
    parts = [key, nonce, associated_data, sealed]
    which = data.draw(st.sampled_from([index for index, part in enumerate(parts) if part]))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    number = int.from_bytes(parts[which], "little") ^ 1 << bit
    parts[which] = number.to_bytes(len(parts[which]), "little")
    with pytest.raises(ascon.AuthenticationError):
        ascon.decrypt(*parts)


@given(st.binary(max_size=15))
def test_too_short_for_a_tag(sealed: bytes) -> None:
    with pytest.raises(ascon.AuthenticationError, match="cannot hold a tag"):
        ascon.decrypt(bytes(16), bytes(16), b"", sealed)


@pytest.mark.parametrize(("key", "nonce", "named"), [(15, 16, "key"), (16, 17, "nonce")])
def test_wrong_length_names_the_part(key: int, nonce: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ascon.encrypt(bytes(key), bytes(nonce), b"", b"")
    with pytest.raises(ValueError, match=named):
        ascon.decrypt(bytes(key), bytes(nonce), b"", bytes(16))
