import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pi.uplink import UplinkPlan
from bench.pi.vpn.impairment import Fate, Path, PathPlan, Verdict
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream

gaps = st.lists(st.tuples(st.integers(0, NS_PER_S), st.integers(1, 1500)), max_size=60)


@st.composite
def plans(draw: st.DrawFn) -> PathPlan:
    edges = sorted(draw(st.sets(st.integers(0, 20 * NS_PER_S), max_size=6)))
    uplink = UplinkPlan(
        delay_ns=draw(st.integers(0, NS_PER_S)),
        jitter_ns=draw(st.integers(0, NS_PER_S)),
        loss_ppm=draw(st.integers(0, 1_000_000)),
        outages=tuple(zip(edges[::2], edges[1::2], strict=False)),
    )
    return PathPlan(uplink, draw(st.integers(1, 100_000)))


def _send(plan: PathPlan, seed: int, datagrams: list[tuple[int, int]]) -> list[Verdict]:
    path = Path(plan, Stream(seed, "way"))
    now_ns, verdicts = 0, []
    for gap_ns, octets in datagrams:
        now_ns += gap_ns
        verdicts.append(path.judge(octets, now_ns, waiting_octets=0))
    return verdicts


@given(plans(), st.integers(), gaps)
def test_the_same_datagrams_meet_the_same_fate(
    plan: PathPlan, seed: int, datagrams: list[tuple[int, int]]
) -> None:
    seed %= 2**64
    assert _send(plan, seed, datagrams) == _send(plan, seed, datagrams)


@given(plans(), gaps)
def test_each_decision_keeps_the_plan(plan: PathPlan, datagrams: list[tuple[int, int]]) -> None:
    uplink = plan.uplink
    for number, verdict in enumerate(_send(plan, 7, datagrams), start=1):
        assert verdict.index == number
        least_ns = verdict.sent_ns + uplink.delay_ns
        assert least_ns <= verdict.arrival_ns <= least_ns + uplink.jitter_ns
        touched = uplink.cuts(verdict.sent_ns, verdict.arrival_ns)
        assert touched == (verdict.fate is Fate.CUT) == (verdict.outage is not None)
        if verdict.outage is not None:
            from_ns, to_ns = uplink.outages[verdict.outage]
            assert from_ns <= verdict.arrival_ns
            assert verdict.sent_ns < to_ns
        if uplink.loss_ppm == 0:
            assert verdict.fate is not Fate.LOST
        if uplink.loss_ppm == 1_000_000:
            assert verdict.fate is not Fate.PASSED


@pytest.mark.parametrize("loss_ppm", [10_000, 200_000, 500_000])
def test_loss_comes_as_often_as_planned_and_by_the_seed(loss_ppm: int) -> None:
    plan = PathPlan(UplinkPlan(0, loss_ppm=loss_ppm))
    datagrams = [(1000, 100)] * 5000
    first = [verdict.fate for verdict in _send(plan, 1, datagrams)]
    assert first != [verdict.fate for verdict in _send(plan, 2, datagrams)]
    expected = 5000 * loss_ppm / 1e6
    # Five standard deviations of a binomial: a right stream fails once in two million seeds.
    assert abs(first.count(Fate.LOST) - expected) < 5 * math.sqrt(expected * (1 - loss_ppm / 1e6))


def test_fates_do_not_hang_on_the_times_of_sending() -> None:
    plan = PathPlan(UplinkPlan(5, jitter_ns=1000, loss_ppm=300_000))
    slow, fast = _send(plan, 3, [(10**6, 9)] * 200), _send(plan, 3, [(1, 1200)] * 200)
    assert [v.fate for v in slow] == [v.fate for v in fast]
    assert [v.arrival_ns - v.sent_ns for v in slow] == [v.arrival_ns - v.sent_ns for v in fast]


def test_what_is_under_way_is_bounded() -> None:
    path = Path(PathPlan(UplinkPlan(NS_PER_S), queue_octets=2_000), Stream(1))
    assert path.judge(1_000, 0, waiting_octets=1_000).fate is Fate.PASSED
    assert path.judge(1_000, 0, waiting_octets=1_001).fate is Fate.OVERRUN


def test_a_way_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="queue_octets must be positive, found 0"):
        PathPlan(queue_octets=0)
