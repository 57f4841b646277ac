"""The machine under measurement, and what on it would make its figures doubtful."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ledger.measure.timing import smallest_step_ns

HOT_MILLI_C = 80_000
"""A Pi 3 slows down at 80 degrees Celsius (Raspberry Pi documentation, frequency management and thermal
control).
"""

_THROTTLED_NOW = 0xF
_THROTTLED_SINCE_BOOT = 0xF0000
# Bits of get_throttled: Raspberry Pi documentation, vcgencmd.
_THROTTLING = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_FIRMWARE_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_CPU = Path("/sys/devices/system/cpu")
_ENOUGH_TIME_S = 10


@dataclass(frozen=True, slots=True)
class Board:
    """What does not change while measuring."""

    model: str
    machine: str
    kernel: str
    python: str
    sqlite: str
    cores: int
    memory_kib: int
    clock_source: str
    cpu_clock_step_ns: int
    steady_clock_step_ns: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What may change while measuring; None where the machine does not tell."""

    governor: str | None
    frequency_khz: int | None
    highest_frequency_khz: int | None
    temperature_milli_c: int | None
    throttled: int | None
    load_per_core: float


def board() -> Board:
    """Look at the machine."""
    return Board(
        model=_model(),
        machine=platform.machine(),
        kernel=platform.release(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        cores=os.cpu_count() or 1,
        memory_kib=_memory_kib(),
        clock_source=_text(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource"))
        or "unknown",
        cpu_clock_step_ns=smallest_step_ns(time.CLOCK_PROCESS_CPUTIME_ID),
        steady_clock_step_ns=smallest_step_ns(time.CLOCK_MONOTONIC),
    )


def condition(core: int) -> Condition:
    """Look at how the machine fares at this moment, at one of its cores."""
    frequency = _CPU / f"cpu{core}" / "cpufreq"
    return Condition(
        governor=_text(frequency / "scaling_governor"),
        frequency_khz=_number(_text(frequency / "scaling_cur_freq")),
        highest_frequency_khz=_number(_text(frequency / "cpuinfo_max_freq")),
        temperature_milli_c=_number(_text(Path("/sys/class/thermal/thermal_zone0/temp"))),
        throttled=_throttled(),
        load_per_core=os.getloadavg()[0] / (os.cpu_count() or 1),
    )


def doubts(before: Condition, after: Condition) -> list[str]:
    """Say what speaks against the figures measured in between, each with its mend."""
    found = []
    if after.governor not in (None, "performance"):
        found.append(f"the clock governor is {after.governor}: set it to performance while measuring")
    if after.throttled is not None and after.throttled & (_THROTTLED_NOW | _THROTTLED_SINCE_BOOT):
        bits = after.throttled | after.throttled >> 16
        causes = ", ".join(name for bit, name in _THROTTLING.items() if bits >> bit & 1)
        found.append(
            f"the board was slowed down since it started ({causes}): mend supply or cooling and reboot"
        )
    if after.temperature_milli_c is not None and after.temperature_milli_c >= HOT_MILLI_C:
        found.append(f"it is {after.temperature_milli_c / 1000:.0f} degrees Celsius warm: cool it below 80")
    if (
        before.frequency_khz is not None
        and after.frequency_khz is not None
        and before.frequency_khz != after.frequency_khz
    ):
        found.append(
            f"the clock went from {before.frequency_khz} to {after.frequency_khz} kHz: fix its frequency"
        )
    if before.load_per_core > 0.5:
        found.append(f"{before.load_per_core:.1f} processes per core ran besides: stop them")
    return found


def _model() -> str:
    told = _text(Path("/proc/device-tree/model"))
    if told:
        return told.rstrip("\0")
    match = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")) or "", re.MULTILINE)
    return match[1] if match else f"unknown {platform.machine()} machine"


def _memory_kib() -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB$", _text(Path("/proc/meminfo")) or "", re.MULTILINE)
    return int(match[1]) if match else 0


def _throttled() -> int | None:
    text = _text(_FIRMWARE_THROTTLED)
    if text is None:
        try:
            run = subprocess.run(
                ["vcgencmd", "get_throttled"],
                capture_output=True,
                text=True,
                timeout=_ENOUGH_TIME_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        text = run.stdout.partition("=")[2]
    try:
        return int(text.strip(), 16)
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None
