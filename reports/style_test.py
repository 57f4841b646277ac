import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.style import DARK_NEUTRALS, NEUTRALS, adaptive, number, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (41230, "41\u202f230"),
        (21600.0, "21\u202f600"),
        (0.5, "0.5"),
        (2.6543, "2.65"),
        (1234.56, "1\u202f234.6"),
    ],
)
def test_numbers_are_grouped_and_carry_no_empty_digits(value: float, text: str) -> None:
    assert number(value) == text


@given(st.integers(0, 10**12))
def test_an_integer_is_written_whole(value: int) -> None:
    assert int(number(value).replace("\u202f", "")) == value


@given(st.floats(0, 1))
def test_a_share_is_all_or_nothing_only_when_it_is(share: float) -> None:
    text = percent(share)
    assert (text == "0\u202f%") == (100 * share == 0)
    assert (text == "100\u202f%") == (100 * share == 100)


def test_neutral_colours_follow_the_page_and_keep_their_own_as_fallback() -> None:
    assert set(DARK_NEUTRALS) == set(NEUTRALS)
    assert adaptive(f"fill: {NEUTRALS['ink']}") == f"fill: var(--ink, {NEUTRALS['ink']})"
