"""The power meter: charge and energy of what a supply feeds, between two times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bench.instruments.decimals import DecimalError, read_counts
from bench.instruments.visa import InstrumentAnswerError, Kind, identify

if TYPE_CHECKING:
    from bench.instruments.visa import VisaLink

KIND: Final = Kind(
    "power meter",
    re.compile(r"\b(WT3(10|32|33)\w*|POWER-METER-MODEL)", re.IGNORECASE),
    "Yokogawa WT310, WT332 or WT333",
)

ERROR_QUERY: Final = "STAT:ERR?"
"""Where this series keeps its error queue (IM WT310-17EN, STATus group)."""


@dataclass(frozen=True, slots=True)
class Integration:
    """Charge and energy over a span of time; the difference of two is what flowed between them."""

    elapsed_us: int
    charge_uc: int
    energy_uj: int

    def __sub__(self, earlier: Integration) -> Integration:
        return Integration(
            self.elapsed_us - earlier.elapsed_us,
            self.charge_uc - earlier.charge_uc,
            self.energy_uj - earlier.energy_uj,
        )

    @property
    def average_current_ua(self) -> int:
        """Mean current; 0 over no time at all."""
        return self.charge_uc * 1_000_000 // self.elapsed_us if self.elapsed_us else 0

    @property
    def average_power_uw(self) -> int:
        """Mean power; 0 over no time at all."""
        return self.energy_uj * 1_000_000 // self.elapsed_us if self.elapsed_us else 0


class PowerMeter(Protocol):
    """Measures one lead. Everything may raise an InfrastructureError."""

    def start(self) -> None:
        """Begin to integrate, from zero; an integration under way is given up."""
        ...

    def stop(self) -> Integration:
        """End the integration and give its total."""
        ...

    def integrated(self) -> Integration:
        """What has been integrated since the start; also while it goes on."""
        ...

    def voltage_mv(self) -> int:
        """Voltage now."""
        ...

    def current_ua(self) -> int:
        """Current now."""
        ...


class ScpiPowerMeter:
    """A PowerMeter by the commands of the Yokogawa WT300 series, on one of its elements.

    The link's `error_query` has to be ERROR_QUERY.
    """

    def __init__(self, link: VisaLink, element: int = 1) -> None:
        self._link = link
        link.write("INP:MODE DC")
        link.write("NUM:FORM ASC")
        link.write("INTEG:MODE NORM")
        for item, function in enumerate(("TIME", "AH", "WH", "U", "I"), start=1):
            link.write(f"NUM:NORM:ITEM{item} {function},{element}")
        link.write("NUM:NORM:NUMB 5")

    def start(self) -> None:
        """Begin to integrate from zero."""
        with self._link.exclusive():
            if self._state().startswith("STAR"):
                self._link.write("INTEG:STOP")
            self._link.write("INTEG:RES")
            self._link.write("INTEG:STAR")

    def stop(self) -> Integration:
        """End the integration and give its total."""
        with self._link.exclusive():
            if self._state().startswith("STAR"):
                self._link.write("INTEG:STOP")
            return self.integrated()

    def integrated(self) -> Integration:
        """What has been integrated since the start."""
        time, charge, energy, _, _ = self._values()
        if "NAN" in (time, charge, energy):
            raise InstrumentAnswerError(
                self._link.seat, "no integration has been started", "start one before asking for its total"
            )
        return Integration(
            self._number(time, 6),
            # Ampere-hours and watt-hours in counts of 1e-15, so that no digit is lost before the 3600.
            _nearest(self._number(charge, 15) * 3600, 10**9),
            _nearest(self._number(energy, 15) * 3600, 10**9),
        )

    def voltage_mv(self) -> int:
        """Voltage now."""
        return self._number(self._values()[3], 3)

    def current_ua(self) -> int:
        """Current now."""
        return self._number(self._values()[4], 6)

    def _state(self) -> str:
        return self._link.query("INTEG:STAT?").upper()

    def _values(self) -> list[str]:
        answer = self._link.query("NUM:NORM:VAL?")
        values = [value.strip().upper() for value in answer.split(",")]
        if len(values) != 5:
            raise self._link.odd("NUM:NORM:VAL?", answer, "five numbers")
        return values

    def _number(self, text: str, places: int) -> int:
        try:
            return read_counts(text, places)
        except DecimalError:
            raise self._link.odd("NUM:NORM:VAL?", text, "a number") from None


def identify_power_meter(link: VisaLink, identity: str = "") -> str:
    """Make sure that a link leads to a power meter; see `bench.instruments.visa.identify`."""
    told = identify(link, KIND, identity)
    link.write("*CLS")
    return told


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
