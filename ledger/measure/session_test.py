"""The measurement as it is run on a Pi, on the machine of the test: small, but through all code paths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ledger.effects import Operation
from ledger.measure.derivation import ALONE, LEFT_OF, RADIO
from ledger.measure.radio_test import RecordingPort
from ledger.measure.session import Plan, measure

ROOT = Path(__file__).parents[2]


def usable_cores() -> str:
    return ", ".join(map(str, sorted(os.sched_getaffinity(0))))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ledger.measure", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("card")
    finished = run("--json", "--rounds", "2", "--commits", "4", "--folder", str(folder))
    assert finished.returncode == 0, finished.stderr
    assert list(folder.iterdir()) == [], "the stores are left behind"
    measured: dict[str, Any] = json.loads(finished.stdout)
    return measured


def test_every_operation_that_needs_no_chip_has_a_cost(document: dict[str, Any]) -> None:
    assert set(document["operation"]) == {operation.value for operation in (*ALONE, *LEFT_OF)}
    for entry in document["operation"].values():
        assert entry["cost_ns"] > 0
        assert entry["batches"] == 2
        assert entry["calls"] > 0
    assert document["hash_seed"] == "0"


def test_frames_and_blocks_spend_what_the_ledger_says(document: dict[str, Any]) -> None:
    composite = document["composite"]
    assert composite["frame_stored"]["spent"] == {"ascon_open": 1, "ascon_tag": 1, "blake2b": 1, "commit": 1}
    assert composite["frame_repeated"]["spent"] == {"ascon_tag": 1, "blake2b": 1}
    for size in (1, 16, 64):
        sealed = composite[f"block_{size}_sealed"]["spent"]
        admitted = composite[f"block_{size}_admitted"]["spent"]
        assert (sealed["ed25519_sign"], sealed["commit"]) == (1, 1)
        assert (admitted["ed25519_verify"], admitted["commit"]) == (1, 1)
        # Not the same block: its numbers may take a byte more.
        assert sealed["block_encode"] == pytest.approx(admitted["block_decode"], rel=0.01)
        assert sealed["block_encode"] > 70 * size


def test_a_port_gives_the_radio_its_costs(tmp_path: Path) -> None:
    affinity = os.sched_getaffinity(0)
    try:
        measured = measure(Plan(tmp_path, rounds=1, commits=1), RecordingPort())
    finally:
        os.sched_setaffinity(0, affinity)
    assert set(measured["operation"]) == {operation.value for operation in Operation}
    for operation in RADIO:
        assert "waiting included" in measured["operation"][operation.value]["how"]


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("--folder", "/nowhere"), 1, "/nowhere"),
        (("--rounds", "0"), 2, "'0' is no whole number from 1 to 1000"),
        (("--spi", "7"), 2, "'7' is no bus and chip select"),
        (("--spi", "200.200"), 1, "spidev200.200"),
        (("--core", "4000"), 1, f"core 4000 cannot be used here: give one of {usable_cores()}"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], status: int, expected: str) -> None:
    finished = run("--json", *arguments)
    assert finished.returncode == status
    assert expected in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_table_names_every_operation(tmp_path: Path) -> None:
    finished = run("--rounds", "1", "--commits", "1", "--folder", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    for operation in (*ALONE, *LEFT_OF):
        assert f"\n{operation.value} " in finished.stdout
