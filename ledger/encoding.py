"""Deterministic CBOR (RFC 8949, section 4.2.1), cut down to what the ledger needs.

Values are integers below 2^64 in size, byte strings, text and arrays of these. There are no maps, tags,
floats or indefinite lengths, so one value has one encoding: :func:`decode` refuses any other spelling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import cbor2

if TYPE_CHECKING:
    from collections.abc import Sequence

Value = int | bytes | str | None | list["Value"]

MAX_U64 = 2**64 - 1
MAX_I64 = 2**63 - 1
MAX_DEPTH = 8


class EncodingError(ValueError):
    """Bytes that are not the one canonical encoding of a permitted value."""


def _refuse_tag(*_: object) -> NoReturn:
    raise EncodingError("tags are not permitted")


def _refuse_map(*_: object) -> NoReturn:
    raise EncodingError("maps are not permitted")


# Every tag that cbor2 gives a meaning to: some of these cost unbounded work or memory to construct.
_REFUSED_TAGS = dict.fromkeys(
    (*range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse_tag
)


def encode(value: Value | Sequence[Value]) -> bytes:
    """Return the canonical encoding of a value."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, limit_bytes: int) -> Value:
    """Return the value that ``data`` encodes.

    Raises EncodingError when it is longer than the limit, or not canonical.
    """
    if len(data) > limit_bytes:
        raise EncodingError(f"{len(data)} bytes are more than the permitted {limit_bytes}")
    try:
        value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            semantic_decoders=_REFUSED_TAGS,
            tag_hook=_refuse_tag,
            object_hook=_refuse_map,
        )
        canonical = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise EncodingError(f"not canonical CBOR: {error}") from None
    if canonical != data:
        raise EncodingError("not canonical CBOR: encoded again, it gives other bytes")
    return value  # type: ignore[no-any-return]  # each field's type is checked by the readers below


def array(value: Value, name: str, count: int | None = None, at_most: int | None = None) -> list[Value]:
    """Return the value if it is an array of ``count`` or ``at_most`` items, else raise EncodingError."""
    if type(value) is not list:
        raise EncodingError(f"{name} must be an array")
    if count is not None and len(value) != count:
        raise EncodingError(f"{name} must have {count} items, not {len(value)}")
    if at_most is not None and len(value) > at_most:
        raise EncodingError(f"{name} must have at most {at_most} items, not {len(value)}")
    return value


def integer(value: Value, name: str, low: int, high: int) -> int:
    """Return the value if it is an integer of ``low..high``, else raise EncodingError."""
    if type(value) is not int:
        raise EncodingError(f"{name} must be an integer")
    if not low <= value <= high:
        raise EncodingError(f"{name} must be {low}..{high}, not {value}")
    return value


def octets(value: Value, name: str, low: int, high: int) -> bytes:
    """Return the value if it is a byte string of ``low..high`` bytes, else raise EncodingError."""
    if type(value) is not bytes:
        raise EncodingError(f"{name} must be a byte string")
    if not low <= len(value) <= high:
        raise EncodingError(f"{name} must have {low}..{high} bytes, not {len(value)}")
    return value


def text(value: Value, name: str, at_most: int) -> str:
    """Return the value if it is text of at most so many characters, else raise EncodingError."""
    if type(value) is not str:
        raise EncodingError(f"{name} must be text")
    if len(value) > at_most:
        raise EncodingError(f"{name} must have at most {at_most} characters, not {len(value)}")
    return value
