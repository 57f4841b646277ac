from __future__ import annotations

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.encoding import (
    MAX_DEPTH,
    MAX_U64,
    EncodingError,
    Value,
    array,
    decode,
    encode,
    integer,
    octets,
    text,
)

LEAVES = st.one_of(
    st.integers(-(2**64), MAX_U64),
    st.binary(max_size=40),
    st.text(max_size=20).filter(str.isascii),
    st.none(),
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=12
)


# RFC 8949, appendix A, the examples within what is permitted here.
RFC_8949 = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (1000, "1903e8"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-1000, "3903e7"),
    (None, "f6"),
    (b"", "40"),
    (bytes.fromhex("01020304"), "4401020304"),
    ("IETF", "6449455446"),
    ([], "80"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
]


@pytest.mark.parametrize(("value", "encoded"), RFC_8949)
def test_examples_of_rfc_8949(value: Value, encoded: str) -> None:
    assert encode(value).hex() == encoded
    assert decode(bytes.fromhex(encoded), 100) == value


@given(VALUES)
def test_round_trip(value: Value) -> None:
    raw = encode(value)
    assert decode(raw, len(raw)) == value
    with pytest.raises(EncodingError, match="more than the permitted"):
        decode(raw, len(raw) - 1)


@given(st.binary(max_size=60))
@example(b"\x18\x01")  # 1 in two bytes
@example(b"\x58\x01a")  # a byte string's length in two bytes
@example(b"\x00\x00")  # something behind the value
@example(b"")
@example(b"\x9f\x01\xff")  # indefinite length
@example(b"\x5f\x41a\xff")
@example(b"\xc2\x49\x01" + bytes(8))  # a bignum
@example(b"\xd9\x01\x02\x80")  # a set
@example(b"\xd8\x1c\x81\xd8\x1d\x00")  # an array that holds itself
@example(b"\xc5\x82\x1a\x7f\xff\xff\xff\x03")  # 3 * 2^2147483647
@example(b"\xda\x00\x12\x34\x56\x00")  # an unknown tag
@example(b"\xa1\x01\x02")  # a map
@example(b"\x81" * (MAX_DEPTH + 1) + b"\x00")
@example(b"\x9b" + b"\xff" * 8)  # an array of 2^64 - 1 items
@example(b"\x61\xff")  # not UTF-8
def test_decode_returns_what_encodes_to_the_same_bytes_or_refuses(data: bytes) -> None:
    try:
        value = decode(data, 100)
    except EncodingError:
        return
    assert encode(value) == data
    assert not isinstance(value, dict | cbor2.CBORTag)


def test_readers_name_the_field() -> None:
    assert array([1, 2], "pair", 2) == [1, 2]
    assert integer(5, "seq", 0, 5) == 5
    assert octets(b"ab", "key", 2, 2) == b"ab"
    assert text("ab", "name", 2) == "ab"
    for refused in (
        lambda: array(1, "field"),
        lambda: array([1], "field", 2),
        lambda: array([1, 2], "field", at_most=1),
        lambda: integer(6, "field", 0, 5),
        lambda: integer(True, "field", 0, 5),
        lambda: integer(None, "field", 0, 5),
        lambda: octets("ab", "field", 0, 5),
        lambda: octets(b"ab", "field", 3, 5),
        lambda: text(b"ab", "field", 5),
        lambda: text("abc", "field", 2),
    ):
        with pytest.raises(EncodingError, match=r"^field must"):
            refused()
