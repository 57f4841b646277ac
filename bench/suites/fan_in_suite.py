"""How many sensors can one Uno serve, how many Unos one Pi, and what binds each?"""

import allure

from bench.campaign import Campaign
from bench.capacity.result import Axis
from bench.capacity.search import Plan
from bench.rig.model import S0_PINS
from bench.suites.evidence import attach_plots

pytestmark = allure.suite("fan-in")

_MOST_UNOS = 1024


@allure.title("Sensors per Uno")
def test_sensors_per_uno(campaign: Campaign) -> None:
    campaign.only_in_a_long_run()
    kind = campaign.rig.branches[0].sensors[0].kind
    ceiling = S0_PINS if kind == "s0" else 2
    capacity = campaign.search(
        Axis.SENSORS_PER_UNO,
        "sensors per Uno",
        Plan(
            ceiling=ceiling,
            ceiling_reason=f"an Uno has pins for {ceiling} {kind} sensors",
            seed=campaign.seed,
            start=ceiling if campaign.rig.is_paced else 1,
            confirmations=campaign.confirmations,
        ),
        lambda size: campaign.rig.with_changes(sensors_per_uno=size),
        fixed={Axis.UNOS_PER_PI: campaign.fan_in()[Axis.UNOS_PER_PI]},
        window_s=campaign.search_window_s,
    )
    attach_plots(campaign)
    assert capacity.settled
    assert capacity.largest_held is not None, f"not even one sensor: bound by {capacity.bound_by}"


@allure.title("Unos per Pi")
def test_unos_per_pi(campaign: Campaign) -> None:
    # A rig of ports and hosts has the boards that it has; time is real there, and a search begins with all.
    count = min(branch.uno.count for branch in campaign.rig.branches)
    ceiling = count if campaign.rig.is_paced else _MOST_UNOS
    capacity = campaign.search(
        Axis.UNOS_PER_PI,
        "Unos per Pi",
        Plan(
            ceiling=ceiling,
            ceiling_reason="the rig has no more" if campaign.rig.is_paced else f"searched up to {ceiling}",
            seed=campaign.seed,
            start=count,
            confirmations=campaign.confirmations,
        ),
        lambda size: campaign.rig.with_changes(unos=size),
        fixed={Axis.SENSORS_PER_UNO: campaign.fan_in()[Axis.SENSORS_PER_UNO]},
        window_s=campaign.search_window_s,
    )
    attach_plots(campaign)
    assert capacity.settled
    assert capacity.largest_held is not None, f"not even one Uno: bound by {capacity.bound_by}"
