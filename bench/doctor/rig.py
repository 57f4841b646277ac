"""What a rig file is, and what each of its seats needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.doctor.finding import Finding, missing, present
from bench.rig.loader import load_rig
from bench.rig.problem import RigError

if TYPE_CHECKING:
    from pathlib import Path


def rig_findings(path: Path) -> list[Finding]:
    """Look at a rig file and at what its seats need."""
    try:
        rig = load_rig(path)
    except RigError as error:
        return [missing("rig file", str(error), "mend the file as said above")]
    branches = ", ".join(f"{branch.name} ({branch.uno.count} Unos)" for branch in rig.branches)
    return [present("rig file", f"{path}: {rig.name}; {branches}")]
