"""The server of a rig as a seat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.rig.model import Rig

ServerSeat = Any


def server_seat(rig: Rig, directory: Path, tell: Callable[[str], None]) -> ServerSeat:
    """The server of a rig as its file has it."""
    raise RuntimeError("under construction")
