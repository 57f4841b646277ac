import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.capacity.search import (
    PPM,
    BracketMoved,
    Confidence,
    Plan,
    Probe,
    ProbeEnded,
    ProbeStarted,
    Purpose,
    SearchEnded,
    SearchError,
    Verdict,
    find,
    search,
)


def threshold(largest: int) -> Probe:
    """An oracle that holds up to one size with every seed."""

    def probe(size: int, seed: int) -> Verdict:
        return Verdict(size <= largest, {"seed": seed}, None if size <= largest else "airtime")

    return probe


def table(outcomes: Mapping[tuple[int, int], bool], otherwise: bool) -> Probe:
    """An oracle with a written outcome for some (size, seed), and one outcome for all others."""

    def probe(size: int, seed: int) -> Verdict:
        holds = outcomes.get((size, seed), otherwise)
        return Verdict(holds, {}, None if holds else "latency")

    return probe


@st.composite
def plans(draw: st.DrawFn, largest_ceiling: int = 3000) -> Plan:
    ceiling = draw(st.integers(1, largest_ceiling))
    smallest = draw(st.integers(1, ceiling))
    start = draw(st.integers(smallest, ceiling))
    confirmations = draw(st.integers(0, 4))
    quorum = draw(st.none() | st.integers(1, confirmations + 1))
    return Plan(ceiling, "search limit", draw(st.integers(0, 99)), smallest, start, confirmations, quorum)


@settings(deadline=None)
@given(plans(), st.integers(0, 3100))
def test_any_threshold_is_found_within_the_stated_number_of_probes(plan: Plan, largest: int) -> None:
    result = find(threshold(largest), plan)

    assert result.settled
    assert result.largest_held == (min(largest, plan.ceiling) if largest >= plan.smallest else None)
    assert result.smallest_failed == (max(largest + 1, plan.smallest) if largest < plan.ceiling else None)
    assert result.bound_by == ("airtime" if largest < plan.ceiling else "search limit")
    assert len(result.probes) <= plan.steady_bound
    assert result.mixed == ()
    assert result.moves == 0
    for confidence in (result.held_confidence, result.failed_confidence):
        assert confidence is None or confidence == Confidence(plan.confirmations, plan.confirmations)


@st.composite
def sparse_plans(draw: st.DrawFn) -> Plan:
    sizes = draw(st.lists(st.integers(1, 3000), min_size=1, max_size=40, unique=True).map(sorted))
    confirmations = draw(st.integers(0, 4))
    return Plan(
        sizes[-1],
        "search limit",
        draw(st.integers(0, 99)),
        sizes[0],
        draw(st.sampled_from(sizes)),
        confirmations,
        sizes=tuple(sizes),
    )


@settings(deadline=None)
@given(sparse_plans(), st.integers(0, 3100))
def test_on_an_axis_with_gaps_only_its_sizes_are_probed_and_neighbours_found(
    plan: Plan, largest: int
) -> None:
    result = find(threshold(largest), plan)

    assert result.settled
    assert {probed.size for probed in result.probes} <= set(plan.axis)
    assert result.largest_held == max((size for size in plan.axis if size <= largest), default=None)
    assert result.smallest_failed == min((size for size in plan.axis if size > largest), default=None)
    assert len(result.probes) <= plan.steady_bound


@settings(deadline=None)
@given(
    plans(largest_ceiling=60),
    st.dictionaries(st.tuples(st.integers(1, 60), st.integers(0, 103)), st.booleans()),
    st.booleans(),
)
def test_any_oracle_ends_and_nothing_unprobed_is_reported(
    plan: Plan, outcomes: dict[tuple[int, int], bool], otherwise: bool
) -> None:
    result = find(table(outcomes, otherwise), plan)

    assert len(result.probes) <= plan.limit
    pairs = [(probed.size, probed.seed) for probed in result.probes]
    assert len(pairs) == len(set(pairs)), "a probe was repeated"
    held_at = {size: [p.verdict.holds for p in result.probes if p.size == size] for size, _ in pairs}
    if result.largest_held is not None:
        assert any(held_at[result.largest_held])
    if result.smallest_failed is not None:
        assert not all(held_at[result.smallest_failed])
    if result.largest_held is not None and result.smallest_failed is not None:
        assert result.largest_held < result.smallest_failed
    for size, verdicts in held_at.items():
        if len(verdicts) == len(plan.seeds):
            below = result.smallest_failed is None or size < result.smallest_failed
            assert below == (sum(verdicts) >= plan.needed)
    if result.settled:
        for side in (result.largest_held, result.smallest_failed):
            assert side is None or len(held_at[side]) == len(plan.seeds)
        if result.largest_held is not None:
            assert sum(held_at[result.largest_held]) >= plan.needed
            assert result.smallest_failed == (
                None if result.largest_held == plan.ceiling else result.largest_held + 1
            )
        if result.smallest_failed is not None:
            assert sum(held_at[result.smallest_failed]) < plan.needed
        else:
            assert result.largest_held == plan.ceiling


@settings(deadline=None)
@given(
    plans(largest_ceiling=60),
    st.dictionaries(st.tuples(st.integers(1, 60), st.integers(0, 103)), st.booleans()),
)
def test_events_tell_the_same_story_as_the_result(plan: Plan, outcomes: dict[tuple[int, int], bool]) -> None:
    events = list(search(table(outcomes, True), plan))

    last = events[-1]
    assert isinstance(last, SearchEnded)
    assert last.result == find(table(outcomes, True), plan)
    started = [event for event in events if isinstance(event, ProbeStarted)]
    ended = [event for event in events if isinstance(event, ProbeEnded)]
    assert [event.number for event in started] == list(range(1, len(last.result.probes) + 1))
    assert tuple(event.probed for event in ended) == last.result.probes
    assert (ended[-1].largest_held, ended[-1].smallest_failed) == (
        last.result.largest_held,
        last.result.smallest_failed,
    )
    assert sum(isinstance(event, BracketMoved) for event in events) == last.result.moves


