from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.decimals import decimal_text
from bench.instruments.scpi.error import ScpiError
from bench.instruments.scpi.parameter import Quantity, none, only, switch, whole, word_of

VOLTAGE = Quantity("V", 3, 0, 32_000, 1_000)


def code_of(action: Callable[[], object]) -> int:
    with pytest.raises(ScpiError) as error:
        action()
    return error.value.code


@pytest.mark.parametrize(
    ("text", "value_mv"),
    [
        ("5.1", 5100),
        ("5.1V", 5100),
        ("5.1 v", 5100),
        ("5100 mV", 5100),
        ("5100e-3", 5100),
        ("0.0051kV", 5100),
        ("5100000uv", 5100),
        ("MIN", 0),
        ("maximum", 32_000),
        ("Def", 1_000),
        ("5.1004", 5100),
    ],
)
def test_values_with_and_without_units(text: str, value_mv: int) -> None:
    assert VOLTAGE.read(text) == value_mv


@given(st.integers(0, 32_000))
def test_units_do_not_change_a_value(value_mv: int) -> None:
    volts = decimal_text(value_mv, 3)
    assert {VOLTAGE.read(text) for text in (volts, f"{volts} V", f"{value_mv}mV", f"{value_mv}E-3 V")} == {
        value_mv
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("33", -222),
        ("-0.001", -222),
        ("1e9", -222),
        ("5 A", -131),
        ("5 xV", -131),
        ("ON", -104),
        ("5..1", -104),
    ],
)
def test_values_that_cannot_be(text: str, code: int) -> None:
    assert code_of(lambda: VOLTAGE.read(text)) == code


@given(st.text(max_size=40))
def test_any_text_is_a_value_within_bounds_or_refused(text: str) -> None:
    try:
        outcome = VOLTAGE.read(text)
    except ScpiError as error:
        outcome = error.code
    assert outcome in (-104, -131, -222) or 0 <= outcome <= 32_000


def test_switches_words_and_whole_numbers() -> None:
    assert [switch(text) for text in ("ON", "off", "1", "0", "2", "0.4")] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    assert code_of(lambda: switch("YES")) == -104
    assert whole("2.0", 1, 3) == 2
    assert code_of(lambda: whole("4", 1, 3)) == -222
    assert code_of(lambda: whole("x", 1, 3)) == -104
    assert word_of("cont", ("NORMal", "CONTinuous")) == "CONTinuous"
    assert word_of("NORMAL", ("NORMal", "CONTinuous")) == "NORMal"
    assert code_of(lambda: word_of("CONTIN", ("NORMal", "CONTinuous"))) == -224


def test_too_many_and_too_few_parameters() -> None:
    assert only(["a"]) == "a"
    assert code_of(lambda: only([])) == -109
    assert code_of(lambda: only(["a", "b"])) == -108
    assert code_of(lambda: none(["a"])) == -108
