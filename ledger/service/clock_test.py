from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.service.clock import LedgerClock

SECOND_NS = 1_000_000_000
START_NS = 1_000_000 * SECOND_NS


@given(st.lists(st.integers(-5 * SECOND_NS, 5 * SECOND_NS), max_size=30))
def test_it_goes_back_only_when_it_says_so_and_never_strays_by_more_than_a_second(steps: list[int]) -> None:
    real_ns = START_NS
    clock = LedgerClock(lambda: real_ns)
    last_ns = clock.now_ns()
    for step_ns in steps:
        real_ns += step_ns
        now_ns = clock.now_ns()
        set_back = clock.take_set_back()
        assert set_back == (now_ns < last_ns)
        assert 0 <= now_ns - real_ns <= SECOND_NS
        assert not clock.take_set_back()
        last_ns = now_ns


def test_a_small_step_back_is_waited_out() -> None:
    times = iter((START_NS, START_NS - 1, START_NS - SECOND_NS // 2, START_NS + 1))
    clock = LedgerClock(lambda: next(times))
    assert [clock.now_ns() for _ in range(3)] == [START_NS, START_NS, START_NS + 1]
    assert not clock.take_set_back()
