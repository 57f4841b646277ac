"""Two settlements cut off from each other and writing all the while: once joined, do all ledgers agree?"""

import json

import allure
import pytest

from bench.assembly import LEAD_IN_NS
from bench.campaign import Campaign
from bench.rig.model import Branch, Outage, Rig
from bench.suites.evidence import attach_trial
from bench.trial import TrialOutcome
from bench.world.simulation import NS_PER_S

pytestmark = allure.suite("partition")


def islands(rig: Rig, window_s: int) -> Rig:
    """The rig with its uplinks cut from a quarter of the window on, each longer than the one before.

    A virtual rig gets a second branch where it has one; one of ports and hosts has the branches that stand.
    """
    branches = rig.branches
    if len(branches) == 1 and not rig.is_paced:
        branches = (branches[0], branches[0].model_copy(update={"name": f"{branches[0].name}-twin"}))
    begin_s = LEAD_IN_NS // NS_PER_S + window_s // 4
    cut: list[Branch] = []
    for position, branch in enumerate(branches):
        outage = Outage(from_s=begin_s, to_s=begin_s + window_s // 2 + position * window_s // 8)
        cut.append(
            branch.model_copy(update={"uplink": branch.uplink.model_copy(update={"outages": (outage,)})})
        )
    return rig.model_copy(update={"branch": tuple(cut)})


def sealed_while_cut(outcome: TrialOutcome) -> set[str]:
    """The gateways that wrote blocks of their own while no uplink was up."""
    outages = [outage for branch in outcome.plan.rig.branches for outage in branch.uplink.outages]
    begin_ns = outcome.zero_ns + max(outage.from_s for outage in outages) * NS_PER_S
    end_ns = outcome.zero_ns + min(outage.to_s for outage in outages) * NS_PER_S
    with outcome.trace_path.open(encoding="ascii") as lines:
        records = map(json.loads, lines)
        return {
            source
            for t_ns, source, kind, fields in records
            if kind == "block_stored" and fields["own"] and begin_ns <= t_ns < end_ns
        }


@allure.title("Gateways that were cut off and joined again end with the same heads, and no reading is lost")
def test_islands_merge(campaign: Campaign) -> None:
    if campaign.rig.is_paced and campaign.rig.server.vpn == "none":
        pytest.skip("without a VPN there is no relay that could cut the uplinks")
    outcome = campaign.trial("islands", rig=islands(campaign.rig, campaign.window_s))
    attach_trial(campaign, outcome)
    assert sealed_while_cut(outcome) == set(outcome.pis)
    assert len(set(outcome.heads.values())) == 1, outcome.heads
    assert (outcome.verdict.altered, outcome.verdict.unaccounted) == (0, 0)
    assert outcome.verdict.missing == 0, outcome.verdict.missing_by_cause
