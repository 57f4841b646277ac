"""Do the instruments see what Uno, radio and Pi do, and does switching a supply off cut their power?"""

from contextlib import ExitStack

import allure
import pytest

from bench.campaign import Campaign
from bench.instruments.load import (
    ATMEGA328P_ACTIVE_UA,
    PI_IDLE_UA,
    UNO_BOARD_UA,
)
from bench.paced.supplied import SuppliedScene
from bench.world.patience import until

pytestmark = allure.suite("power")

_PATIENCE_S = 300.0


def emulated_instruments(campaign: Campaign) -> None:
    """Skip where there is no supply, or what it feeds cannot be put on its leads without hands."""
    instruments = campaign.rig.instruments
    if not instruments.supply:
        pytest.skip("this rig has no supply")
    kinds = {str(supply.kind) for supply in instruments.supply}
    kinds |= {branch.uno.kind for branch in campaign.rig.branches}
    if kinds != {"emulated"}:
        pytest.skip("needs emulated boards on an emulated supply; real ones are wired by hand")


def uno_seats_of(campaign: Campaign) -> list[str]:
    """The Unos of the first branch that the supply feeds; skip where it feeds none."""
    name = campaign.rig.branches[0].name
    fed = [seat for supply in campaign.rig.instruments.supply for seat in supply.feeds]
    unos = [seat for seat in fed if seat.startswith(f"{name}/uno-")]
    if not unos:
        pytest.skip(f"the supply feeds no Uno of {name}")
    return unos


@allure.title("An Uno's current follows what it does, and switching its supply off makes it boot anew")
def test_the_unos_hang_on_their_supply(campaign: Campaign) -> None:
    emulated_instruments(campaign)
    unos = uno_seats_of(campaign)
    with campaign.standing_rig.supplied_unos() as scene:
        supply = scene.rack.supply_of(unos[0])
        assert supply.measured_current_ua() == 0
        supply.output(True)
        until(lambda: scene.count("boot") == len(unos), _PATIENCE_S, "a boot of every Uno")
        epochs = epochs_of(scene)
        asleep_ua = min(supply.measured_current_ua() for _ in range(10))
        least_ua, most_ua = (len(unos) * (UNO_BOARD_UA + core_ua) for core_ua in (0, ATMEGA328P_ACTIVE_UA))
        assert least_ua < asleep_ua < most_ua
        meter, table = scene.rack.power_meter, campaign.rig.instruments.power_meter
        lead = campaign.rig.supply_of(unos[0])
        if meter is not None and table is not None and lead is not None and table.channel == lead.channel:
            assert least_ua < min(meter.current_ua() for _ in range(10)) < most_ua
        until(lambda: scene.count("transmission") > 0, _PATIENCE_S, "a transmission")
        supply.output(False)
        until(lambda: scene.count("power", on=False) == len(unos), _PATIENCE_S, "a power cut of every Uno")
        assert supply.measured_current_ua() == 0
        supply.output(True)
        until(lambda: scene.count("boot") == 2 * len(unos), _PATIENCE_S, "a second boot of every Uno")
        again = epochs_of(scene)
        assert all(again[name] > epochs[name] for name in unos), (epochs, again)
        assert not scene.rack.power_failures
        allure.attach(
            "\n".join(f"{found.seat}: {found.identification}" for found in scene.rack.found), "instruments"
        )


def epochs_of(scene: SuppliedScene) -> dict[str, int]:
    """The newest boot epoch of every Uno."""
    return {
        record.source: int(record.fields["epoch"]) for record in list(scene.records) if record.kind == "boot"
    }


@allure.title("What the step attenuator takes, the gateway does not hear")
def test_the_attenuator_attenuates(campaign: Campaign) -> None:
    emulated_instruments(campaign)
    branch = campaign.rig.branches[0]
    if not any(attenuator.branch == branch.name for attenuator in campaign.rig.instruments.attenuator):
        pytest.skip("this rig has no attenuator in the first branch")
    unos = uno_seats_of(campaign)
    with campaign.standing_rig.supplied_unos() as scene:
        scene.rack.supply_of(unos[0]).output(True)
        attenuator = scene.rack.attenuators[branch.name]
        listener = f"{branch.name}/listener"

        def heard(outcome: str) -> int:
            return sum(
                record.kind == "reception"
                and record.source == listener
                and record.fields["outcome"] == outcome
                for record in list(scene.records)
            )

        until(lambda: heard("delivered") > 0, _PATIENCE_S, "a frame that is heard")
        attenuator.set_attenuation_cdb(9500)
        assert attenuator.attenuation_cdb() == 9500
        transmissions, delivered = scene.count("transmission"), heard("delivered")
        until(
            lambda: scene.count("transmission") >= transmissions + 3, _PATIENCE_S, "three more transmissions"
        )
        # One may have been under way.
        assert heard("delivered") <= delivered + 1


@allure.title("The Pi's current follows its work, and switching its supply off cuts its power")
def test_the_pi_hangs_on_its_supply(campaign: Campaign) -> None:
    emulated_instruments(campaign)
    branch = campaign.rig.branches[0]
    seat = f"{branch.name}/pi"
    fed = {name for supply in campaign.rig.instruments.supply for name in supply.feeds}
    if seat not in fed or branch.pi.kind != "emulated":
        pytest.skip("the supply does not feed an emulated Pi")
    with ExitStack() as stack:
        scene, pi = stack.enter_context(campaign.standing_rig.supplied_pi())
        supply = scene.rack.supply_of(seat)
        assert (supply.measured_current_ua(), pi.process_id) == (0, None)
        supply.output(True)
        until(lambda: pi.process_id is not None, _PATIENCE_S, "power for the Pi")
        booting_ua: list[int] = []

        def is_up() -> bool:
            booting_ua.append(supply.measured_current_ua())
            assert not scene.rack.power_failures
            return pi.is_up

        until(is_up, _PATIENCE_S, "a boot")
        assert max(booting_ua) > PI_IDLE_UA, "a Pi that boots works"
        first = pi.boot_id()
        supply.output(False)
        until(lambda: pi.process_id is None, _PATIENCE_S, "the end of its power")
        assert supply.measured_current_ua() == 0
        supply.output(True)
        until(lambda: pi.is_up, _PATIENCE_S, "a second boot")
        assert pi.boot_id() != first
        assert not scene.rack.power_failures
