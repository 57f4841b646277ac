"""Circuits: which columns of a data set describe one metered circuit together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.sensors.dataset import Column, Dataset, DatasetError
from bench.sensors.quantity import Quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOMINAL_VOLTAGE_MV = 230_000


@dataclass(frozen=True, slots=True)
class Circuit:
    """One metered circuit: `power` (active, apparent, or energy) or else `current`, and what goes with it.

    Without `voltage` the mains is taken as 230 V.
    """

    power: Column | None
    voltage: Column | None = None
    current: Column | None = None
    reactive: Column | None = None

    @property
    def name(self) -> str:
        """The column, or the product of columns, that gives the circuit's power."""
        if self.power is not None:
            return self.power.name
        voltage = self.voltage.name if self.voltage is not None else "230 V"
        return f"{voltage} x {self.current.name if self.current is not None else '0 A'}"

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns used."""
        found = (self.power, self.voltage, self.current, self.reactive)
        return tuple(column for column in found if column is not None)

    def energy_column(self) -> Column:
        """Give the column that an energy meter counts: `power`, else voltage times current."""
        if self.power is not None:
            return self.power
        if self.current is None:
            raise DatasetError("a circuit needs a power, an energy or a current column")
        starts_ns = np.unique(np.concatenate([column.starts_ns for column in self.columns]))
        milliamperes = _sampled(self.current, starts_ns)
        millivolts = np.full_like(milliamperes, NOMINAL_VOLTAGE_MV)
        if self.voltage is not None:
            millivolts = np.maximum(_sampled(self.voltage, starts_ns), 0)
        milliwatts = millivolts * milliamperes // 1000
        return Column(self.name, Quantity.APPARENT, starts_ns, milliwatts, self.current.span_ns)


def _sampled(column: Column, starts_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    return column.values[np.searchsorted(column.starts_ns, starts_ns, side="right") - 1]


def circuits(dataset: Dataset, names: Sequence[str] = ()) -> tuple[Circuit, ...]:
    """Find the circuits of a data set: those named, in that order, else all.

    All are: each active power column, then each energy column; without any, each apparent power column;
    without any, each current column times its voltage. Voltage, current and reactive power go with a power
    column when there are as many of them as power columns (first with first); a single voltage goes with
    everything. Raises DatasetError.
    """
    if names:
        return tuple(_circuit(dataset, dataset.column(name)) for name in names)
    for quantities in (
        (Quantity.POWER, Quantity.ENERGY),
        (Quantity.APPARENT,),
        (Quantity.CURRENT,),
    ):
        found = [column for quantity in quantities for column in _of(dataset, quantity)]
        if found:
            return tuple(_circuit(dataset, column) for column in found)
    there = ", ".join(f"{column.name} ({column.quantity.value})" for column in dataset.columns)
    raise DatasetError(
        f"{dataset.path}: no column tells what a meter counts; found {there}; expected a column of "
        "power (_w, _kw), energy (_wh, _kwh), apparent power (_va) or current (_a)"
    )


def _of(dataset: Dataset, quantity: Quantity) -> list[Column]:
    return [column for column in dataset.columns if column.quantity is quantity]


def _partner(dataset: Dataset, column: Column, quantity: Quantity) -> Column | None:
    """Find the column of `quantity` that belongs to `column`, by its place among its kind."""
    kind = _of(dataset, column.quantity)
    partners = _of(dataset, quantity)
    if len(partners) == len(kind):
        return partners[kind.index(column)]
    return partners[0] if quantity is Quantity.VOLTAGE and len(partners) == 1 else None


def _circuit(dataset: Dataset, column: Column) -> Circuit:
    match column.quantity:
        case Quantity.POWER | Quantity.APPARENT:
            return Circuit(
                power=column,
                voltage=_partner(dataset, column, Quantity.VOLTAGE),
                current=_partner(dataset, column, Quantity.CURRENT),
                reactive=_partner(dataset, column, Quantity.REACTIVE),
            )
        case Quantity.ENERGY:
            return Circuit(power=column, voltage=_partner(dataset, column, Quantity.VOLTAGE))
        case Quantity.CURRENT:
            return Circuit(power=None, voltage=_partner(dataset, column, Quantity.VOLTAGE), current=column)
        case _:
            raise DatasetError(
                f"{dataset.path}: column {column.name!r} is in {column.quantity.value}, of which a meter has "
                "nothing to count; name a column of power, energy, apparent power or current"
            )
