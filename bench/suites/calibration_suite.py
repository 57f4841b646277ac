"""Does a calibration of the emulated Pi repeat, and how far is it from the published board?"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import allure
import pytest

from bench.campaign import Campaign

pytestmark = allure.suite("calibration")

_AGREEMENT = 0.02


def calibrated(campaign: Campaign, number: int) -> dict[str, Any]:
    """What `bench calibrate` measures, on a Pi of its own."""
    output = campaign.directory / f"calibration-{number}.toml"
    command = ["calibrate", "--rig", str(campaign.rig_path), "--output", str(output), "--json"]
    finished = subprocess.run(
        [sys.executable, "-m", "bench", *command], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


@allure.title("Two calibrations of the emulated Pi agree within 2 %")
def test_calibrations_agree(campaign: Campaign) -> None:
    if campaign.rig.branches[0].pi.kind != "emulated":
        pytest.skip("only the emulated Pi has a clock that counts instructions")
    # Side by side: what the instruction clock counts does not hang on what else the host does.
    with ThreadPoolExecutor(2) as executor:
        first, second = executor.map(partial(calibrated, campaign), (1, 2))
    apart = {
        name: abs(second["operation"][name]["cost_ns"] / cost["cost_ns"] - 1)
        for name, cost in first["operation"].items()
        if not cost["kept"]
    }
    allure.attach(
        json.dumps({"apart": apart, "residuals": second["residuals"]}, indent=2),
        "calibrations",
        allure.attachment_type.JSON,
    )
    assert apart, "nothing was measured"
    assert max(apart.values()) <= _AGREEMENT, apart
