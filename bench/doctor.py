"""What a machine has of what the bench needs: present, missing, and how to get it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.rig.loader import load_rig
from bench.rig.problem import RigError

if TYPE_CHECKING:
    from rich.console import Console

BUILD = Path("build")
ARDUINO_CORE = Path("/usr/share/arduino/hardware/arduino/avr")
AVR_LIBC = Path("/usr/lib/avr/include/avr")
NEEDED_BYTES = 1_000_000_000
"""Room for the report tool, firmware, traces and reports of a long run."""

_NODE_MAJOR = 18
_ENOUGH_TIME_S = 20


class State(Enum):
    """How a finding bears on the bench."""

    PRESENT = "present"
    MISSING = "missing"
    OPTIONAL = "not here, not needed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for: what it is, how it stands, what was found (version, place), and how to get it."""

    subject: str
    state: State
    found: str
    mend: str = ""


def diagnose(rig_path: Path | None = None) -> list[Finding]:
    """Look at this machine, and at a rig file when one is given. Changes nothing."""
    findings = [
        _python(),
        _core(),
        _tool("C compiler", "gcc", "-dumpfullversion", package="gcc"),
        _tool("AVR compiler", "avr-gcc", "-dumpversion", package="gcc-avr"),
        _tool("AVR binutils", "avr-objcopy", "--version", package="binutils-avr"),
        _avr_libc(),
        _arduino_core(),
        _node(),
        _tool("npm", "npm", "--version", package="npm"),
        _allure(),
        _tool("avrdude (flashes real Unos)", "avrdude", "-?", package="avrdude", needed=False),
        _tool("simavr (oracle of the Uno core)", "simavr", package="simavr", needed=False),
        _build_folder(BUILD),
        _disk(BUILD),
    ]
    if rig_path is not None:
        findings.append(_rig(rig_path))
    return findings


def render(findings: list[Finding], console: Console) -> int:
    """Print findings as a table and the mends below; the exit status is 0 when nothing needed is missing."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    marks = {
        State.PRESENT: "[green]ok[/]",
        State.MISSING: "[red]not ok[/]",
        State.OPTIONAL: "[dim]optional[/]",
    }
    for finding in findings:
        table.add_row(marks[finding.state], Text(finding.subject), Text(finding.found))
    console.print(table, highlight=False)
    mends = [finding for finding in findings if finding.mend and finding.state is not State.PRESENT]
    if mends:
        console.print("\nHow to get what is not there:")
        for finding in mends:
            console.print(
                f"  {finding.subject}: {finding.mend}", highlight=False, markup=False, soft_wrap=True
            )
    missing = sum(finding.state is State.MISSING for finding in findings)
    console.print(f"\nNeeded and not ok: {missing}" if missing else "\nEverything needed is here.")
    return 1 if missing else 0


def _python() -> Finding:
    enough = sys.version_info >= (3, 11)
    return Finding(
        "Python",
        State.PRESENT if enough else State.MISSING,
        platform.python_version(),
        "the bench needs 3.11 or later: apt-get install python3 python3-venv",
    )


def _core() -> Finding:
    subject = "native Uno core"
    mend = "make setup (builds it from bench/uno/core)"
    try:
        module = importlib.import_module("bench.uno.atmega328p")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(subject, State.MISSING, str(error), mend)
    return Finding(subject, State.PRESENT, module.__name__)


def _tool(subject: str, command: str, *version: str, package: str, needed: bool = True) -> Finding:
    """A command on the PATH; `version` are the arguments that make it tell its version."""
    path = shutil.which(command)
    mend = f"apt-get install {package}"
    if path is None:
        return Finding(
            subject, State.MISSING if needed else State.OPTIONAL, f"no {command} on the PATH", mend
        )
    return Finding(subject, State.PRESENT, _version(path, *version) if version else path)


def _version(path: str, *arguments: str) -> str:
    """The first thing in a command's output that looks like a version, or its path."""
    try:
        run = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=_ENOUGH_TIME_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"{path} (does not run)"
    version = re.search(r"\d+(?:\.\d+)+", run.stdout + run.stderr)
    return version[0] if version else path


def _avr_libc() -> Finding:
    subject, mend = "avr-libc", "apt-get install avr-libc"
    try:
        text = (AVR_LIBC / "version.h").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Finding(subject, State.MISSING, f"no {AVR_LIBC / 'version.h'}", mend)
    version = re.search(r'__AVR_LIBC_VERSION_STRING__\s+"([^"]+)"', text)
    return Finding(subject, State.PRESENT, version[1] if version else str(AVR_LIBC))


def _arduino_core() -> Finding:
    subject, mend = "Arduino core", "apt-get install arduino-core-avr"
    if not (ARDUINO_CORE / "cores/arduino/Arduino.h").is_file():
        return Finding(subject, State.MISSING, f"no {ARDUINO_CORE}/cores/arduino/Arduino.h", mend)
    try:
        text = (ARDUINO_CORE / "platform.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    version = re.search(r"^version=(.+)$", text, re.MULTILINE)
    return Finding(subject, State.PRESENT, version[1].strip() if version else str(ARDUINO_CORE))


def _node() -> Finding:
    finding = _tool("Node.js (runs the report tool)", "node", "--version", package="nodejs")
    major = finding.found.partition(".")[0]
    if finding.state is State.PRESENT and major.isdigit() and int(major) < _NODE_MAJOR:
        return Finding(
            finding.subject,
            State.MISSING,
            f"{finding.found}, expected {_NODE_MAJOR} or later",
            "apt-get install nodejs on Debian 12 or later",
        )
    return finding


def _allure() -> Finding:
    subject = "Allure 3 (makes the report)"
    local = BUILD / "tools/node_modules/.bin/allure"
    path = str(local) if local.exists() else shutil.which("allure")
    if path is None:
        return Finding(subject, State.MISSING, f"no {local} and no allure on the PATH", "make setup")
    version = _version(path, "--version")
    if version.startswith("2."):
        return Finding(subject, State.MISSING, f"{version}, expected 3", "make setup")
    return Finding(subject, State.PRESENT, version)


def _build_folder(folder: Path) -> Finding:
    subject = "write permission"
    there = folder if folder.exists() else folder.absolute().parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding(subject, State.PRESENT, f"{folder}/")
    return Finding(
        subject,
        State.MISSING,
        f"cannot write to {there}",
        f"chmod u+rwx {there}, or work in a folder of yours",
    )


def _disk(folder: Path) -> Finding:
    there = folder if folder.exists() else folder.absolute().parent
    free_bytes = shutil.disk_usage(there).free
    enough = free_bytes >= NEEDED_BYTES
    return Finding(
        "disk space",
        State.PRESENT if enough else State.MISSING,
        f"{free_bytes / 1e9:.1f} GB free",
        f"free {(NEEDED_BYTES - free_bytes) / 1e9:.1f} GB more" if not enough else "",
    )


def _rig(path: Path) -> Finding:
    try:
        rig = load_rig(path)
    except RigError as error:
        return Finding("rig file", State.MISSING, str(error), "mend the file as said above")
    branches = ", ".join(f"{branch.name} ({branch.uno.count} Unos)" for branch in rig.branches)
    return Finding("rig file", State.PRESENT, f"{path}: {rig.name}; {branches}")
