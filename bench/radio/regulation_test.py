import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.radio.modulation import Modulation
from bench.radio.regulation import EUROPE_433, AirtimeAccount, BandLimit, Regulation

S = 1_000_000_000
MODULATION = Modulation(433_175_000, 7, 7)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=30), st.integers(1, 50))
def test_rolling_window_equals_a_count_of_every_moment(gaps: list[tuple[int, int]], window_ns: int) -> None:
    account = AirtimeAccount(window_ns)
    now_ns = 0
    on_air: set[int] = set()
    for gap_ns, length_ns in gaps:
        start_ns = now_ns + gap_ns
        now_ns = start_ns + length_ns
        account.add(start_ns, now_ns)
        on_air.update(range(start_ns, now_ns))
        assert account.used_ns(now_ns) == sum(
            moment in on_air for moment in range(max(0, now_ns - window_ns), now_ns)
        )


def test_airtime_beyond_the_share_of_an_hour_is_a_violation_and_heals_with_time() -> None:
    regulation = Regulation(EUROPE_433)
    broken = [
        regulation.violations("uno-1", MODULATION, 1000, minute * 60 * S, (minute * 60 + 6) * S)
        for minute in range(120)
    ]
    assert not any(broken)  # 6 s a minute is exactly 10 %
    assert regulation.violations("uno-1", MODULATION, 1000, 7186 * S, 7187 * S) == ["airtime"]
    assert regulation.violations("uno-2", MODULATION, 1000, 7186 * S, 7187 * S) == []
    assert regulation.violations("uno-1", MODULATION, 1000, 10_900 * S, 10_901 * S) == []
    assert regulation.violation_counts == {("uno-1", "airtime"): 1}


def test_power_and_band_edges_count() -> None:
    regulation = Regulation(EUROPE_433)
    assert regulation.violations("a", MODULATION, 1001, 0, 1) == ["power"]
    assert regulation.violations("a", Modulation(433_112_499, 7, 7), 1000, 2, 3) == ["band"]
    assert regulation.violations("a", Modulation(433_112_500, 7, 7), 1000, 4, 5) == []
    assert regulation.violations("a", Modulation(434_800_000, 7, 7), 2000, 6, 7) == ["band", "power"]


@pytest.mark.parametrize(
    ("limits", "named"),
    [((2, 1, 0, 0), "band"), ((1, 2, 0, 1_000_001), "airtime"), ((1, 2, 0, 0, 0), "window")],
)
def test_impossible_limits_are_named(limits: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BandLimit(*limits)
