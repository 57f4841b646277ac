"""What every run needs of this machine: the tools that build the firmware and make the report, and room."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from bench.doctor.command import Command, look_for, version_of
from bench.doctor.finding import Finding, State, missing, present

BUILD = Path("build")
ARDUINO_CORE = Path("/usr/share/arduino/hardware/arduino/avr")
AVR_LIBC = Path("/usr/lib/avr/include/avr")
NEEDED_BYTES = 1_000_000_000
"""Room for the report tool, firmware, traces and reports of a long run."""

_NODE_MAJOR = 18
_NODE: Final = Command("Node.js (runs the report tool)", "node", "nodejs", ("--version",))
_BUILDERS: Final = (
    Command("C compiler", "gcc", "gcc", ("-dumpfullversion",)),
    Command("AVR compiler", "avr-gcc", "gcc-avr", ("-dumpversion",)),
    Command("AVR binutils", "avr-objcopy", "binutils-avr", ("--version",)),
)
_NPM: Final = Command("npm", "npm", "npm", ("--version",))


def machine_findings() -> list[Finding]:
    """What a run of any rig needs here."""
    return [
        _python(),
        _core(),
        *map(look_for, _BUILDERS),
        _avr_libc(),
        _arduino_core(),
        _node(),
        look_for(_NPM),
        _allure(),
        _build_folder(BUILD),
        _disk(BUILD),
    ]


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
        return missing(subject, str(error), mend)
    return present(subject, module.__name__)


def _avr_libc() -> Finding:
    subject, mend = "avr-libc", "apt-get install avr-libc"
    try:
        text = (AVR_LIBC / "version.h").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return missing(subject, f"no {AVR_LIBC / 'version.h'}", mend)
    version = re.search(r'__AVR_LIBC_VERSION_STRING__\s+"([^"]+)"', text)
    return present(subject, version[1] if version else str(AVR_LIBC))


def _arduino_core() -> Finding:
    subject, mend = "Arduino core", "apt-get install arduino-core-avr"
    if not (ARDUINO_CORE / "cores/arduino/Arduino.h").is_file():
        return missing(subject, f"no {ARDUINO_CORE}/cores/arduino/Arduino.h", mend)
    try:
        text = (ARDUINO_CORE / "platform.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    version = re.search(r"^version=(.+)$", text, re.MULTILINE)
    return present(subject, version[1].strip() if version else str(ARDUINO_CORE))


def _node() -> Finding:
    finding = look_for(_NODE)
    major = finding.found.partition(".")[0]
    if finding.state is State.PRESENT and major.isdigit() and int(major) < _NODE_MAJOR:
        return missing(
            finding.subject,
            f"{finding.found}, expected {_NODE_MAJOR} or later",
            "apt-get install nodejs on Debian 12 or later",
        )
    return finding


def _allure() -> Finding:
    subject = "Allure 3 (makes the report)"
    local = BUILD / "tools/node_modules/.bin/allure"
    path = str(local) if local.exists() else shutil.which("allure")
    if path is None:
        return missing(subject, f"no {local} and no allure on the PATH", "make setup")
    version = version_of(path, "--version")
    if version.startswith("2."):
        return missing(subject, f"{version}, expected 3", "make setup")
    return present(subject, version)


def _build_folder(folder: Path) -> Finding:
    subject = "write permission"
    there = folder if folder.exists() else folder.absolute().parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return present(subject, f"{folder}/")
    return missing(
        subject,
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
