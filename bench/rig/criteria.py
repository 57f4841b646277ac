"""Criteria: the bounds that a trial's figures must keep, as written in a rig file."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MEANINGS = {
    "delivered": "share of injected readings found in the server's ledger",
    "altered": "readings whose content differs from what the Uno sealed",
    "unaccounted": "missing readings for which no cause is known",
    "latency_p99_s": "99th percentile of the time from snapshot to the server's ledger, s",
    "free_cpu_uno": "share of the busiest Uno's cycles spent asleep",
    "free_sram_b": "SRAM bytes of the fullest Uno that the stack never reached",
    "free_cpu_pi": "idle share of the busiest core of the busiest Pi",
    "airtime_duty_uno": "largest share of time on air of any Uno",
    "airtime_duty_gateway": "largest share of time on air of any gateway",
}
"""Every name a criterion may have, and what its figure means."""

UNSEEN_OF_REAL_UNOS = ("free_cpu_uno", "free_sram_b", "airtime_duty_uno", "airtime_duty_gateway")
"""What only emulated boards and a modelled air show."""

_COMPARISONS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([+-]?\d+(?:\.\d+)?)\s*")


class CriterionError(ValueError):
    """A criterion that cannot be understood; the message names it and what would be right."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One bound on one figure of a trial, such as ``delivered >= 0.99``."""

    name: str
    comparison: str
    bound: Decimal

    def holds(self, value: int | float | None) -> bool:
        """Whether the figure keeps the bound. A figure that was not measured (None) keeps none.

        Floats are read as the decimal they print as, so that 0.99 meets ``>= 0.99``.
        """
        if value is None:
            return False
        figure = Decimal(str(value))
        return not figure.is_nan() and _COMPARISONS[self.comparison](figure, self.bound)

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.bound}"


def parse_criterion(name: str, text: str) -> Criterion:
    """Read one line of a rig file's ``[criteria]``, such as ``delivered = ">= 0.99"``.

    Raises:
        CriterionError: for a name that no trial measures or a text that is no comparison.
    """
    if name not in MEANINGS:
        close = get_close_matches(name, MEANINGS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(MEANINGS)}"
        raise CriterionError(f"unknown criterion {name!r}; {hint}")
    form = _FORM.fullmatch(text)
    if form is None:
        raise CriterionError(f'found {text!r}, expected a comparison and a number, such as ">= 0.99"')
    return Criterion(name, form[1], Decimal(form[2]))
