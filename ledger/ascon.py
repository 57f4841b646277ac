"""Ascon-AEAD128, the authenticated cipher of the radio frames (NIST SP 800-232, August 2025).

Keys, nonces and tags are 16 bytes; words are little-endian, as in the final standard.

The permutation is the whole cost, and in Python every operation costs about the same however wide its
integers are. Two rewritings follow from that:

- The five-bit S-box is evaluated from its algebraic normal form with shared terms: 18 operations. Its
  constant complement of word 2 passes unchanged through the linear layer (three complements cancel to
  one), so it is folded into the next round constant.
- A rotation within 64 bits needs two shifts, an or and a mask. Each word is instead repeated several times
  side by side in one long integer, and a plain right shift rotates every copy but the topmost. A round
  spoils at most 61 bits at the top (the largest rotation), so the copies last for a group of rounds, and
  only then is the lowest one cut out and repeated afresh.

Python integers give no constant-time guarantee; the tag comparison is constant-time all the same.
"""

import hmac
from typing import Final

KEY_BYTES: Final = 16
NONCE_BYTES: Final = 16
TAG_BYTES: Final = 16
RATE_BYTES: Final = 16

_WORD: Final = (1 << 64) - 1
_INITIAL_WORD: Final = 0x00001000808C0001  # the IV of Ascon-AEAD128
_DOMAIN_BIT: Final = 1 << 63

