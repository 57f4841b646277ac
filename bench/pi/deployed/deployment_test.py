"""Deployment over a real OpenSSH server into a scratch prefix; in the emulated Pi for real where that is
asked for.
"""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.pi.deployed import deployment as deployment_module
from bench.pi.deployed.deployment import GatewaySettings, deploy, install_release, unit_text
from bench.pi.deployed.installer_test import archive
from bench.pi.deployed.release import Release
from bench.pi.ssh import SshSeat, SshTarget
from bench.pi.ssh_test import DEADLINE_S, SSHD, Server, free_port, public, written
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(SSHD is None, reason="needs sshd: apt-get install openssh-server")

SECRET = bytes(range(32))
SETTINGS = GatewaySettings('name = "east"\n', b'{"meters": {"1": "5ec2e7"}}', SECRET, ("/dev/null",))


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[SshSeat]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Server(folder, free_port())
    client, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (folder / "authorized_keys").write_text(public(client) + "\n")
    server.start(written(host, folder / "host_key"))
    identity = written(client, folder / "identity")
    target = SshTarget("pi east", "127.0.0.1", server.port, getpass.getuser(), identity, public(host))
    try:
        with SshSeat(target) as seat:
            seat.connect(DEADLINE_S)
            yield seat
    finally:
        server.stop()


@pytest.fixture
def python_version(seat: SshSeat) -> str:
    return seat.run("python3 -I -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").output.strip()


@pytest.fixture
def release(tmp_path: Path, python_version: str) -> Release:
    return made_up_release(tmp_path, "one", python_version)


