"""Measured costs beside published ones: their ratio, and how far that is for what the published figure
claims.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.rig.calibration import Calibration

Kind = Literal["published", "prior", "estimate"]
"""How good the other figure is: published for the board's core, derived from such, or guessed."""


@dataclass(frozen=True, slots=True)
class Residual:
    """One operation, measured and as another file has it, ns."""

    operation: str
    measured_ns: int
    reference_ns: int
    kind: Kind
    reference_spread: float
    """Standard deviation of the reference's natural logarithm, as its file claims."""

    @property
    def ratio(self) -> float:
        """Measured by reference: above 1 the board is slower than the reference says."""
        return self.measured_ns / self.reference_ns

    @property
    def deviations(self) -> float:
        """The ratio's logarithm in standard deviations of the reference; infinite where it claims none."""
        logarithm = math.log(self.ratio)
        if self.reference_spread:
            return logarithm / self.reference_spread
        return math.copysign(math.inf, logarithm) if logarithm else 0.0


def residuals(measured: Calibration, reference: Calibration, kept: frozenset[str]) -> list[Residual]:
    """Compare operation by operation, but those `kept` from the reference and those that cost nothing."""
    found = []
    for name, cost in measured.operation.items():
        other = reference.operation.get(name)
        if other is None or name in kept or not cost.cost_ns or not other.cost_ns:
            continue
        found.append(Residual(name, cost.cost_ns, other.cost_ns, kind_of(other.source), other.spread))
    return found


def kind_of(source: str) -> Kind:
    """Tell by the first word of a figure's source what it is."""
    first = source.split(maxsplit=1)[0].rstrip(":") if source.strip() else ""
    if first == "published":
        return "published"
    return "prior" if first == "prior" else "estimate"