_LARGEST_ROTATION: Final = 61
_ROUNDS_PER_GROUP: Final = 6
_COPIES: Final = -(-(64 + _LARGEST_ROTATION * _ROUNDS_PER_GROUP) // 64)
_REPEAT: Final = sum(1 << 64 * copy for copy in range(_COPIES))
_CONSTANTS: Final = (0xF0, 0xE1, 0xD2, 0xC3, 0xB4, 0xA5, 0x96, 0x87, 0x78, 0x69, 0x5A, 0x4B)

_Groups = tuple[tuple[int, ...], ...]
_State = tuple[int, int, int, int, int]


class AuthenticationError(ValueError):
    """The tag does not belong to this key, nonce, associated data and ciphertext."""


def _groups(rounds: int, per_group: int) -> _Groups:
    """Round constants for `permute`: repeated in every copy, with the S-box complement folded in."""
    constants = [
        (constant if index == 0 else constant ^ _WORD) * _REPEAT
        for index, constant in enumerate(_CONSTANTS[-rounds:])
    ]
    return tuple(tuple(constants[at : at + per_group]) for at in range(0, rounds, per_group))


_TWELVE_ROUNDS: Final = _groups(12, 6)
_EIGHT_ROUNDS: Final = _groups(8, 4)


def _permute(x0: int, x1: int, x2: int, x3: int, x4: int, groups: _Groups) -> _State:
    """Ascon-p over five 64-bit words."""
    repeat = _REPEAT
    word = _WORD
    for group in groups:
        x0 *= repeat
        x1 *= repeat
        x2 *= repeat
        x3 *= repeat
        x4 *= repeat
        for constant in group:
            x2 ^= constant
            s = x0 ^ x4
            t = x1 ^ x2
            u = x3 ^ x4
            y0 = (x1 | (s ^ x2)) ^ u
            y1 = (t | x3) ^ (x1 & x2) ^ s
            x2 = (x3 | x4) ^ x3 ^ t
            y3 = (u | x0) ^ t
            x4 = (x1 | s) ^ x0 ^ x3
            x0 = y0 ^ y0 >> 19 ^ y0 >> 28
            x1 = y1 ^ y1 >> 61 ^ y1 >> 39
            x2 ^= x2 >> 1 ^ x2 >> 6
            x3 = y3 ^ y3 >> 10 ^ y3 >> 17
            x4 ^= x4 >> 7 ^ x4 >> 41
        x0 &= word
        x1 &= word
        x2 &= word
        x3 &= word
        x4 &= word
    return x0, x1, x2 ^ word, x3, x4


def _check_lengths(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError(f"an Ascon-AEAD128 key has {KEY_BYTES} bytes, this one has {len(key)}")
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"an Ascon-AEAD128 nonce has {NONCE_BYTES} bytes, this one has {len(nonce)}")


def _start(key0: int, key1: int, nonce: bytes, associated_data: bytes) -> _State:
    """Initialisation and the associated data (SP 800-232, algorithm 3, steps 1 and 2)."""
    nonce_words = int.from_bytes(nonce, "little")
    x0, x1, x2, x3, x4 = _permute(
        _INITIAL_WORD, key0, key1, nonce_words & _WORD, nonce_words >> 64, _TWELVE_ROUNDS
    )
    x3 ^= key0
    x4 ^= key1
    if associated_data:
        whole = len(associated_data) // RATE_BYTES * RATE_BYTES
        for at in range(0, whole, RATE_BYTES):
            block = int.from_bytes(associated_data[at : at + RATE_BYTES], "little")
            x0, x1, x2, x3, x4 = _permute(x0 ^ block & _WORD, x1 ^ block >> 64, x2, x3, x4, _EIGHT_ROUNDS)
        block = int.from_bytes(associated_data[whole:] + b"\x01", "little")
        x0, x1, x2, x3, x4 = _permute(x0 ^ block & _WORD, x1 ^ block >> 64, x2, x3, x4, _EIGHT_ROUNDS)
    return x0, x1, x2, x3, x4 ^ _DOMAIN_BIT


def _finish(key0: int, key1: int, x0: int, x1: int, x2: int, x3: int, x4: int) -> bytes:
    """The tag (SP 800-232, algorithm 3, step 4)."""
    _, _, _, x3, x4 = _permute(x0, x1, x2 ^ key0, x3 ^ key1, x4, _TWELVE_ROUNDS)
    return ((x4 ^ key1) << 64 | x3 ^ key0).to_bytes(TAG_BYTES, "little")


def encrypt(key: bytes, nonce: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    """Encrypts and authenticates: ciphertext (as long as the plaintext), then the 16-byte tag.

    A nonce must never be used twice with one key for different content. Raises ValueError when the key or
    nonce is not 16 bytes long.
    """
    _check_lengths(key, nonce)
    key_words = int.from_bytes(key, "little")
    key0 = key_words & _WORD
    key1 = key_words >> 64
    x0, x1, x2, x3, x4 = _start(key0, key1, nonce, associated_data)
    ciphertext = bytearray()
    whole = len(plaintext) // RATE_BYTES * RATE_BYTES
    for at in range(0, whole, RATE_BYTES):
        block = int.from_bytes(plaintext[at : at + RATE_BYTES], "little")
        x0 ^= block & _WORD
        x1 ^= block >> 64
        ciphertext += (x1 << 64 | x0).to_bytes(RATE_BYTES, "little")
        x0, x1, x2, x3, x4 = _permute(x0, x1, x2, x3, x4, _EIGHT_ROUNDS)
    rest = len(plaintext) - whole
    block = int.from_bytes(plaintext[whole:] + b"\x01", "little")
    x0 ^= block & _WORD
    x1 ^= block >> 64
    ciphertext += (x1 << 64 | x0).to_bytes(RATE_BYTES, "little")[:rest]
    return bytes(ciphertext) + _finish(key0, key1, x0, x1, x2, x3, x4)


def decrypt(key: bytes, nonce: bytes, associated_data: bytes, sealed: bytes) -> bytes:
    """Verifies and decrypts what `encrypt` returned; nothing of the plaintext leaves before the tag holds.

    Raises AuthenticationError when the tag is wrong or missing, ValueError when the key or nonce is not
    16 bytes long.
    """
    _check_lengths(key, nonce)
    length = len(sealed) - TAG_BYTES
    if length < 0:
        raise AuthenticationError(f"{len(sealed)} bytes cannot hold a tag of {TAG_BYTES} bytes")
    key_words = int.from_bytes(key, "little")
    key0 = key_words & _WORD
    key1 = key_words >> 64
    x0, x1, x2, x3, x4 = _start(key0, key1, nonce, associated_data)
    plaintext = bytearray()
    whole = length // RATE_BYTES * RATE_BYTES
    for at in range(0, whole, RATE_BYTES):
        block = int.from_bytes(sealed[at : at + RATE_BYTES], "little")
        plaintext += (block ^ (x1 << 64 | x0)).to_bytes(RATE_BYTES, "little")
        x0, x1, x2, x3, x4 = _permute(block & _WORD, block >> 64, x2, x3, x4, _EIGHT_ROUNDS)
    rest = length - whole
    keystream = x1 << 64 | x0
    held = (1 << 8 * rest) - 1
    last = (int.from_bytes(sealed[whole:length], "little") ^ keystream) & held
    plaintext += last.to_bytes(rest, "little")
    keystream ^= last | 1 << 8 * rest
    tag = _finish(key0, key1, keystream & _WORD, keystream >> 64, x2, x3, x4)
    if not hmac.compare_digest(tag, sealed[length:]):
        raise AuthenticationError("the tag does not match the key, nonce, associated data and ciphertext")
    return bytes(plaintext)
