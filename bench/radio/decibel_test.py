from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.radio.decibel import level_of_power, linear_power, log2_scaled, ratio_cdb


def test_each_step_of_the_power_table_is_rounded_as_decimal_arithmetic_rounds_it() -> None:
    with localcontext() as context:
        context.prec = 40
        for step in range(1000):
            exact = Decimal(10) ** (Decimal(step) / 1000 + 9)
            assert linear_power(step - 30000) == int(exact.to_integral_value(ROUND_HALF_EVEN))
            # The table is computed in floats; their last bit is worth about 1e-6 here.
            assert abs(exact % 1 - Decimal("0.5")) > Decimal("1e-4")


@given(st.integers(-29000, 20000))
def test_a_level_is_the_level_of_its_power(level_cdbm: int) -> None:
    assert level_of_power(linear_power(level_cdbm)) == level_cdbm


@given(st.integers(-29000, 20000))
def test_two_equal_powers_add_up_to_three_decibels(level_cdbm: int) -> None:
    assert level_of_power(2 * linear_power(level_cdbm)) == level_cdbm + 301


@given(st.integers(1, 2**200))
def test_logarithm_is_within_two_units_of_the_exact_one(number: int) -> None:
    with localcontext() as context:
        context.prec = 90
        exact = Decimal(number).ln() / Decimal(2).ln() * 2**16
    assert -1 <= int(exact) - log2_scaled(number) <= 1


@given(st.integers(1, 10**18), st.integers(1, 10**18))
def test_ratio_is_within_a_hundredth_of_a_decibel(numerator: int, denominator: int) -> None:
    with localcontext() as context:
        context.prec = 40
        exact = 1000 * (Decimal(numerator).log10() - Decimal(denominator).log10())
    assert abs(ratio_cdb(numerator, denominator) - exact) < Decimal("0.55")


def test_no_logarithm_of_zero() -> None:
    with pytest.raises(ValueError, match="logarithm of 0"):
        log2_scaled(0)
