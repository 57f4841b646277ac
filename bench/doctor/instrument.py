"""Instruments of a rig: opened, and asked who they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.doctor.finding import Finding, missing, present
from bench.doctor.inquiry import Inquiry
from bench.instruments.rack import Found, RackPlan, survey
from bench.instruments.visa import shown

if TYPE_CHECKING:
    from collections.abc import Iterator


def instrument_inquiries(plan: RackPlan) -> list[Inquiry]:
    """What there is to find out about the real instruments of a rig; emulated ones come with the bench."""
    return [Inquiry("instruments (real)", partial(instrument_findings, one)) for one in one_by_one(plan)]


def one_by_one(plan: RackPlan) -> Iterator[RackPlan]:
    """The real instruments of a rig as plans of one each, so that they can be asked side by side."""
    seen = set()
    for supply in plan.supplies:
        # Outputs of one supply share its resource.
        if supply.kind == "real" and supply.resource not in seen:
            seen.add(supply.resource)
            yield RackPlan(supplies=(supply,))
    if plan.power_meter is not None and plan.power_meter.kind == "real":
        yield RackPlan(power_meter=plan.power_meter)
    for attenuator in plan.attenuators:
        if attenuator.kind == "real":
            yield RackPlan(attenuators=(attenuator,))


def instrument_findings(plan: RackPlan) -> Iterator[Finding]:
    """Open the real instruments and see whether they are what the rig file says; outputs stay as they are."""
    for answer in survey(plan):
        if isinstance(answer, Found):
            yield present(answer.seat, f"{answer.resource} is {shown(answer.identification)}")
        else:
            yield missing(answer.seat, answer.what, answer.mend)
