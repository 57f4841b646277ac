from __future__ import annotations

import copy
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.calibration.document import CalibrationError, calibration_from, file_text
from bench.rig.calibration import OPERATIONS, Calibration, Card, Cost, load_calibration
from ledger.measure.session import FORMAT, Plan, measure

PUBLISHED = load_calibration(Path(__file__).parents[2] / "rigs" / "calibration" / "pi3b-published.toml")
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
SPREAD = st.floats(0, 3, allow_nan=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the ledger measures on this machine."""
    affinity = os.sched_getaffinity(0)
    try:
        return measure(Plan(tmp_path_factory.mktemp("card"), rounds=1, commits=2))
    finally:
        os.sched_setaffinity(0, affinity)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    return Calibration(
        board=draw(TEXT),
        label="calibrated",
        date="2026-01-31",
        cores=draw(st.integers(1, 1024)),
        card=Card(
            write_ns=draw(st.integers(0, 10**12)),
            writes_per_commit=draw(st.integers(1, 99)),
            spread=draw(SPREAD),
            source=draw(TEXT),
        ),
        operation={
            name: Cost(
                cost_ns=draw(st.integers(0, 10**12)), spread=draw(SPREAD), per=draw(TEXT), source=draw(TEXT)
            )
            for name in OPERATIONS
        },
    )


@given(calibrations())
def test_what_is_written_is_what_is_read(calibration: Calibration) -> None:
    document = tomllib.loads(file_text(calibration, ["A head", "", "with a gap"]))
    assert Calibration.model_validate(document) == calibration


def test_a_measurement_becomes_a_file_that_a_rig_accepts(tmp_path: Path, measured: dict[str, Any]) -> None:
    calibration, kept = calibration_from(measured, PUBLISHED, board="test machine", date="2026-01-31")
    path = tmp_path / "calibration.toml"
    path.write_text(file_text(calibration, ["head"]), encoding="utf-8")
    assert load_calibration(path) == calibration
    assert str(calibration) == "calibrated (test machine, 2026-01-31)"
    assert kept == {"radio_read", "radio_write"}
    for name, cost in calibration.operation.items():
        if name in kept:
            assert cost.cost_ns == PUBLISHED.operation[name].cost_ns
            assert cost.source.startswith("kept from the published file, this board has no SPI port: ")
        else:
            assert cost.cost_ns == max(1, round(measured["operation"][name]["cost_ns"]))
            assert "measured on test machine" in cost.source


def test_the_card_keeps_its_time_and_gets_its_count(measured: dict[str, Any]) -> None:
    counted = copy.deepcopy(measured)
    counted["card"] = {
        "commits": 320.0,
        "writes_per_commit": 2.6,
        "bytes_per_commit": 18_000.0,
        "flushes_per_commit": 1.4,
    }
    card = calibration_from(counted, PUBLISHED, board="b", date="2026-01-31")[0].card
    assert (card.writes_per_commit, card.write_ns, card.spread) == (3, 2_000_000, PUBLISHED.card.spread)
    assert "2.60 requests, 18,000 bytes and 1.40 flushes each" in card.source
    counted["card"] = None
    card = calibration_from(counted, PUBLISHED, board="b", date="2026-01-31")[0].card
    assert card.writes_per_commit == PUBLISHED.card.writes_per_commit
    assert card.source.startswith("writes not counted here")


def test_another_version_or_a_gap_is_refused(measured: dict[str, Any]) -> None:
    assert measured["format"] == FORMAT
    with pytest.raises(CalibrationError, match="measured in format 99"):
        calibration_from({**measured, "format": 99}, PUBLISHED, board="b", date="2026-01-31")
    gap = copy.deepcopy(measured)
    del gap["operation"]["commit"]
    with pytest.raises(CalibrationError, match="did not measure commit"):
        calibration_from(gap, PUBLISHED, board="b", date="2026-01-31")
