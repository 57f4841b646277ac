from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.decimals import (
    DecimalError,
    decimal_text,
    exact,
    read_counts,
    scientific_text,
)

VALUES = st.integers(-(10**15), 10**15)
PLACES = st.integers(0, 9)


@given(VALUES, PLACES)
def test_what_is_written_is_read_back(value: int, places: int) -> None:
    text = decimal_text(value, places)
    assert read_counts(text, places) == value
    assert Fraction(text) == Fraction(value, 10**places)


@given(st.integers(0, 10**40), st.integers(1, 10**40), st.integers(1, 12))
def test_a_fraction_is_written_to_the_last_digit(numerator: int, denominator: int, digits: int) -> None:
    text = scientific_text(numerator, denominator, digits)
    mantissa, exponent = text.split("E")
    assert len(mantissa.replace(".", "")) == digits
    half_a_digit = Fraction(10) ** (int(exponent) - digits + 1) / 2
    assert abs(Fraction(text) - Fraction(numerator, denominator)) <= half_a_digit


@pytest.mark.parametrize(
    ("text", "places", "value"),
    [
        ("5.1", 3, 5100),
        ("+5.100E+00", 3, 5100),
        (" 4.1666667E-03 ", 9, 4166667),
        (".5", 0, 0),
        ("1.5", 0, 2),
        ("-0.0025", 3, -2),
        ("3.", 1, 30),
    ],
)
def test_numbers_as_instruments_write_them(text: str, places: int, value: int) -> None:
    assert read_counts(text, places) == value


@pytest.mark.parametrize("text", ["", "NAN", "INF", "1_000", "5.1V", "0x10", "1e9999", "9e99", "1" * 65, "٣"])
def test_what_is_no_number_is_told(text: str) -> None:
    with pytest.raises(DecimalError):
        exact(text)


@given(st.text())
def test_any_text_is_a_number_or_told_as_none(text: str) -> None:
    try:
        number = exact(text)
    except DecimalError:
        return
    assert number.is_finite()
