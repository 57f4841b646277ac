"""Instruments of a rig: opened, and asked who they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.doctor.finding import Finding, missing, present
from bench.doctor.inquiry import Inquiry
from bench.instruments.rack import Found, survey
from bench.instruments.visa import shown
from bench.rig.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import Iterator


def instrument_inquiries(tables: Instruments) -> list[Inquiry]:
    """What there is to find out about the real instruments of a rig; emulated ones come with the bench."""
    return [Inquiry("instruments (real)", partial(instrument_findings, one)) for one in one_by_one(tables)]


def one_by_one(tables: Instruments) -> Iterator[Instruments]:
    """The real instruments of a rig as tables of one each, so that they can be asked side by side."""
    seen = set()
    for supply in tables.supply:
        # Outputs of one supply share its resource.
        if supply.kind == "real" and supply.resource not in seen:
            seen.add(supply.resource)
            yield Instruments(supply=(supply,))
    if tables.power_meter is not None and tables.power_meter.kind == "real":
        yield Instruments(power_meter=tables.power_meter)
    for attenuator in tables.attenuator:
        if attenuator.kind == "real":
            yield Instruments(attenuator=(attenuator,))


def instrument_findings(tables: Instruments) -> Iterator[Finding]:
    """Open the real instruments and see whether they are what the rig file says; outputs stay as they are."""
    for answer in survey(tables):
        if isinstance(answer, Found):
            yield present(answer.seat, f"{answer.resource} is {shown(answer.identification)}")
        else:
            yield missing(answer.seat, answer.what, answer.mend)
