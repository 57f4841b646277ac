"""Exact passage between the integers of the bench and the decimal text that instruments speak.

An instrument says volts, amperes, watt-hours and dB; the bench keeps mV, uA, uJ and 0.01 dB. A quantity of
`places` decimal places is the integer that counts 10^-places of the instrument's unit: 5.1 V with three
places is 5100 mV. No float takes part, so that a value set and read back is the same value.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

_LARGEST_EXPONENT = 64
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_EXACT = Context(prec=200)
"""Wide enough for every number of 128 characters and an exponent within the limit."""

LONGEST_NUMBER = 64
"""Characters of a number that are read at all."""


class DecimalError(ValueError):
    """A text that is no number, or one that no instrument means; the message shows it."""


def decimal_text(value: int, places: int) -> str:
    """Write `value` counts of 10^-places as a plain decimal: (5100, 3) is "5.100"."""
    if places == 0:
        return str(value)
    whole, part = divmod(abs(value), 10**places)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{places}d}"


def scientific_text(numerator: int, denominator: int, digits: int) -> str:
    """Write a fraction as NR3 (IEEE 488.2, 8.7.4) with so many digits: (1, 8, 3) is "1.25E-1"."""
    quotient = Context(prec=digits, rounding=ROUND_HALF_EVEN).divide(Decimal(numerator), Decimal(denominator))
    return f"{quotient:.{digits - 1}E}" if quotient else f"{0:.{digits - 1}E}"


def exact(text: str) -> Decimal:
    """Read a number as IEEE 488.2 writes it (NR1, NR2, NR3). Raises DecimalError."""
    if len(text) > LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise DecimalError(f"found {text[:LONGEST_NUMBER]!r}, expected a number")
    number = Decimal(text)
    if number and abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise DecimalError(f"found {text!r}, expected one between 1e-{_LARGEST_EXPONENT} and its inverse")
    return number


def counts(number: Decimal, places: int) -> int:
    """The number in counts of 10^-places, rounded to the nearest (half to even)."""
    return int(_EXACT.scaleb(number, places).to_integral_value(ROUND_HALF_EVEN))


def read_counts(text: str, places: int) -> int:
    """Read a number and give it in counts of 10^-places. Raises DecimalError."""
    return counts(exact(text.strip()), places)
