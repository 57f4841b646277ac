"""What a column of a data set measures, and in which unit: told by the column's suffix or by the rig file."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Quantity(enum.Enum):
    """A measured quantity; the value is the unit in which the bench counts it, as a whole number."""

    POWER = "mW"
    ENERGY = "mWh"
    VOLTAGE = "mV"
    CURRENT = "mA"
    REACTIVE = "mvar"
    APPARENT = "mVA"

    @property
    def limit(self) -> int:
        """Largest plausible magnitude in the bench's unit: 1 GW, 1 GWh, 1 MV, 1 MA, 1 Gvar, 1 GVA."""
        return 10**9 if self in (Quantity.VOLTAGE, Quantity.CURRENT) else 10**12


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, `symbol` as people write it; one of it is 10**`exponent` of the quantity's milli-unit."""

    symbol: str
    quantity: Quantity
    exponent: int


class UnitError(ValueError):
    """A unit that is unknown or can be read in two ways; the message says how to mend it."""


IGNORED = "ignore"
"""Written in place of a unit by a rig file, to leave a column out."""

_PREFIXES = {"m": 0, "c": 1, "d": 2, "": 3, "k": 6, "M": 9, "G": 12}
_FAMILIES = (
    ("W", Quantity.POWER, ("m", "", "k", "M", "G")),
    ("Wh", Quantity.ENERGY, ("m", "", "k", "M", "G")),
    ("V", Quantity.VOLTAGE, ("m", "c", "d", "", "k")),
    ("A", Quantity.CURRENT, ("m", "c", "d", "", "k")),
    ("var", Quantity.REACTIVE, ("m", "", "k", "M")),
    ("VA", Quantity.APPARENT, ("m", "", "k", "M")),
)
UNITS = {
    prefix + symbol: Unit(prefix + symbol, quantity, _PREFIXES[prefix])
    for symbol, quantity, prefixes in _FAMILIES
    for prefix in prefixes
}
"""Every accepted unit by its symbol."""

# A suffix is read without regard to case, so milli and mega fall together where both are accepted.
_BY_SUFFIX: dict[str, list[Unit]] = {}
for _unit in UNITS.values():
    _BY_SUFFIX.setdefault(_unit.symbol.casefold(), []).append(_unit)

SUFFIXES = tuple(f"_{suffix}" for suffix, units in _BY_SUFFIX.items() if len(units) == 1)
"""Every suffix that tells a unit without doubt; upper and lower case count alike."""

_BRACKETED = re.compile(r"[(\[]\s*([A-Za-z]+)\s*[)\]]\s*$")


def _suffix(column: str) -> str:
    bracketed = _BRACKETED.search(column)
    return bracketed[1] if bracketed else column.strip().rpartition("_")[2]


def has_unit(column: str) -> bool:
    """Whether the column's name ends in a known unit, be it clear or ambiguous."""
    return _suffix(column).casefold() in _BY_SUFFIX


def unit_of_column(column: str) -> Unit | None:
    """Give the unit that a column's name ends in: `load_kw`, `Load (kW)`, `kwh`. None when there is none.

    Raises UnitError where milli and mega cannot be told apart (`_mw`, `_mwh`, `_mvar`, `_mva`).
    """
    found = _BY_SUFFIX.get(_suffix(column).casefold(), [])
    if len(found) > 1:
        first, second = (unit.symbol for unit in found)
        raise UnitError(
            f"the unit {_suffix(column)!r} may be {first} or {second}; "
            f'say which in the rig file: units = {{ "{column}" = "{second}" }}'
        )
    return found[0] if found else None


def unit_named(symbol: str) -> Unit:
    """Give the unit that a rig file names, in any case where that is clear. Raises UnitError."""
    if symbol in UNITS:
        return UNITS[symbol]
    found = _BY_SUFFIX.get(symbol.casefold(), [])
    if len(found) == 1:
        return found[0]
    if found:
        raise UnitError(f"unit {symbol!r} may be {' or '.join(unit.symbol for unit in found)}; write it so")
    raise UnitError(f"unknown unit {symbol!r}; accepted: {', '.join(UNITS)}, or {IGNORED!r}")
