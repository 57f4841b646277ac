"""The estimate holds whatever the delays were: properties against a clock that is known."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sensors.stimulus_clock import ClockContradictionError, ClockRegion, RoundTrip, estimate_clock

NS_PER_TICK = 4000
delays_ns = st.integers(0, 50_000_000) | st.integers(0, 3000)


@st.composite
def devices(draw: st.DrawFn) -> tuple[Fraction, Fraction, list[RoundTrip]]:
    """A clock within the tolerance (ns at tick 0, ns per tick) and round trips to it."""
    rate = NS_PER_TICK * (1 + Fraction(draw(st.integers(-10_000, 10_000)), 1_000_000))
    origin = Fraction(draw(st.integers(-(10**15), 10**15)))
    at_ns = origin + draw(st.integers(0, 10**13))
    trips = []
    for _ in range(draw(st.integers(1, 12))):
        asked_ns = int(at_ns)
        received = (asked_ns + draw(delays_ns) - origin) // rate + 1
        answered = received + draw(st.integers(0, 30))
        heard_ns = int(origin + answered * rate) + 1 + draw(delays_ns)
        trips.append(RoundTrip(asked_ns, int(received), int(answered), heard_ns))
        at_ns = Fraction(heard_ns + draw(st.integers(0, 5_000_000_000)))
    return origin, rate, trips


@given(devices(), st.integers(0, 4_000_000_000), st.fractions(0, 1))
def test_the_true_clock_is_never_farther_off_than_stated(
    device: tuple[Fraction, Fraction, list[RoundTrip]], horizon_ns: int, where: Fraction
) -> None:
    origin, rate, trips = device
    estimate = estimate_clock(trips, NS_PER_TICK, horizon_ns)
    assert estimate.first_tick == trips[0].received_tick
    tick = estimate.first_tick + round((estimate.last_tick - estimate.first_tick) * where)
    assert abs(estimate.ns_at(tick) - (origin + tick * rate)) <= estimate.error_ns_at(tick) + 1
    assert estimate.tick_at(estimate.ns_at(tick)) == tick


@given(devices())
def test_what_is_seen_more_often_is_known_no_worse(
    device: tuple[Fraction, Fraction, list[RoundTrip]],
) -> None:
    """With everything seen at one instant, so that nothing becomes vaguer by waiting."""
    origin, rate, trips = device
    tick = trips[-1].answered_tick
    region = ClockRegion.around(
        trips[0].received_tick, trips[0].asked_ns, trips[0].heard_ns, Fraction(NS_PER_TICK), 10_000
    )
    width_ns = None
    for trip in trips:
        region = region.not_before(trip.received_tick, trip.asked_ns)
        region = region.not_after(trip.answered_tick, trip.heard_ns)
        earliest_ns, latest_ns = region.span_ns(tick)
        assert earliest_ns <= origin + tick * rate <= latest_ns
        assert width_ns is None or latest_ns - earliest_ns <= width_ns
        width_ns = latest_ns - earliest_ns


def test_a_steady_line_is_known_to_its_delay() -> None:
    """2 ms round trips for a minute: now to 1 ms, and the rate to 40 ppm."""
    trips = [
        RoundTrip(t, t // 4000 + 250, t // 4000 + 255, t + 2_000_000) for t in range(0, 60 * 10**9, 10**9)
    ]
    estimate = estimate_clock(trips, NS_PER_TICK, 0)
    assert estimate.last_error_ns <= 1_000_001
    assert estimate.first_error_ns <= 2_300_000  # of which 1.2 ms for a rate that may move by 20 ppm
    length_ns, ticks = estimate.last_ns - estimate.first_ns, estimate.last_tick - estimate.first_tick
    assert abs(length_ns / ticks / NS_PER_TICK - 1) < 40e-6


def test_round_trips_to_a_clock_that_was_another_one_are_left_out() -> None:
    old = [RoundTrip(t, t // 4000, t // 4000, t + 1_000_000) for t in range(0, 10**10, 10**9)]
    new = [
        RoundTrip(t, t // 4000 + 10**6, t // 4000 + 10**6, t + 10**6)
        for t in range(10**10, 2 * 10**10, 10**9)
    ]
    estimate = estimate_clock([*old, *new], NS_PER_TICK, 10**9)
    assert estimate.first_tick == new[0].received_tick


def test_an_answer_before_its_question_is_a_contradiction() -> None:
    with pytest.raises(
        ClockContradictionError, match="1000 ticks between question and answer, which were 1000 us"
    ):
        estimate_clock([RoundTrip(0, 0, 1000, 1_000_000)], NS_PER_TICK, 10**9)
