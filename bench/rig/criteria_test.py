from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rig.criteria import MEANINGS, Criterion, CriterionError, parse_criterion


@pytest.mark.parametrize(
    ("text", "holding", "failing"),
    [
        (">= 0.99", [0.99, 1, 0.990001], [0.9899999, 0]),
        ("<=60", [60, 59.999, -1], [60.0000001, 61]),
        ("== 0", [0, 0.0], [1, -1, 1e-9]),
        ("!= 3", [2], [3]),
        ("> -1.5", [-1.4], [-1.5]),
        ("  <  2 ", [1.99], [2]),
    ],
)
def test_a_figure_is_held_against_its_bound(text: str, holding: list[float], failing: list[float]) -> None:
    criterion = parse_criterion("delivered", text)
    assert all(criterion.holds(value) for value in holding)
    assert not any(criterion.holds(value) for value in failing)


@given(st.sampled_from([">=", "<=", "==", "!=", ">", "<"]), st.decimals(-(10**9), 10**9, places=3))
def test_what_is_printed_reads_the_same(comparison: str, bound: Decimal) -> None:
    criterion = Criterion("altered", comparison, bound)
    name, text = str(criterion).split(maxsplit=1)
    assert parse_criterion(name, text) == criterion


@pytest.mark.parametrize("comparison", [">=", "<=", "==", "!=", ">", "<"])
def test_what_was_not_measured_holds_nowhere(comparison: str) -> None:
    criterion = Criterion("latency_p99_s", comparison, Decimal(60))
    assert not criterion.holds(None)
    assert not criterion.holds(float("nan"))


@pytest.mark.parametrize("text", ["", "0.99", "=> 1", ">= one", ">= 1 s", ">= 0,99", ">= nan", ">= 1e3"])
def test_what_is_no_comparison_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CriterionError, match=r'expected a comparison and a number, such as ">= 0\.99"'):
        parse_criterion("delivered", text)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(CriterionError, match=r"unknown criterion 'free_cpu'; did you mean 'free_cpu_"):
        parse_criterion("free_cpu", ">= 0")
    with pytest.raises(CriterionError, match=", ".join(MEANINGS)):
        parse_criterion("zzz", ">= 0")
