"""Calibration files: what one operation of the gateway's software costs on one board.

The virtual Pi charges these costs as virtual time; the host's own speed never enters. A file is either
a "published prior" (derived from published figures) or "calibrated" (measured on the board it names).
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.rig.problem import Problem, RigError, did_you_mean, problems_of
from ledger.effects import Operation

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = tuple(operation.value for operation in Operation)
"""Every operation the gateway and the node report as spent; each must have a cost for its unit."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Cost(_Table):
    """CPU time of one operation on one core."""

    cost_ns: Annotated[int, Field(ge=0)]
    spread: Annotated[float, Field(ge=0, le=3)]
    """Standard deviation of the cost's natural logarithm."""
    per: Annotated[str, Field(min_length=1)]
    """What is counted once: a call, a byte."""
    source: Annotated[str, Field(min_length=1)]
    """Where the figure comes from and how it was derived."""


class Card(_Table):
    """The memory card: time that a durable commit waits without using the CPU."""

    write_ns: Annotated[int, Field(ge=0)]
    """Time of one 4 KiB write."""
    writes_per_commit: Annotated[int, Field(ge=1)]
    spread: Annotated[float, Field(ge=0, le=3)]
    source: Annotated[str, Field(min_length=1)]


class Calibration(_Table):
    """The costs of one board."""

    board: Annotated[str, Field(min_length=1)]
    label: Literal["published prior", "calibrated"]
    date: Annotated[str, Field(pattern=r"\d{4}-\d{2}-\d{2}")]
    cores: Annotated[int, Field(ge=1, le=1024)]
    card: Card
    operation: dict[str, Cost]

    def cost_ns(self, operation: str, count: int = 1) -> int:
        """CPU time of `count` operations on one core, ns (KeyError for an unknown one)."""
        return self.operation[operation].cost_ns * count

    def charge_ns(self, operation: str, count: int) -> int:
        """How long `count` operations keep the gateway's process, waits for the card included."""
        wait_ns = self.commit_wait_ns * count if operation == Operation.COMMIT else 0
        return self.cost_ns(operation, count) + wait_ns

    @property
    def commit_wait_ns(self) -> int:
        """Time a durable commit waits for the card, ns."""
        return self.card.write_ns * self.card.writes_per_commit

    def __str__(self) -> str:
        return f"{self.label} ({self.board}, {self.date})"


def load_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        RigError: naming the file and every problem in it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RigError(str(path), [Problem("", f"cannot be read: {error.strerror or error}")]) from None
    except ValueError as error:
        raise RigError(str(path), [Problem("", f"is no TOML: {error}")]) from None
    tables: dict[str, type[BaseModel]] = {"": Calibration, "card": Card}
    tables |= {f"operation.{operation}": Cost for operation in OPERATIONS}
    try:
        calibration = Calibration.model_validate(document)
    except ValidationError as error:
        raise RigError(str(path), problems_of(error, document, tables)) from None
    problems = [
        Problem(f"operation.{name}", "missing, and there is no default")
        for name in OPERATIONS
        if name not in calibration.operation
    ]
    problems += [
        Problem(f"operation.{name}", f"unknown operation; {did_you_mean(name, OPERATIONS)}")
        for name in calibration.operation
        if name not in OPERATIONS
    ]
    if problems:
        raise RigError(str(path), problems)
    return calibration
