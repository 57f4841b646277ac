"""What a host that runs the ledger must be: asked by one script that only looks, judged here.

The script prints lines of ``word=value``; a command that is not there leaves its value empty.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.doctor.finding import Finding, missing, present

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OLDEST_PYTHON: Final = (3, 11)
CARD_BYTES: Final = 1_000_000_000
"""Room on a Pi's card or a server's disk for releases, blocks and logs of a long run."""
CLOCK_WITHIN_S: Final = 1.0

_SCRIPT: Final = """\
LC_ALL=C; PATH="$PATH:/usr/sbin:/sbin"; export LC_ALL PATH
say() { printf '%s=%s\\n' "$1" "$(printf %s "$2" | tr '\\n' ' ')"; }
say user "$(id -un)"
say user_id "$(id -u)"
say sudo "$(sudo -n true 2>&1 && echo permitted)"
say machine "$(uname -m)"
say bits "$(getconf LONG_BIT)"
say kernel "$(uname -r)"
say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1)"
say systemd "$([ -d /run/systemd/system ] && systemctl --version 2>&1 | head -n 1)"
say free_kib "$(df -Pk /var/lib 2>/dev/null | tail -n 1 | awk '{print $4}')"
say read_only "$(awk '$2 == "/" && $4 ~ /^ro(,|$)/ {print "yes"}' /proc/mounts 2>/dev/null)"
say synchronized "$(timedatectl show --property=NTPSynchronized --value 2>/dev/null)"
say wireguard "$( { [ -d /sys/module/wireguard ] || modprobe -n -q wireguard; } && echo yes)"
say wireguard_go "$(command -v wireguard-go)"
say wg "$(command -v wg)"
say console "$(cat /proc/cmdline 2>/dev/null)"
device() {
    say "device $1" "$([ -c "$1" ] && stat -L -c '%a %U:%G' "$1" && readlink -f "$1")"
}
"""
DATE: Final = "date +%s.%N"


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a host must have: its path, what for, and how to get it where it is absent."""

    path: str
    subject: str
    mend: str
    is_serial: bool = False


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of a host beyond what every host of the ledger must be."""

    machines: tuple[str, ...]
    """As ``uname -m`` names them."""
    wireguard: bool = True
    devices: tuple[Device, ...] = ()


def script_for(devices: Sequence[Device]) -> str:
    """The script for ``sh`` that asks for all facts."""
    return _SCRIPT + "".join(f"device {shlex.quote(device.path)}\n" for device in devices)


def parse_facts(output: str) -> dict[str, str]:
    """The facts out of what the script printed, by their words."""
    lines = (line.partition("=") for line in output.splitlines())
    return {word: value.strip() for word, equals, value in lines if equals}


def fact_findings(facts: Mapping[str, str], demands: Demands) -> Iterator[Finding]:
    """Judge a host by its facts."""
    yield _sudo(facts)
    yield _machine(facts, demands.machines)
    yield _python(facts)
    yield _systemd(facts)
    yield _room(facts)
    if demands.wireguard:
        yield from _wireguard(facts)
    for device in demands.devices:
        yield _device(facts, device)


def clock_finding(output: str, began_at_s: float, ended_at_s: float, synchronized: str) -> Finding:
    """Judge a host's clock by what `DATE` printed between two times of ours: how far it is off at least."""
    subject = "clock"
    mend = (
        "timedatectl set-ntp true, or apt-get install systemd-timesyncd (chrony); a Pi 3 has no clock battery"
    )
    match = re.fullmatch(r"(\d+\.\d+)\s*", output)
    if match is None:
        return missing(subject, f"`{DATE}` gives no time", "apt-get install coreutils")
    its_s = float(match[1])
    off_s = max(its_s - ended_at_s, began_at_s - its_s, 0.0)
    if off_s > CLOCK_WITHIN_S:
        way = "fast" if its_s > ended_at_s else "slow"
        return missing(subject, f"{off_s:.1f} s {way}, expected within {CLOCK_WITHIN_S:g} s of ours", mend)
    kept = {"yes": ", kept by NTP", "no": ", not kept by NTP"}.get(synchronized, "")
    within_s = off_s + (ended_at_s - began_at_s)
    return present(subject, f"within {math.ceil(within_s * 100) / 100:.2f} s of ours{kept}")


