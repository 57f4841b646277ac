"""Which things the doctor looks at: this machine, and what a rig's seats need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.doctor.command import Command, look_for
from bench.doctor.machine import machine_findings
from bench.doctor.rig import rig_findings

if TYPE_CHECKING:
    from pathlib import Path

    from bench.doctor.finding import Finding

_FOR_OTHER_RIGS: Final = (
    Command("avrdude (flashes Unos)", "avrdude", "avrdude", ("-?",)),
    Command("QEMU (emulated Pi)", "qemu-system-aarch64", "qemu-system-arm", ("--version",)),
    Command("mmdebstrap (image of the emulated Pi)", "mmdebstrap", "mmdebstrap", ("--version",)),
    Command("WireGuard (emulated and real rigs)", "wg", "wireguard-tools", ("--version",)),
    Command("simavr (oracle of the Uno core)", "simavr", "simavr"),
)
"""What the virtual rig does without."""


def diagnose(rig_path: Path | None = None) -> list[Finding]:
    """Look at this machine, and at a rig file with all its seats when one is given. Changes nothing."""
    if rig_path is None:
        others = [look_for(command, needed=False) for command in _FOR_OTHER_RIGS]
        return [*machine_findings(), *others]
    return [*machine_findings(), *rig_findings(rig_path)]
