"""The time column of a data set: ISO 8601, whole seconds, or slot numbers, as nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable


_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_BASIC_DATE = re.compile(r"(19|20)[0-9]{6}")
_SECONDS_NAME = re.compile(r"(t|ts|time.*|.*unix.*|.*epoch.*|.*_s|.*seconds?)", re.IGNORECASE)
# The smallest number that is taken as seconds since 1970 whatever the column is called (March 1973), and the
# first that is too large for it (year 5138), most likely milliseconds.
_EPOCH_FROM_S = 100_000_000
_EPOCH_UNTIL_S = 100_000_000_000
_EPOCH_LOCAL = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)


class TimestampError(ValueError):
    """A time that cannot be read; the message says what was expected."""


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise TimestampError(f"expected a whole number as in the rows before, found {text[:40]!r}")
    return int(text)


def _seconds(text: str) -> int:
    value = _integer(text)
    if abs(value) >= _EPOCH_UNTIL_S:
        raise TimestampError(f"expected seconds since 1970, found {value} (milliseconds? divide by 1000)")
    return value * NS_PER_S


def _iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise TimestampError(
            "expected ISO 8601 (2018-10-29T00:15, 2018-10-29 00:15:00+01:00) or whole seconds, "
            f"found {text[:40]!r}"
        ) from None


def _nanoseconds(moment: datetime) -> int:
    elapsed = moment - (_EPOCH_LOCAL if moment.tzinfo is None else _EPOCH_UTC)
    return ((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds) * 1_000


def timestamp_reader(column: str, first: str, interval_s: int | None) -> Callable[[str], int]:
    """Choose how the time column is read from its name and its first value; the result turns a cell into ns.

    Whole numbers are seconds if they are large enough to count from 1970 or the column's name says so, and
    slot numbers of `interval_s` if that is given. ISO times keep to one form: all with an offset (then UTC
    counts) or all without (then the wall clock is taken as it is). Raises TimestampError, as does the result.
    """
    basic_date = column.casefold().startswith("date") and _BASIC_DATE.fullmatch(first)
    if _INTEGER.fullmatch(first) and not basic_date:
        if interval_s is not None and abs(int(first)) < _EPOCH_FROM_S:
            slot_ns = interval_s * NS_PER_S
            return lambda text: _integer(text) * slot_ns
        if interval_s is None:
            if abs(int(first)) >= _EPOCH_FROM_S or _SECONDS_NAME.fullmatch(column):
                return _seconds
            raise TimestampError(
                f"found {first}, which may be a slot number: give the step as interval_s, "
                "or end the column's name in _s if these are seconds"
            )
    if interval_s is not None:
        raise TimestampError(
            f"interval_s is for slot numbers only, found the time {first[:40]!r}; leave interval_s out"
        )
    has_offset = _iso(first).tzinfo is not None

    def read(text: str) -> int:
        moment = _iso(text)
        if (moment.tzinfo is not None) != has_offset:
            wanted = "with" if has_offset else "without"
            raise TimestampError(
                f"expected a time {wanted} an offset as in the rows before, found {text[:40]!r}"
            )
        return _nanoseconds(moment)

    return read
