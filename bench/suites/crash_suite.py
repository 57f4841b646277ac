"""Does the gateway keep what it acknowledged, whenever it is killed or its Pi loses power?"""

import allure
import pytest

from bench.campaign import Campaign
from bench.faults.plan import FaultKind
from bench.suites.evidence import attach_faults, attach_trial

pytestmark = allure.suite("crash")


@allure.title("Killed and cut off from power at random moments, a gateway loses nothing that it acknowledged")
def test_crashes_lose_nothing(campaign: Campaign) -> None:
    if not campaign.rig.is_paced:
        pytest.skip(
            "a virtual gateway has no process to kill and no card: ledger/gateway tests crash its store"
        )
    plan = campaign.crash_plan()
    outcome, evidence = campaign.disturbed_trial("crashes", plan)
    attach_trial(campaign, outcome)
    attach_faults(evidence)
    assert all(found.recovered_ns is not None for found in evidence), str(evidence[-1])
    assert len(evidence) == len(plan)
    assert all(found.fired for found in evidence), [str(found) for found in evidence if not found.fired]
    assert all(found.clean for found in evidence), [str(found) for found in evidence if not found.clean]
    if campaign.rig.can_cut_power(campaign.rig.branches[0]):
        assert {found.fault.kind for found in evidence} == set(FaultKind)
    assert (outcome.verdict.altered, outcome.verdict.unaccounted) == (0, 0), outcome.verdict.examples
