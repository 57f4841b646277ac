from dataclasses import replace
from pathlib import Path

import pytest

from bench.campaign import BASELINE, Campaign
from bench.progress import Reporter
from bench.rig.loader import load_rig
from bench.summary import summary_of
from bench.trial import TrialOutcome, TrialPlan, run_trial
from bench.uno.build import build_firmware
from bench.world.simulation import NS_PER_S
from reports.__main__ import build
from reports.model import load

RIG = Path(__file__).parents[1] / "rigs/virtual.toml"


@pytest.fixture
def unseen(tmp_path: Path) -> TrialOutcome:
    """A trial as real Unos leave it: nobody looks into them, and nobody hears their air."""
    rig = load_rig(RIG).with_changes(unos=1, interval_s=20)
    outcome = run_trial(TrialPlan(rig, 3, 40 * NS_PER_S, tmp_path / "trial"), build_firmware())
    return replace(outcome, unos={}, stations={}, repeated={}, receptions={})


def test_what_real_unos_do_not_show_stands_nowhere_in_result_and_page(
    unseen: TrialOutcome, tmp_path: Path
) -> None:
    reporter = Reporter(lambda _text: None, is_terminal=False)
    directory = tmp_path / "report"
    campaign = Campaign(unseen.plan.rig, RIG, 3, True, directory, unseen.firmware, reporter)
    campaign.trials[BASELINE] = unseen
    stored = campaign.write_result()
    result = load(stored)
    assert [trial["radio"] for trial in result["trials"]] == [None]
    assert {row["resource"] for row in result["free"]} == {"flash", "CPU and card"}
    page = build(stored, directory).read_text(encoding="utf-8")
    assert "On air" not in page
    assert "0 cycles" not in page


def test_the_summary_has_no_air_that_nobody_heard(unseen: TrialOutcome) -> None:
    assert summary_of(unseen)["radio"] is None
