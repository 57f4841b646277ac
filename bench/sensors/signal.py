"""Signals as an Uno's analogue pins see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnalogSegment:
    """A stretch of a sine on an analogue pin, until the next segment begins; without amplitude it is steady.

    Pin voltage at a cycle c: offset + amplitude * sin((phase + (c - from_cycle) * phase_step) / 2^64 turns).
    """

    from_cycle: int
    offset_uv: int
    amplitude_uv: int = 0
    phase: int = 0
    phase_step: int = 0
