"""Decibels as integers: levels in 0.01 dBm (`_cdbm`), ratios in 0.01 dB (`_cdb`), powers as big integers.

Nothing here depends on the last bit of a maths library: the one table is rounded far from every
rounding boundary (a test proves the margin), and logarithms are computed in integers.
"""

from __future__ import annotations

from typing import Final

# Linear powers are counted in units of 1e-9 of -300 dBm, so that all levels a radio meets are positive.
_ORIGIN_CDBM: Final = -30000
_MANTISSA: Final = tuple(round(10.0 ** (step / 1000) * 1e9) for step in range(1000))
_DECADE: Final = tuple(10**exponent for exponent in range(60))

_FRACTION_BITS: Final = 16
_LOG10_2_SCALED: Final = 19_728_302  # 1000 * log10(2) * 2**16


def linear_power(level_cdbm: int) -> int:
    """Power of a level as an integer that may be added to others and compared with them (own unit)."""
    decade, step = divmod(level_cdbm - _ORIGIN_CDBM, 1000)
    return _MANTISSA[step] * _DECADE[decade] if decade >= 0 else 0


def level_of_power(power: int) -> int:
    """Level in 0.01 dBm of a positive sum of `linear_power` values, to the nearest."""
    return ratio_cdb(power, 1_000_000_000) + _ORIGIN_CDBM


def log2_scaled(number: int) -> int:
    """floor(2**16 * log2(number)) to within one unit, for a positive integer, by repeated squaring."""
    if number <= 0:
        raise ValueError(f"logarithm of {number}: a positive integer is needed")
    whole = number.bit_length() - 1
    mantissa = number << (63 - whole) if whole <= 63 else number >> (whole - 63)
    result = whole
    for _ in range(_FRACTION_BITS):
        mantissa = mantissa * mantissa >> 63
        result <<= 1
        if mantissa >> 64:
            mantissa >>= 1
            result |= 1
    return result


def ratio_cdb(numerator: int, denominator: int) -> int:
    """10 log10(numerator / denominator) in 0.01 dB, rounded to the nearest (error below 0.0051 dB)."""
    difference = log2_scaled(numerator) - log2_scaled(denominator)
    return (difference * _LOG10_2_SCALED + (1 << 31)) >> 32
