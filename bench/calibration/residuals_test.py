from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.calibration.residuals import Residual, kind_of, residuals
from bench.rig.calibration import load_calibration

PUBLISHED = load_calibration(Path(__file__).parents[2] / "rigs" / "calibration" / "pi3b-published.toml")
POSITIVE = st.integers(1, 10**9)


def test_a_calibration_does_not_differ_from_itself() -> None:
    found = residuals(PUBLISHED, PUBLISHED, frozenset())
    assert {residual.operation for residual in found} == set(PUBLISHED.operation)
    assert {(residual.ratio, residual.deviations) for residual in found} == {(1.0, 0.0)}


def test_what_is_kept_has_no_residual() -> None:
    found = residuals(PUBLISHED, PUBLISHED, frozenset({"radio_read"}))
    assert "radio_read" not in {residual.operation for residual in found}


@given(POSITIVE, POSITIVE, st.floats(0.01, 3))
def test_turning_a_comparison_round_turns_its_sign(one: int, other: int, spread: float) -> None:
    forth = Residual("commit", one, other, "prior", spread)
    back = Residual("commit", other, one, "prior", spread)
    assert forth.ratio * back.ratio == pytest.approx(1)
    assert forth.deviations == pytest.approx(-back.deviations)
    assert math.exp(forth.deviations * spread) == pytest.approx(forth.ratio)


def test_a_reference_that_claims_to_be_exact_is_missed_by_any_difference() -> None:
    assert Residual("commit", 2, 1, "published", 0.0).deviations == math.inf
    assert Residual("commit", 1, 2, "published", 0.0).deviations == -math.inf
    assert Residual("commit", 1, 1, "published", 0.0).deviations == 0


def test_the_published_file_says_of_each_figure_what_it_is() -> None:
    kinds = {name: kind_of(cost.source) for name, cost in PUBLISHED.operation.items()}
    assert kinds["ed25519_sign"] == kinds["ed25519_verify"] == "published"
    assert kinds["ascon_open"] == kinds["blake2b"] == "prior"
    assert kinds["radio_read"] == "estimate"
    assert kind_of("") == "estimate"
