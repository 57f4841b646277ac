from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.doctor import emulation
from bench.doctor.emulation import pi_findings, server_findings, uno_findings
from bench.doctor.finding import State
from bench.pi.emulated import image
from bench.pi.emulated.image_host import TOOLS, PiImageError
from bench.pi.emulated.image_recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.doctor.conftest import Commands
    from bench.doctor.finding import Finding


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def missing(findings: dict[str, Finding]) -> set[str]:
    return {subject for subject, finding in findings.items() if finding.state is State.MISSING}


# Unos


def test_unos_need_avrdude_the_boot_loaders_source_and_terminals(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulation, "OPTIBOOT", tmp_path)
    bare = by_subject(uno_findings(4))
    assert missing(bare) == {"avrdude (flashes Unos)", "boot loader's source"}
    assert bare["boot loader's source"].mend == "apt-get install arduino-core-avr"
    commands.add("avrdude", "avrdude version 7.1, URL")
    (tmp_path / "optiboot.c").touch()
    ready = by_subject(uno_findings(4))
    assert missing(ready) == set()
    assert ready["avrdude (flashes Unos)"].found == "7.1"


def test_terminals_that_are_too_few_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "_PTYS", tmp_path)
    (tmp_path / "max").write_text("10\n")
    (tmp_path / "nr").write_text("7\n")
    few = by_subject(uno_findings(4))["pseudo-terminals"]
    assert (few.state, few.found, few.mend) == (
        State.MISSING,
        "3 left, 4 needed",
        "sysctl -w kernel.pty.max=11",
    )
    assert by_subject(uno_findings(3))["pseudo-terminals"].state is State.PRESENT


def test_terminals_that_cannot_be_opened_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> tuple[int, int]:
        raise OSError(2, os.strerror(2))

    monkeypatch.setattr(os, "openpty", refused)
    found = by_subject(uno_findings(1))["pseudo-terminals"]
    assert found.found == "none can be opened: No such file or directory"


# The Pi


@pytest.fixture
def builder(tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """A machine on which the image can be built, and is not yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(emulation, "_BINFMT", tmp_path)
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POF\n")
    monkeypatch.setattr(emulation, "package_sources", lambda release: f"deb there {release} main\n")
    for name in (*TOOLS, "qemu-system-aarch64"):
        commands.add(name, "version 7.2.19")
    return commands


def test_an_image_that_can_be_built_is_not_missed(builder: Commands, tmp_path: Path) -> None:
    found = by_subject(pi_findings(1))
    assert missing(found) == set()
    assert found["QEMU for arm64"].found == "7.2.19"
    assert found["image"].state is State.OPTIONAL
    assert str(tmp_path / "cache") in found["image"].found
    assert "bench pi image" in found["image"].mend
    assert not (tmp_path / "cache").exists()
    assert builder.folder.exists()


def test_an_image_in_the_cache_needs_no_tools_to_build_it(builder: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "dag-bench" / "pi" / Recipe().digest
    folder.mkdir(parents=True)
    (folder / "host_key.pub").write_text("ssh-ed25519 AAAA\n")
    assert image.find_image() is not None
    (builder.folder / "mmdebstrap").unlink()
    found = by_subject(pi_findings(1))
    assert missing(found) == set()
    assert "tools to build the image" not in found
    assert found["image"].found.startswith(str(folder))


@pytest.mark.usefixtures("builder")
def test_what_keeps_the_image_from_being_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sources(release: str) -> str:
        raise PiImageError(f"apt has no {release}")

    monkeypatch.setattr(emulation, "package_sources", no_sources)
    monkeypatch.setattr(emulation, "TOOLS", {**TOOLS, "no-such-command": "its-package"})
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: \n")
    found = by_subject(pi_findings(1))
    assert missing(found) == {"tools to build the image", "Debian's packages", "arm64 programs by qemu-user"}
    assert found["tools to build the image"].mend == "apt-get install its-package"
    assert found["Debian's packages"].found == "apt has no bookworm"
    assert found["arm64 programs by qemu-user"].found.endswith("is not enabled with flag F")


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize(
    ("has_rule", "user", "state", "told"),
    [
        (False, 0, State.MISSING, "apt-get install qemu-user-static"),
        (True, 0, State.PRESENT, "the build of the image does it"),
        (True, 1000, State.MISSING, "as root, once: head -1 "),
    ],
)
def test_a_handler_that_is_not_registered(
    has_rule: bool, user: int, state: State, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qemu-aarch64").unlink()
    rule = tmp_path / "rule.conf"
    if has_rule:
        rule.touch()
    monkeypatch.setattr(emulation, "_BINFMT_RULE", rule)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    found = by_subject(pi_findings(1))["arm64 programs by qemu-user"]
    assert found.state is state
    assert told in found.found + found.mend


@pytest.mark.usefixtures("builder")
def test_room_and_memory_count_for_every_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 9000000 kB\nMemAvailable: 2500000 kB\n")
    monkeypatch.setattr(emulation, "_MEMORY", memory)
    assert by_subject(pi_findings(2))["memory"].found == "2.6 GB available, 2.4 GB needed"
    assert by_subject(pi_findings(2))["memory"].state is State.PRESENT
    assert by_subject(pi_findings(3))["memory"].state is State.MISSING
    monkeypatch.setattr(emulation, "IMAGE_BYTES", 10**18)
    room = by_subject(pi_findings(1))["disk space for images and cards"]
    assert room.state is State.MISSING
    assert room.mend.startswith("free 9999")


# The server


@pytest.fixture
def networker(tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Root on a machine without WireGuard in its kernel, and with all else."""
    monkeypatch.setattr(emulation, "_MODULES", tmp_path)
    monkeypatch.setattr(emulation, "_TUN", Path("/dev/null"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", "no-such-kernel", "", "")))
    for name in ("ip", "wg", "wireguard-go"):
        commands.add(name, "v1.2.3")
    return commands


@pytest.mark.usefixtures("networker")
def test_a_server_with_wireguard_outside_the_kernel() -> None:
    found = by_subject(server_findings(vpn=True))
    assert missing(found) == set()
    assert found["WireGuard"].found == "1.2.3"
    assert "tun device" in found


def test_a_kernel_with_wireguard_needs_no_other(networker: Commands, tmp_path: Path) -> None:
    (networker.folder / "wireguard-go").unlink()
    assert missing(by_subject(server_findings(vpn=True))) == {"WireGuard"}
    (tmp_path / "wireguard").mkdir()
    found = by_subject(server_findings(vpn=True))
    assert missing(found) == set()
    assert found["WireGuard"].found == "the kernel's"
    assert "tun device" not in found


def test_what_a_plain_user_in_a_container_lacks(
    networker: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(emulation, "_TUN", tmp_path / "no" / "tun")
    (networker.folder / "wg").unlink()
    (networker.folder / "ip").unlink()
    found = by_subject(server_findings(vpn=True))
    assert missing(found) == {
        "permission to make networks",
        "network namespaces",
        "WireGuard's tool",
        "tun device",
    }
    assert "sudo" in found["permission to make networks"].mend


@pytest.mark.usefixtures("commands")
def test_a_server_on_loopback_needs_nothing() -> None:
    assert missing(by_subject(server_findings(vpn=False))) == set()
