"""The gateway of a branch on its Pi as a seat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.rig.model import Branch

GatewaySeat = Any


def gateway_seat(branch: Branch, server: Any, directory: Path, tell: Callable[[str], None]) -> GatewaySeat:
    """The gateway of a branch as its rig file has it."""
    raise RuntimeError("under construction")
