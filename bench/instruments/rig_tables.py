"""The [instruments] tables of a rig file as a plan of the rack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.instruments.rack import AttenuatorPlan, PowerMeterPlan, RackPlan, SupplyPlan

if TYPE_CHECKING:
    from bench.rig.instruments import Instruments


def rack_plan(instruments: Instruments) -> RackPlan:
    """What is to be opened, started and set."""
    meter = instruments.power_meter
    return RackPlan(
        supplies=tuple(
            SupplyPlan(
                kind=supply.kind,
                voltage_mv=supply.voltage_mv,
                current_limit_ma=supply.current_limit_ma,
                feeds=supply.feeds,
                channel=supply.channel,
                resource=supply.resource,
                identity=supply.identity,
            )
            for supply in instruments.supply
        ),
        power_meter=None
        if meter is None
        else PowerMeterPlan(meter.kind, meter.channel, meter.resource, meter.identity),
        attenuators=tuple(
            AttenuatorPlan(
                kind=attenuator.kind,
                branch=attenuator.branch,
                attenuation_cdb=attenuator.attenuation_cdb,
                resource=attenuator.resource,
                identity=attenuator.identity,
                dialect=attenuator.dialect,
            )
            for attenuator in instruments.attenuator
        ),
    )
