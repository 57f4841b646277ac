from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.effects import Operation, Spent, WakeAt
from ledger.measure.timing import Task, measure_rounds, summary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ledger.effects import Effect


@given(st.lists(st.floats(1e-3, 1e12), min_size=2, max_size=40), st.floats(1e-3, 1e3))
def test_scaling_all_figures_scales_the_median_and_leaves_the_spread(
    figures: list[float], scale: float
) -> None:
    plain, scaled = summary_of(figures), summary_of([figure * scale for figure in figures])
    assert scaled.median == pytest.approx(plain.median * scale)
    assert scaled.spread == pytest.approx(plain.spread, abs=1e-6)
    assert plain.median == statistics.median(figures)


def test_the_spread_is_that_of_the_logarithm() -> None:
    assert summary_of([math.exp(1), math.exp(2), math.exp(3)]).spread == pytest.approx(1)
    assert summary_of([5.0]).spread == 0
    assert summary_of([0.0, 1.0]).spread == 0
    with pytest.raises(ValueError, match="no batch was measured"):
        summary_of([])


def test_rounds_run_all_tasks_in_turn_and_throw_the_first_away() -> None:
    order: list[str] = []

    def task(name: str, repeats: int) -> Task:
        def prepare() -> Callable[[], Sequence[Effect]]:
            order.append(f"prepare {name}")

            def run() -> Sequence[Effect]:
                order.append(f"run {name}")
                return [Spent(Operation.COMMIT, 3), WakeAt(1)]

            return run

        return Task(name, 5, prepare, repeats)

    batches = measure_rounds([task("a", 2), task("b", 1)], 2)
    of_a_round = ["prepare a", "run a", "prepare a", "run a", "prepare b", "run b"]
    assert order == of_a_round * 3
    assert {name: len(series) for name, series in batches.items()} == {"a": 2, "b": 2}
    assert batches["a"][0].calls == 10
    assert batches["a"][0].spent == Counter({Operation.COMMIT: 6})
    assert batches["a"][0].cpu_ns > 0
    assert batches["a"][0].cpu_ns_per_call == batches["a"][0].cpu_ns / 10


def test_a_fault_in_the_work_is_not_swallowed() -> None:
    def run() -> Sequence[Effect]:
        raise RuntimeError("the work fails")

    with pytest.raises(RuntimeError, match="the work fails"):
        measure_rounds([Task("x", 1, lambda: run)], 1)
