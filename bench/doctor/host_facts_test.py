from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.doctor.finding import State
from bench.doctor.host_facts import Demands, Device, clock_finding, fact_findings, parse_facts, script_for

if TYPE_CHECKING:
    from bench.doctor.conftest import Commands
    from bench.doctor.finding import Finding

SPI = Device("/dev/spidev0.0", "radio's SPI", "switch SPI on")
LINE = Device("/dev/serial0", "radio's serial port", "plug it in", is_serial=True)
PI = Demands(("aarch64",), wireguard=True, devices=(SPI, LINE))

FACTS = {
    "user": "bench",
    "user_id": "1000",
    "sudo": "permitted",
    "machine": "aarch64",
    "bits": "64",
    "kernel": "6.1.21-v8+",
    "python": "3.11.2",
    "systemd": "systemd 252 (252.22-1~deb12u1)",
    "free_kib": "20000000",
    "read_only": "",
    "wireguard": "yes",
    "wireguard_go": "",
    "wg": "/usr/bin/wg",
    "console": "console=tty1 root=PARTUUID=0-02 rootwait",
    "device /dev/spidev0.0": "660 root:spi /dev/spidev0.0",
    "device /dev/serial0": "660 root:dialout /dev/ttyS0",
}


def judged(demands: Demands = PI, **changes: str) -> dict[str, Finding]:
    facts = FACTS | {word.replace("__", " /dev/"): value for word, value in changes.items()}
    return {finding.subject: finding for finding in fact_findings(facts, demands)}


def test_a_pi_as_it_should_be() -> None:
    found = judged()
    assert {finding.state for finding in found.values()} == {State.PRESENT}
    assert {subject: finding.found for subject, finding in found.items()} == {
        "sudo without a password": "permitted",
        "architecture": "aarch64, Linux 6.1.21-v8+",
        "Python": "3.11.2",
        "systemd": "252",
        "room on its disk": "20.5 GB free at /var/lib",
        "WireGuard": "the kernel's",
        "WireGuard's tool": "/usr/bin/wg",
        "radio's SPI": "/dev/spidev0.0, root:spi 660",
        "radio's serial port": "/dev/serial0, root:dialout 660",
    }


@pytest.mark.parametrize(
    ("subject", "changes", "found", "mend"),
    [
        (
            "sudo",
            {"sudo": "sudo: a password is required"},
            "a password is required",
            "bench ALL=(ALL) NOPASSWD",
        ),
        ("sudo", {"sudo": "sh: 5: sudo: not found"}, "not found", "apt-get install sudo"),
        ("architecture", {"machine": "armv7l", "bits": "32"}, "armv7l, expected aarch64", "64-bit"),
        ("architecture", {"bits": "32"}, "a 64-bit kernel (aarch64) under a 32-bit system", "64-bit"),
        ("Python", {"python": "sh: 1: python3: not found"}, "not found", "apt-get install python3"),
        ("Python", {"python": ""}, "no python3", "apt-get install python3"),
        ("Python", {"python": "3.9.2"}, "3.9.2, expected 3.11 or later", "Debian 12"),
        ("systemd", {"systemd": ""}, "does not run there", "systemd"),
        ("room", {"free_kib": "90000"}, "0.1 GB free at /var/lib, expected 1.0 GB", "apt-get clean"),
        ("room", {"free_kib": ""}, "not told by df", "df"),
        ("room", {"read_only": "yes"}, "its root file system is read-only", "remount"),
        ("WireGuard", {"wireguard": ""}, "neither in the kernel nor wireguard-go", "apt-get install"),
        ("WireGuard's", {"wg": ""}, "no wg", "apt-get install wireguard-tools"),
        ("radio's SPI", {"device__spidev0.0": ""}, "no /dev/spidev0.0", "switch SPI on"),
        ("radio's serial", {"console": "console=ttyS0,115200"}, "is the console", "do_serial_cons 1"),
        (
            "radio's serial",
            {"console": "console=serial0,115200 console=tty1"},
            "is the console",
            "cmdline.txt",
        ),
    ],
)
def test_what_is_not_as_it_should_be(subject: str, changes: dict[str, str], found: str, mend: str) -> None:
    wrong = [finding for finding in judged(PI, **changes).values() if finding.state is not State.PRESENT]
    assert [finding.subject.startswith(subject) for finding in wrong] == [True]
    assert found in wrong[0].found
    assert mend in wrong[0].mend