def test_a_probe_runs_only_when_the_caller_asks_for_the_next_event() -> None:
    ran: list[int] = []

    def probe(size: int, seed: int) -> Verdict:
        ran.append(seed)
        return Verdict(True, {"size": size})

    events = search(probe, Plan(ceiling=4, ceiling_reason="pins", seed=7))
    assert next(events) == ProbeStarted(number=1, limit=39, size=1, seed=7, purpose=Purpose.BRACKET)
    assert ran == []
    assert isinstance(next(events), ProbeEnded)
    assert ran == [7]


def test_sequence_on_twelve_pins() -> None:
    result = find(threshold(9), Plan(ceiling=12, ceiling_reason="pins", seed=7, confirmations=2))

    assert [(probed.size, probed.seed, probed.purpose.value) for probed in result.probes] == [
        (1, 7, "bracket"),
        (2, 7, "bracket"),
        (4, 7, "bracket"),
        (8, 7, "bracket"),
        (12, 7, "bracket"),
        (10, 7, "bisect"),
        (9, 7, "bisect"),
        (9, 8, "confirm"),
        (9, 9, "confirm"),
        (10, 8, "confirm"),
        (10, 9, "confirm"),
    ]


def test_the_ceiling_that_held_names_what_ends_the_axis() -> None:
    result = find(threshold(99), Plan(ceiling=12, ceiling_reason="pins", seed=1, start=12))

    assert (result.largest_held, result.smallest_failed, result.bound_by) == (12, None, "pins")
    assert result.failed_confidence is None


def test_a_fresh_seed_that_fails_moves_the_bracket_down_and_is_reported() -> None:
    lucky = {(size, 1): size <= 6 for size in range(1, 9)}  # seed 1 holds to 6, every other seed to 5
    probe = table(lucky | {(size, seed): size <= 5 for size in range(1, 9) for seed in (2, 3)}, False)
    result = find(probe, Plan(ceiling=8, ceiling_reason="pins", seed=1, start=4, confirmations=2))

    assert (result.largest_held, result.smallest_failed) == (5, 6)
    assert result.moves == 1
    assert result.mixed == (6,)
    assert result.held_confidence == Confidence(2, 2)
    assert result.failed_confidence == Confidence(2, 2)
    assert result.bound_by == "latency"


def test_a_majority_moves_the_bracket_up_when_the_search_seed_was_unlucky() -> None:
    unlucky = {(5, 1): False, (6, 1): False} | {(6, seed): False for seed in (2, 3)}
    probe = table(unlucky, True)
    result = find(probe, Plan(6, "pins", seed=1, start=4, confirmations=2, quorum=2))

    assert (result.largest_held, result.smallest_failed) == (5, 6)
    assert result.mixed == (5,)
    assert result.moves == 1


def test_the_limit_of_probes_ends_the_search_unsettled() -> None:
    result = find(threshold(700), Plan(1000, "search limit", seed=1, probe_limit=5))

    assert len(result.probes) == 5
    assert not result.settled
    assert (result.largest_held, result.smallest_failed, result.bound_by) == (16, None, None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"ceiling": 0}, "ceiling"),
        ({"ceiling": 4, "start": 5}, "ceiling"),
        ({"ceiling": 4, "confirmations": -1}, "confirmations"),
        ({"ceiling": 4, "quorum": 9}, "quorum"),
        ({"ceiling": 4, "probe_limit": 0}, "limit"),
        ({"ceiling": 4, "sizes": ()}, "sizes"),
        ({"ceiling": 4, "sizes": (1, 2, 3)}, "sizes"),
        ({"ceiling": 4, "sizes": (1, 4, 8)}, "sizes"),
        ({"ceiling": 4, "sizes": (1, 3, 2, 4)}, "sizes"),
        ({"ceiling": 4, "start": 3, "sizes": (1, 2, 4)}, "sizes"),
    ],
)
def test_a_plan_that_cannot_be_searched_says_why(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SearchError, match=named):
        Plan(ceiling_reason="pins", seed=1, **wrong)


@pytest.mark.parametrize(
    ("agreed", "seeds", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (Wilson), to four digits.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_interval_agrees_with_published_values(agreed: int, seeds: int, low: float, high: float) -> None:
    found_low, found_high = Confidence(agreed, seeds).interval_ppm
    assert abs(found_low / PPM - low) < 6e-5
    assert abs(found_high / PPM - high) < 6e-5


@settings(deadline=None)
@given(st.integers(1, 200).flatmap(lambda seeds: st.tuples(st.integers(0, seeds), st.just(seeds))))
def test_interval_agrees_with_floating_point_and_is_rounded_outwards(counts: tuple[int, int]) -> None:
    agreed, seeds = counts
    confidence = Confidence(agreed, seeds)
    share, z = agreed / seeds, 1.96
    centre = (share + z * z / (2 * seeds)) / (1 + z * z / seeds)
    spread = z / (1 + z * z / seeds) * math.sqrt(share * (1 - share) / seeds + z * z / (4 * seeds**2))
    low, high = confidence.interval_ppm
    assert -1e-9 <= max(0.0, centre - spread) - low / PPM < 3e-6
    assert -1e-9 <= high / PPM - min(1.0, centre + spread) < 3e-6
    assert 0 < confidence.expected < 1


def test_no_fresh_seed_means_no_knowledge() -> None:
    assert Confidence(0, 0).interval_ppm == (0, PPM)
    assert Confidence(0, 0).expected == Fraction(1, 2)
    assert Confidence(3, 3).expected == Fraction(4, 5)