def _sudo(facts: Mapping[str, str]) -> Finding:
    subject = "sudo without a password"
    if facts.get("user_id") == "0":
        return present(subject, "not needed, the login is root's")
    said = facts.get("sudo", "")
    if said.split()[-1:] == ["permitted"]:
        return present(subject, "permitted")
    user = facts.get("user", "USER")
    return missing(
        subject,
        said.removeprefix("sh: ") or "no answer",
        f"there, as root: apt-get install sudo; echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/bench",
    )


def _machine(facts: Mapping[str, str], wanted: Sequence[str]) -> Finding:
    subject = "architecture"
    machine, bits = facts.get("machine", "not told"), facts.get("bits", "")
    mend = "install a 64-bit system (on a Pi 3 or later the 64-bit Raspberry Pi OS)"
    if machine not in wanted:
        return missing(subject, f"{machine}, expected {' or '.join(wanted)}", mend)
    if bits == "32":
        return missing(
            subject,
            f"a 64-bit kernel ({machine}) under a 32-bit system",
            f"{mend}: not all packages of the ledger exist for 32 bit",
        )
    return present(subject, f"{machine}, Linux {facts.get('kernel', '')}")


def _python(facts: Mapping[str, str]) -> Finding:
    text = facts.get("python", "")
    version = re.fullmatch(r"(\d+)\.(\d+)\.\d+", text)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if version is None:
        return missing("Python", text or "no python3", "apt-get install python3")
    if (int(version[1]), int(version[2])) < OLDEST_PYTHON:
        return missing(
            "Python", f"{text}, expected {oldest} or later", "update its system to Debian 12 or later"
        )
    return present("Python", text)


def _systemd(facts: Mapping[str, str]) -> Finding:
    told = re.match(r"systemd (\d+)", facts.get("systemd", ""))
    if told is None:
        return missing(
            "systemd", "does not run there", "use a system that systemd starts, as Raspberry Pi OS"
        )
    return present("systemd", told[1])


def _room(facts: Mapping[str, str]) -> Finding:
    subject = "room on its disk"
    if facts.get("read_only") == "yes":
        return missing(
            subject,
            "its root file system is read-only",
            "sudo mount -o remount,rw /; if that fails, the card is damaged: look into dmesg",
        )
    text = facts.get("free_kib", "")
    if not text.isdecimal():
        return missing(subject, "not told by df", "see what df -Pk /var/lib says there")
    free_bytes = int(text) * 1024
    found = f"{free_bytes / 1e9:.1f} GB free at /var/lib"
    if free_bytes < CARD_BYTES:
        return missing(
            subject,
            f"{found}, expected {CARD_BYTES / 1e9:.1f} GB",
            "sudo apt-get clean, or raspi-config: Expand Filesystem",
        )
    return present(subject, found)


def _wireguard(facts: Mapping[str, str]) -> Iterator[Finding]:
    if facts.get("wireguard") == "yes":
        yield present("WireGuard", "the kernel's")
    elif facts.get("wireguard_go"):
        yield present("WireGuard", f"{facts['wireguard_go']}, outside the kernel")
    else:
        yield missing(
            "WireGuard",
            "neither in the kernel nor wireguard-go",
            "update its kernel (5.6 and later have it), or apt-get install wireguard-go",
        )
    yield (
        present("WireGuard's tool", facts["wg"])
        if facts.get("wg")
        else missing("WireGuard's tool", "no wg", "apt-get install wireguard-tools")
    )


def _device(facts: Mapping[str, str], device: Device) -> Finding:
    told = re.fullmatch(r"(\d+) (\S+):(\S+) (\S+)", facts.get(f"device {device.path}", ""))
    if told is None:
        return missing(device.subject, f"no {device.path}", device.mend)
    mode, owner, group, real = told.groups()
    if device.is_serial and _is_console(facts.get("console", ""), (device.path, real)):
        return missing(
            device.subject,
            f"{device.path} is the console of its kernel",
            "sudo raspi-config nonint do_serial_cons 1 (takes console= out of cmdline.txt), and boot again",
        )
    # The service's user gets the device's group when it is deployed; a device of root alone is given to it.
    return present(device.subject, f"{device.path}, {owner}:{group} {mode}")


def _is_console(command_line: str, paths: Sequence[str]) -> bool:
    names = {path.removeprefix("/dev/") for path in paths}
    return any(name in names for name in re.findall(r"\bconsole=([^,\s]+)", command_line))
