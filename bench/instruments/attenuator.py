"""The step attenuator in a branch's radio path: a drop of level that a rig file or a suite sets.

Two dialects are spoken: SCPI (ATTenuation, as Keysight's J7211 and the bench's model have it) and that of the
Mini-Circuits RCDAT and RUDAT series, which answers every set with 1 or 0 and has no *IDN?.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bench.instruments.decimals import decimal_text
from bench.instruments.visa import InstrumentRangeError, InstrumentRefusalError, Kind, identify

if TYPE_CHECKING:
    from bench.instruments.visa import VisaLink

KIND: Final = Kind(
    "step attenuator",
    re.compile(r"\b(J7211[ABC]|STEP-ATTENUATOR-MODEL)", re.IGNORECASE),
    "Keysight J7211A, B or C",
)

MINI_CIRCUITS: Final = Kind(
    "step attenuator",
    re.compile(r"\bMN=(RCDAT|RUDAT)-\d+-(?P<largest_db>\d+)", re.IGNORECASE),
    "Mini-Circuits RCDAT or RUDAT",
)


class StepAttenuator(Protocol):
    """An attenuator with steps. Everything may raise an InfrastructureError."""

    @property
    def largest_cdb(self) -> int:
        """Its largest attenuation."""
        ...

    @property
    def step_cdb(self) -> int:
        """Distance of its steps."""
        ...

    def set_attenuation_cdb(self, attenuation_cdb: int) -> None:
        """Attenuate by this, in 0.01 dB, which has to be one of the steps."""
        ...

    def attenuation_cdb(self) -> int:
        """What it attenuates by."""
        ...


@dataclass(frozen=True, slots=True)
class StepRange:
    """0 to `largest_cdb` by `step_cdb`."""

    largest_cdb: int
    step_cdb: int

    def check(self, link: VisaLink, attenuation_cdb: int) -> None:
        """Raises InstrumentRangeError unless the value is one of the steps."""
        if not 0 <= attenuation_cdb <= self.largest_cdb or attenuation_cdb % self.step_cdb:
            raise InstrumentRangeError(
                link.seat,
                f"found {decimal_text(attenuation_cdb, 2)} dB, where {link.identification} has"
                f" 0 to {decimal_text(self.largest_cdb, 2)} dB by {decimal_text(self.step_cdb, 2)} dB",
                "choose one of its steps",
            )


_J7211: Final = {
    "J7211A": StepRange(12_100, 100),
    "J7211B": StepRange(12_100, 100),
    "J7211C": StepRange(10_100, 100),
}
"""Keysight J7211A/B/C attenuation control units: 0 to 121 dB, the C 0 to 101 dB, by 1 dB. Not checked
against a unit: one with another range refuses by its error queue."""


class _SteppedAttenuator:
    """An attenuator behind a link, and its steps."""

    def __init__(self, link: VisaLink, steps: StepRange) -> None:
        self._link = link
        self._steps = steps

    @property
    def largest_cdb(self) -> int:
        """Its largest attenuation."""
        return self._steps.largest_cdb

    @property
    def step_cdb(self) -> int:
        """Distance of its steps."""
        return self._steps.step_cdb


class ScpiAttenuator(_SteppedAttenuator):
    """A StepAttenuator by SCPI; one whose model is not known to the bench is asked for its range and step."""

    def __init__(self, link: VisaLink) -> None:
        known = [steps for model, steps in _J7211.items() if model in link.identification.upper()]
        super().__init__(
            link,
            known[0] if known else StepRange(link.counts("ATT? MAX", 2), max(1, link.counts("ATT:STEP?", 2))),
        )

    def set_attenuation_cdb(self, attenuation_cdb: int) -> None:
        """Attenuate by one of the steps. Raises InstrumentRangeError for others."""
        self._steps.check(self._link, attenuation_cdb)
        self._link.write(f"ATT {decimal_text(attenuation_cdb, 2)}")

    def attenuation_cdb(self) -> int:
        """What it attenuates by."""
        return self._link.counts("ATT?", 2)


class MiniCircuitsAttenuator(_SteppedAttenuator):
    """A StepAttenuator of the RCDAT or RUDAT series: 0.25 dB steps, up to what its model name ends in.

    Commands: Mini-Circuits programming manual for programmable attenuators (SETATT, ATT?, MN?).
    """

    def __init__(self, link: VisaLink) -> None:
        match = MINI_CIRCUITS.models.search(link.identification)
        largest_db = int(match["largest_db"]) if match else 30
        super().__init__(link, StepRange(100 * largest_db, 25))

    def set_attenuation_cdb(self, attenuation_cdb: int) -> None:
        """Attenuate by one of the steps. Raises InstrumentRangeError for others."""
        self._steps.check(self._link, attenuation_cdb)
        message = f":SETATT={decimal_text(attenuation_cdb, 2)}"
        answer = self._link.query(message, repeats=False)
        if answer != "1":
            raise InstrumentRefusalError(
                self._link.seat,
                f"{message!r} was answered with {answer!r}, where 1 stands for done",
                "check the model's range in its data sheet",
            )

    def attenuation_cdb(self) -> int:
        """What it attenuates by."""
        return self._link.counts(":ATT?", 2)


def open_attenuator(link: VisaLink, identity: str = "", dialect: str = "scpi") -> StepAttenuator:
    """Identify what a link leads to and give its driver; `dialect` is "scpi" or "mini-circuits"."""
    if dialect == "mini-circuits":
        identify(link, MINI_CIRCUITS, identity, query=":MN?")
        return MiniCircuitsAttenuator(link)
    identify(link, KIND, identity)
    link.write("*CLS")
    return ScpiAttenuator(link)
