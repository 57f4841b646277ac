"""Angles as whole fractions of a turn, without a maths library."""

from __future__ import annotations

from math import isqrt

TURN = 1 << 64
"""One whole turn."""

# Doubling an angle doubles its error, and 64 doublings cost 64 bits; the rest is room.
_FRACTION_BITS = 192


def arc_cosine(numerator: int, denominator: int) -> int:
    """Give the angle in [0, TURN / 2] whose cosine is numerator / denominator, in 2^-64 turns, right to the
    last but one.

    The angle's bits are read off one by one: it is doubled (cos 2a = cos² a - sin² a, sin 2a = 2 sin a cos
    a), and each time the half plane it lies in is the next bit. Raises ValueError for a cosine beyond -1 to
    1.
    """
    if denominator <= 0 or abs(numerator) > denominator:
        raise ValueError(f"no angle has the cosine {numerator}/{denominator}")
    cosine = (numerator << _FRACTION_BITS) // denominator
    sine = isqrt((1 << 2 * _FRACTION_BITS) - cosine * cosine)
    angle = 0
    for _ in range(64):
        lower_half = sine < 0 or (sine == 0 and cosine < 0)
        angle = angle << 1 | lower_half
        cosine, sine = (
            (cosine * cosine - sine * sine) >> _FRACTION_BITS,
            (2 * cosine * sine) >> _FRACTION_BITS,
        )
    return angle
