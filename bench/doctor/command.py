"""Commands of this machine: whether they are on the PATH, and which version they say they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from bench.doctor.finding import Finding, State, present

_ENOUGH_TIME_S = 20


@dataclass(frozen=True, slots=True)
class Command:
    """A command the bench starts: what for, its name, the Debian package that brings it."""

    subject: str
    name: str
    package: str
    version: tuple[str, ...] = ()
    """Arguments that make it tell its version; none: it has no such arguments."""


def look_for(command: Command, *, needed: bool = True) -> Finding:
    """Whether a command is on the PATH, with its version."""
    path = shutil.which(command.name)
    if path is None:
        return Finding(
            command.subject,
            State.MISSING if needed else State.OPTIONAL,
            f"no {command.name} on the PATH",
            f"apt-get install {command.package}",
        )
    return present(command.subject, version_of(path, *command.version) if command.version else path)


def version_of(path: str, *arguments: str) -> str:
    """The first thing in a command's output that looks like a version, or its path."""
    try:
        run = subprocess.run(
            [path, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ENOUGH_TIME_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"{path} (does not run)"
    version = re.search(r"\d+(?:\.\d+)+", run.stdout + run.stderr)
    return version[0] if version else path
