"""A rig that keeps the wall clock, brought up once and played on many times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.paced.scene import Disturb
    from bench.rig.model import Rig
    from bench.trial import Progress, TrialOutcome, TrialPlan
    from bench.uno.image import FirmwareImage


class PacedRig:
    """All seats of a rig, between the first trial and the last."""

    def __init__(
        self, rig: Rig, firmware: FirmwareImage, directory: Path, tell: Callable[[str], None]
    ) -> None:
        self.rig = rig
        self._firmware = firmware
        self._directory = directory
        self._tell = tell

    retries: tuple[str, ...] = ()

    def play(self, plan: TrialPlan, progress: Progress, disturb: Disturb | None = None) -> TrialOutcome:
        """Play one trial of this rig, or of a part of it."""
        raise RuntimeError("under construction")

    def close(self) -> None:
        """Take everything down."""
