"""How many readings can the rig as it is carry, and what binds?"""

import allure

from bench.campaign import Campaign
from bench.capacity.result import Axis
from bench.capacity.search import Plan
from bench.rig.model import Rig
from bench.suites.evidence import attach_plots

pytestmark = allure.suite("throughput")

_SHORTEST_INTERVAL_S = 5
_RATES = tuple(rate for rate in range(1, 60 // _SHORTEST_INTERVAL_S + 1) if 60 % rate == 0)
"""Frames a minute at intervals of whole seconds: a rig plays no others."""


@allure.title("Frames per minute and Uno")
def test_frames_per_minute(campaign: Campaign) -> None:
    campaign.only_in_a_long_run()

    as_it_is = 60 // campaign.rig.branches[0].uno.interval_s

    def rig_of(frames_per_minute: int) -> Rig:
        return campaign.rig.with_changes(interval_s=60 // frames_per_minute)

    capacity = campaign.search(
        Axis.FRAMES_PER_MINUTE,
        "frames a minute and Uno",
        Plan(
            ceiling=_RATES[-1],
            ceiling_reason=f"shortest interval of {_SHORTEST_INTERVAL_S} s",
            seed=campaign.seed,
            start=max(rate for rate in _RATES if rate <= max(1, as_it_is)) if campaign.rig.is_paced else 1,
            confirmations=campaign.confirmations,
            sizes=_RATES,
        ),
        rig_of,
        fixed=campaign.fan_in(),
        window_s=campaign.search_window_s if campaign.rig.is_paced else 300 if campaign.short else 900,
    )
    attach_plots(campaign)
    assert capacity.settled
    assert capacity.largest_held is not None, f"not even one frame a minute: bound by {capacity.bound_by}"