def test_what_stands_for_another_thing() -> None:
    assert judged(user_id="0", sudo="")["sudo without a password"].state is State.PRESENT
    outside = judged(wireguard="", wireguard_go="/usr/bin/wireguard-go")["WireGuard"]
    assert outside.state is State.PRESENT


def test_only_what_is_asked_for_is_judged() -> None:
    assert list(judged(Demands(("x86_64",), wireguard=False))) == [
        "sudo without a password",
        "architecture",
        "Python",
        "systemd",
        "room on its disk",
    ]


# The script, run by this machine's sh.


def facts_here(*devices: Device) -> dict[str, str]:
    finished = subprocess.run(
        ["/bin/sh", "-s"], input=script_for(devices), capture_output=True, text=True, check=False
    )
    return parse_facts(finished.stdout)


def test_the_script_asks_this_machine(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.add("uname", "aarch64")
    commands.add("getconf", "32")
    commands.add("sudo", "sudo: a password is required", status=1)
    commands.write("python3", f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", f"{commands.folder}:/usr/bin:/bin")
    absent = Device("/dev/none of it's own", "none", "")
    facts = facts_here(Device("/dev/null", "null", ""), absent)
    assert (facts["machine"], facts["bits"]) == ("aarch64", "32")
    assert facts["sudo"] == "sudo: a password is required"
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["free_kib"].isdecimal()
    assert facts["device /dev/null"].endswith(" /dev/null")
    assert facts["device /dev/none of it's own"] == ""
    assert facts["console"] == Path("/proc/cmdline").read_text().strip()


def test_a_machine_without_any_of_it_still_answers(commands: Commands) -> None:
    for name in ("tr", "id", "df", "awk", "tail", "cat"):
        commands.write(name, f'exec {name} "$@"')
    facts = facts_here(SPI)
    found = {finding.subject: finding for finding in fact_findings(facts, PI)}
    assert found["Python"].state is State.MISSING
    assert found["architecture"].state is State.MISSING
    assert found["radio's SPI"].found == "no /dev/spidev0.0"


# The clock


@given(st.integers(-5_000, 5_000), st.integers(0, 3_000), st.integers(0, 3_000))
def test_a_clock_is_called_wrong_only_when_it_must_be(off_ms: int, there_ms: int, back_ms: int) -> None:
    began_at_s = 1_700_000_000.0
    its_s = began_at_s + (there_ms + off_ms) / 1000
    found = clock_finding(f"{its_s:.6f}\n", began_at_s, began_at_s + (there_ms + back_ms) / 1000, "")
    if found.state is State.MISSING:
        assert abs(off_ms) > 1000
        assert ("fast" if off_ms > 0 else "slow") in found.found
    else:
        # A way that took longer explains the rest.
        assert -1001 - there_ms <= off_ms <= 1001 + back_ms
    if there_ms == back_ms == 0:
        assert (found.state is State.MISSING) == (abs(off_ms) > 1000)


def test_who_keeps_the_clock_is_told() -> None:
    assert clock_finding("10.250\n", 10.0, 10.5, "yes").found == "within 0.50 s of ours, kept by NTP"
    assert clock_finding("10.250\n", 10.0, 10.5, "no").found == "within 0.50 s of ours, not kept by NTP"
    assert clock_finding("soon", 10.0, 10.5, "").state is State.MISSING
