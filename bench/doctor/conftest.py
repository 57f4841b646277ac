from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bench.rig.model import Login

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Commands:
    """The only commands on the PATH: none but those that are added."""

    folder: Path

    def add(self, name: str, output: str = "", status: int = 0) -> Path:
        return self.write(name, f"cat <<'END'\n{output}\nEND\nexit {status}")

    def write(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """A machine with no commands, and a folder to work in."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return Commands(folder)


@dataclass(frozen=True, slots=True)
class Sshd:
    """A real sshd on the loopback that knows one key."""

    port: int
    folder: Path
    host_key: str

    def login(self, **changes: Any) -> Login:
        usual: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "identity": str(self.folder / "client"),
            "host_key": self.host_key,
        }
        return Login(**usual | changes)

    @staticmethod
    def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
        """Make a key pair; returns the public line without its comment."""
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("needs sshd (apt-get install openssh-server)")
    folder = tmp_path_factory.mktemp("sshd")
    host_key = Sshd.new_key(folder / "host")
    Sshd.new_key(folder / "client")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "client.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    configuration = folder / "sshd_config"
    configuration.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # as Debian's unit does
    log = folder / "log"
    with subprocess.Popen([program, "-D", "-E", str(log), "-f", str(configuration)]) as process:
        try:
            _wait_for(port, process, log)
            yield Sshd(port, folder, host_key)
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            break
    raise AssertionError(f"sshd does not come up: {log.read_text()}")
