from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bench.faults.plan import FaultKind, planned_faults
from bench.world.streams import Stream


@given(st.integers(0, 2**32), st.integers(0, 20), st.integers(0, 20))
def test_a_plan_has_what_was_asked_for_and_repeats(seed: int, kills: int, cuts: int) -> None:
    plan = planned_faults(Stream(seed, "faults"), kills, cuts)
    assert plan == planned_faults(Stream(seed, "faults"), kills, cuts)
    kinds = Counter(fault.kind for fault in plan)
    assert (kinds[FaultKind.GATEWAY_KILLED], kinds[FaultKind.PI_POWER_CUT]) == (kills, cuts)
    assert [fault.number for fault in plan] == list(range(1, kills + cuts + 1))
    assert all(200_000_000 <= fault.after_ns < 4_200_000_000 for fault in plan)


def test_kinds_are_mixed_and_moments_differ() -> None:
    plan = planned_faults(Stream(1, "faults"), 20, 20)
    kinds = [fault.kind for fault in plan]
    assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))
    assert len({fault.after_ns for fault in plan}) == len({fault.seed for fault in plan}) == 40
