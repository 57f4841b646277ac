"""Does a rig on the wall clock come to the same ledger as its twin in virtual time?"""

import json

import allure
import pytest

from bench.campaign import BASELINE, Campaign
from bench.suites.evidence import attach_twins
from bench.twin import compare

pytestmark = allure.suite("twin")


@allure.title("The same data and firmware give the same ledger content in virtual time and on the wall clock")
def test_twins_agree(campaign: Campaign) -> None:
    if not campaign.rig.is_paced:
        pytest.skip("this rig is virtual, and so its own twin")
    paced = campaign.trial(BASELINE)
    virtual = campaign.trial("virtual twin", rig=campaign.rig.virtual_twin())
    twins = compare(virtual, paced)
    attach_twins(twins)
    assert twins.compared > 0
    assert twins.same, json.dumps(twins.differences, indent=2)