def made_up_release(folder: Path, text: str, python_version: str) -> Release:
    path, digest, unpacked_bytes = archive(folder, text)
    return Release(path, digest, python_version, os.uname().machine, unpacked_bytes, ())


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The folders through which keys passed: all of them are gone in the end."""
    made: list[Path] = []
    stage = deployment_module._stage

    def noted(seat: SshSeat) -> str:
        made.append(Path(stage(seat)))
        return str(made[-1])

    monkeypatch.setattr(deployment_module, "_stage", noted)
    yield made
    assert not [path for path in made if path.exists()]


def test_the_second_deployment_changes_nothing_and_says_so(
    seat: SshSeat, release: Release, stages: list[Path], tmp_path: Path
) -> None:
    prefix = tmp_path / "root"
    prefix.mkdir()
    first = deploy(seat, release, SETTINGS, prefix=str(prefix))
    assert f"release {release.digest} is current" in first.changes
    second = deploy(seat, release, SETTINGS, prefix=str(prefix))
    assert second.changes == ()
    assert str(second) == f"pi east: release {release.digest} was there with these settings, nothing changed"
    folder = prefix / "etc/dag-ledger"
    assert (folder / "gateway.toml").read_text() == SETTINGS.configuration
    assert (folder / "registry.json").read_bytes() == SETTINGS.registry
    assert (folder / "signing.key").read_text() == SECRET.hex() + "\n"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"gateway.toml": 0o640, "registry.json": 0o640, "signing.key": 0o600}
    changed = deploy(seat, release, replace(SETTINGS, configuration='name = "west"\n'), prefix=str(prefix))
    assert changed.changes == (f"{folder}/gateway.toml written",)
    assert len(stages) == 3


def test_keys_are_in_no_command_and_no_representation(
    seat: SshSeat, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    modes: list[int] = []
    run, put = seat.run, seat.put_bytes

    def recording_run(command: str, timeout_s: float = 60.0, **more: Any) -> Any:
        commands.append(command)
        return run(command, timeout_s, **more)

    def recording_put(content: bytes, path: str, mode: int = 0o644) -> None:
        modes.append(mode)
        put(content, path, mode)

    monkeypatch.setattr(seat, "run", recording_run)
    monkeypatch.setattr(seat, "put_bytes", recording_put)
    deploy(seat, release, SETTINGS, prefix=str(tmp_path / "root"))
    said = " ".join(commands) + repr(SETTINGS) + unit_text(SETTINGS)
    for secret in (SECRET.hex(), "5ec2e7", str(SECRET)):
        assert secret not in said
    assert modes == [0o600]


def test_a_release_is_installed_beside_without_settings(
    seat: SshSeat, release: Release, tmp_path: Path
) -> None:
    folder = install_release(seat, release, prefix=str(tmp_path / "root"))
    assert Path(folder, "bin/ledger").exists()
    assert not (tmp_path / "root/etc").exists()
    assert not (tmp_path / "root/opt/dag-ledger/current").exists()


@pytest.mark.parametrize(
    ("changes", "what", "mend"),
    [
        ({"platform": "riscv64"}, "the release is for 64-bit riscv64", "build the release for this machine"),
        ({"python_version": "3.5"}, "the release is for 3.5", "build the release for Python"),
        ({"unpacked_bytes": 10**15}, "MB are free at", "free some space"),
        ({"digest": "f" * 24}, "the release arrived damaged", "deploy again"),
    ],
)
def test_what_does_not_fit_is_named_with_its_mend(
    seat: SshSeat, release: Release, tmp_path: Path, changes: dict[str, Any], what: str, mend: str
) -> None:
    with pytest.raises(InfrastructureError) as caught:
        deploy(seat, replace(release, **changes), SETTINGS, prefix=str(tmp_path / "root"))
    assert caught.value.seat == "pi east"
    assert what in caught.value.what
    assert mend in caught.value.mend
    assert not (tmp_path / "root/opt/dag-ledger/current").exists()


@pytest.mark.parametrize(
    ("told", "what", "mend"),
    [
        ({"machine": "armv7l", "pointer_bits": 32}, "32-bit on armv7l", "install the 64-bit system"),
        ({"pointer_bits": 32}, "32-bit on", "install the 64-bit system"),
        ({"systemd": False}, "systemd does not run there", "started by systemd"),
    ],
)
def test_a_machine_that_cannot_hold_a_gateway_is_told_before_anything_is_sent(
    seat: SshSeat,
    release: Release,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, Any],
    what: str,
    mend: str,
) -> None:
    probe = deployment_module._probe

    def altered_probe(seat: SshSeat, stage: str, prefix: str) -> dict[str, Any]:
        return {**probe(seat, stage, prefix), "systemd": True, "releases": [], **told}

    monkeypatch.setattr(deployment_module, "_probe", altered_probe)
    with pytest.raises(InfrastructureError) as caught:
        deploy(seat, release, SETTINGS)
    assert what in caught.value.what
    assert mend in caught.value.mend


def test_a_login_without_sudo_is_told(
    seat: SshSeat, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = deployment_module._probe
    without = "user bench may not run sudo"
    run = seat.run

    def refusing_run(command: str, timeout_s: float = 60.0, **more: Any) -> Any:
        if command.startswith("sudo"):
            command = f"echo '{without}' >&2; exit 1"
        return run(command, timeout_s, **more)

    def altered_probe(seat: SshSeat, stage: str, prefix: str) -> dict[str, Any]:
        return {**probe(seat, stage, prefix), "systemd": True, "root": False}

    monkeypatch.setattr(deployment_module, "_probe", altered_probe)
    monkeypatch.setattr(seat, "run", refusing_run)
    with pytest.raises(InfrastructureError, match=rf"may not use sudo without a password \({without}\)"):
        deploy(seat, release, SETTINGS)


def test_a_machine_without_python_is_told(
    seat: SshSeat, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seat.run

    def run_without_python(command: str, timeout_s: float = 60.0, **more: Any) -> Any:
        return run(command.replace("python3", "no-such-python"), timeout_s, **more)

    monkeypatch.setattr(seat, "run", run_without_python)
    with pytest.raises(InfrastructureError, match="apt-get install python3"):
        deploy(seat, release, SETTINGS)


def test_a_gateway_that_hangs_is_started_anew() -> None:
    lines = unit_text(SETTINGS).splitlines()
    assert {"Type=notify", "WatchdogSec=120", "Restart=always"} <= set(lines)


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    text = unit_text(SETTINGS).replace("@GROUPS@", "").replace("@DEVICES@", "DeviceAllow=/dev/null rw\n")
    assert "@" not in text.replace("@system-service", "")
    if analyse is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    unit = tmp_path / "dag-gateway.service"
    unit.write_text(text.replace("/opt/dag-ledger/current/bin/ledger", "/bin/true"), encoding="utf-8")
    finished = subprocess.run([analyse, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "Unknown" not in finished.stderr
