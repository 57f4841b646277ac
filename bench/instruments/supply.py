"""The programmable supply: what the bench asks of one, and the driver that asks it by SCPI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from bench.instruments.decimals import decimal_text
from bench.instruments.visa import InstrumentRangeError, Kind, identify

if TYPE_CHECKING:
    from bench.instruments.visa import VisaLink

KIND: Final = Kind(
    "power supply",
    re.compile(r"\b(DP8\d\d|DP9\d\d|E3631A|E36[1-3]\d\dA|EDU36311A|SUPPLY-MODEL)", re.IGNORECASE),
    "Rigol DP800 or DP900, Keysight E3631A, E36300 or EDU36311A",
)


class Trip(Enum):
    """Which protection switched an output off."""

    NONE = "none"
    OVER_VOLTAGE = "over-voltage"
    OVER_CURRENT = "over-current"


class PowerSupply(Protocol):
    """One output of a supply. Everything may raise an InfrastructureError."""

    def set_voltage_mv(self, voltage_mv: int) -> None:
        """Ask for a voltage; the output goes there if it is on."""
        ...

    def voltage_mv(self) -> int:
        """The voltage asked for."""
        ...

    def set_current_limit_ma(self, current_ma: int) -> None:
        """Give this current at most."""
        ...

    def current_limit_ma(self) -> int:
        """The current given at most."""
        ...

    def output(self, on: bool) -> None:
        """Switch the output on or off, and with it the power of what it feeds."""
        ...

    def is_on(self) -> bool:
        """Whether the output is switched on."""
        ...

    def measured_voltage_mv(self) -> int:
        """Voltage at the terminals."""
        ...

    def measured_current_ua(self) -> int:
        """Current out of the terminals, averaged as the instrument does it."""
        ...

    def set_over_voltage_mv(self, voltage_mv: int | None) -> None:
        """Switch off above this voltage; None: never."""
        ...

    def set_over_current_ma(self, current_ma: int | None) -> None:
        """Switch off above this current; None: never."""
        ...

    def tripped(self) -> Trip:
        """Which protection has switched the output off."""
        ...

    def clear_trip(self) -> None:
        """Make the protections ready again; the output stays off."""
        ...


@dataclass(frozen=True, slots=True)
class _Bounds:
    minimum: int
    maximum: int


class ScpiSupply:
    """A PowerSupply by SCPI-99, on an output chosen by INSTrument:NSELect.

    Several outputs of one instrument share a link, which `identify_supply` has identified.
    """

    def __init__(self, link: VisaLink, channel: int = 1) -> None:
        self._link = link
        self._channel = channel
        self._voltage = self._bounds("VOLT")
        self._current = self._bounds("CURR")

    def set_voltage_mv(self, voltage_mv: int) -> None:
        """Ask for a voltage. Raises InstrumentRangeError."""
        self._within("a voltage", voltage_mv, self._voltage, "mV", "voltage_mv")
        self._set(f"VOLT {decimal_text(voltage_mv, 3)}")

    def voltage_mv(self) -> int:
        """The voltage asked for."""
        return self._counts("VOLT?", 3)

    def set_current_limit_ma(self, current_ma: int) -> None:
        """Give this current at most. Raises InstrumentRangeError."""
        self._within("a current limit", current_ma, self._current, "mA", "current_limit_ma")
        self._set(f"CURR {decimal_text(current_ma, 3)}")

    def current_limit_ma(self) -> int:
        """The current given at most."""
        return self._counts("CURR?", 3)

    def output(self, on: bool) -> None:
        """Switch the output on or off."""
        self._set(f"OUTP {_switch(on)}")

    def is_on(self) -> bool:
        """Whether the output is switched on."""
        return self._switched("OUTP?")

    def measured_voltage_mv(self) -> int:
        """Voltage at the terminals."""
        return self._counts("MEAS:VOLT?", 3)

    def measured_current_ua(self) -> int:
        """Current out of the terminals."""
        return self._counts("MEAS:CURR?", 6)

    def set_over_voltage_mv(self, voltage_mv: int | None) -> None:
        """Switch off above this voltage; None: never."""
        self._protect("VOLT", voltage_mv)

    def set_over_current_ma(self, current_ma: int | None) -> None:
        """Switch off above this current; None: never."""
        self._protect("CURR", current_ma)

    def tripped(self) -> Trip:
        """Which protection has switched the output off."""
        if self._switched("VOLT:PROT:TRIP?"):
            return Trip.OVER_VOLTAGE
        return Trip.OVER_CURRENT if self._switched("CURR:PROT:TRIP?") else Trip.NONE

    def clear_trip(self) -> None:
        """Make both protections ready again."""
        self._set("VOLT:PROT:CLE")
        self._set("CURR:PROT:CLE")

    # What is sent

    def _select(self) -> None:
        self._link.write(f"INST:NSEL {self._channel}")

    def _set(self, message: str) -> None:
        with self._link.exclusive():
            self._select()
            self._link.write(message)

    def _counts(self, message: str, places: int) -> int:
        with self._link.exclusive():
            self._select()
            return self._link.counts(message, places)

    def _switched(self, message: str) -> bool:
        with self._link.exclusive():
            self._select()
            answer = self._link.query(message)
        # Rigol answers ON, Keysight and the standard 1; YES is what Rigol says of protections.
        if answer.upper() in ("1", "ON", "YES"):
            return True
        if answer.upper() in ("0", "OFF", "NO"):
            return False
        raise self._link.odd(message, answer, "1 or 0, ON or OFF")

    def _protect(self, what: str, level: int | None) -> None:
        with self._link.exclusive():
            if level is not None:
                self._set(f"{what}:PROT {decimal_text(level, 3)}")
            self._set(f"{what}:PROT:STAT {_switch(level is not None)}")

    def _bounds(self, what: str) -> _Bounds:
        return _Bounds(self._counts(f"{what}? MIN", 3), self._counts(f"{what}? MAX", 3))

    def _within(self, noun: str, value: int, bounds: _Bounds, unit: str, key: str) -> None:
        if not bounds.minimum <= value <= bounds.maximum:
            raise InstrumentRangeError(
                self._link.seat,
                f"found {noun} of {value} {unit}, where output {self._channel} of"
                f" {self._link.identification} gives {bounds.minimum} to {bounds.maximum} {unit}",
                f"set {key} within that, or choose another channel",
            )


def identify_supply(link: VisaLink, identity: str = "") -> str:
    """Make sure that a link leads to a supply; see `bench.instruments.visa.identify`."""
    told = identify(link, KIND, identity)
    link.write("*CLS")
    return told


def _switch(on: bool) -> str:
    return "ON" if on else "OFF"
