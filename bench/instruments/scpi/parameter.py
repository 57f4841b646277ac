"""Parameters of commands: numbers with units, MIN, MAX and DEF, switches and words (SCPI-99, volume 1, 7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.instruments.decimals import DecimalError, counts, exact
from bench.instruments.scpi.error import ScpiError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER_AND_SUFFIX: Final = re.compile(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)", re.ASCII)
_MULTIPLIERS: Final = {"": 0, "N": -9, "U": -6, "M": -3, "K": 3}
"""Powers of ten of the multipliers used here (IEEE 488.2, table 7-2; M is milli with volts and amperes)."""

_LIMITS: Final = {"MIN": "MINimum", "MAX": "MAXimum", "DEF": "DEFault"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A setting: its unit as the instrument names it, decimal places kept, and bounds in those counts."""

    unit: str
    places: int
    minimum: int
    maximum: int
    default: int

    def read(self, text: str) -> int:
        """Give the value in counts. Raises ScpiError -104, -131 or -222."""
        limit = self.limit(text)
        if limit is not None:
            return limit
        match = _NUMBER_AND_SUFFIX.fullmatch(text)
        if match is None:
            raise ScpiError(-104)
        try:
            number = exact(match.group(1))
        except DecimalError:
            raise ScpiError(-104) from None
        value = counts(number.scaleb(self._exponent(match.group(2))), self.places)
        if not self.minimum <= value <= self.maximum:
            raise ScpiError(-222)
        return value

    def limit(self, text: str) -> int | None:
        """What MINimum, MAXimum or DEFault stand for; None for other texts."""
        word = text.upper()
        for (short, long), value in zip(
            _LIMITS.items(), (self.minimum, self.maximum, self.default), strict=True
        ):
            if word in (short, long.upper()):
                return value
        return None

    def _exponent(self, suffix: str) -> int:
        if not suffix:
            return 0
        multiplier = suffix.upper().removesuffix(self.unit.upper())
        if not suffix.upper().endswith(self.unit.upper()) or multiplier not in _MULTIPLIERS:
            raise ScpiError(-131)
        return _MULTIPLIERS[multiplier]


def only(parameters: Sequence[str]) -> str:
    """The one parameter there has to be. Raises ScpiError -109 or -108."""
    if not parameters:
        raise ScpiError(-109)
    if len(parameters) > 1:
        raise ScpiError(-108)
    return parameters[0]


def none(parameters: Sequence[str]) -> None:
    """Raises ScpiError -108 when there is any parameter."""
    if parameters:
        raise ScpiError(-108)


def switch(text: str) -> bool:
    """ON, OFF, or a number that does not round to 0 (SCPI-99, volume 1, 7.3). Raises ScpiError -104."""
    word = text.upper()
    if word in ("ON", "OFF"):
        return word == "ON"
    try:
        return counts(exact(text), 0) != 0
    except DecimalError:
        raise ScpiError(-104) from None


def whole(text: str, minimum: int, maximum: int) -> int:
    """A whole number within bounds; others round to it. Raises ScpiError -104 or -222."""
    try:
        number = exact(text)
    except DecimalError:
        raise ScpiError(-104) from None
    value = counts(number, 0)
    if not minimum <= value <= maximum:
        raise ScpiError(-222)
    return value


def word_of(text: str, words: Sequence[str]) -> str:
    """Which of several words is meant, by its long or short form ("CONTinuous"). Raises ScpiError -224."""
    for word in words:
        short = "".join(letter for letter in word if not letter.islower())
        if text.upper() in (short, word.upper()):
            return word
    raise ScpiError(-224)
