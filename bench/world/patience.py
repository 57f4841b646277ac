"""Waiting for what must come in real time, with an end to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_EVERY_S = 0.02


def until(condition: Callable[[], object], patience_s: float, what: str = "it") -> None:
    """Wait until a condition holds. AssertionError, naming `what`, if it does not within `patience_s`."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not come about within {patience_s:g} s"
        time.sleep(_LOOK_EVERY_S)
