from hypothesis import given
from hypothesis import strategies as st

from bench.world.streams import PPM, Stream


def test_golden_draws_never_change() -> None:
    stream = Stream(7, "medium", "uno-3", 5)
    assert [stream.bits(index) for index in (0, 1, 2**40)] == [
        3890383134717153699,
        5022342373732507301,
        3236875631113470330,
    ]


@given(st.integers(-(2**100), 2**100), st.text(max_size=8), st.integers(1, 2**63), st.integers(0, 2**63))
def test_draws_are_repeatable_and_bounded(seed: int, name: str, bound: int, index: int) -> None:
    draw = Stream(seed, name).below(bound, index)
    assert 0 <= draw < bound
    assert draw == Stream(seed, name).below(bound, index)


def test_names_and_children_separate_streams() -> None:
    ways = [
        Stream(1, "ab"),
        Stream(1, "a", "b"),
        Stream(1, "a").child("b"),
        Stream(2, "ab"),
        Stream(1, 1),
        Stream(1, "1"),
    ]
    assert len({stream.bits(0) for stream in ways}) == len(ways)


def test_probability_is_what_it_says() -> None:
    stream = Stream(3, "loss")
    happened = sum(stream.happens(PPM // 10, index) for index in range(20_000))
    assert abs(happened - 2_000) < 5 * 43  # five standard deviations of a binomial(20000, 0.1)
    assert not any(stream.happens(0, index) for index in range(100))
    assert all(stream.happens(PPM, index) for index in range(100))
