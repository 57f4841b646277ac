from __future__ import annotations

import base64
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from bench.doctor import host
from bench.doctor.finding import Finding, State, present
from bench.doctor.host import Shell, host_findings
from bench.rig.model import Login

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.doctor.conftest import Sshd


def look(shell: Shell) -> Iterator[Finding]:
    yield present("echo", shell.run("echo hello; exit 3").output)


def findings(login: Login) -> dict[str, Finding]:
    return {finding.subject: finding for finding in host_findings(login, look)}


def told_by_openssh(public_key: Path) -> str:
    told = subprocess.run(["ssh-keygen", "-lf", str(public_key)], check=True, capture_output=True, text=True)
    return told.stdout.split()[1]


def test_from_the_name_to_a_shell(sshd: Sshd) -> None:
    found = findings(sshd.login())
    assert {finding.state for finding in found.values()} == {State.PRESENT}
    assert list(found) == ["connection", "login", "echo"]
    assert told_by_openssh(sshd.folder / "host.pub") in found["login"].found
    assert found["echo"].found == "hello\n"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_changed_host_key_is_told_with_both_fingerprints_and_ends_it(
    sshd: Sshd, tmp_path: Path, kind: str
) -> None:
    found = findings(sshd.login(host_key=sshd.new_key(tmp_path / "other", kind)))
    assert list(found) == ["connection", "login"]
    changed = found["login"]
    assert changed.state is State.MISSING
    assert told_by_openssh(tmp_path / "other.pub") in changed.found
    assert told_by_openssh(sshd.folder / "host.pub") in changed.found
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in changed.mend


def test_a_pinned_key_of_a_kind_that_nobody_knows(sshd: Sshd) -> None:
    word = b"ssh-unheard-of"
    blob = base64.b64encode(len(word).to_bytes(4, "big") + word).decode()
    found = findings(sshd.login(host_key=f"{word.decode()} {blob}"))
    assert found["host key"].state is State.MISSING
    assert "ssh-unheard-of" in found["host key"].found


def test_a_key_that_is_not_let_in(sshd: Sshd, tmp_path: Path) -> None:
    sshd.new_key(tmp_path / "stranger")
    found = findings(sshd.login(identity=str(tmp_path / "stranger")))
    assert list(found)[-1] == "login"
    assert f"{tmp_path}/stranger" in found["login"].found
    assert "ssh-copy-id" in found["login"].mend


def test_private_keys_that_cannot_be_used(sshd: Sshd, tmp_path: Path) -> None:
    def told(name: str) -> Finding:
        return findings(sshd.login(identity=str(tmp_path / name)))["login"]

    assert f"{tmp_path}/none cannot be read" in told("none").found
    sshd.new_key(tmp_path / "locked", passphrase="a passphrase")
    assert "without a passphrase" in told("locked").mend
    sshd.new_key(tmp_path / "open")
    (tmp_path / "open").chmod(0o644)
    assert told("open").mend == f"chmod 600 {tmp_path}/open"


NOBODYS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGBbj13CVA/Wt7DOELkzPsXUc/UlRTyA8RG2v/7mSFjb"


def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_dead_port_and_no_key_to_log_in_with(tmp_path: Path) -> None:
    port = dead_port()
    login = Login(host="127.0.0.1", port=port, user="x", identity=str(tmp_path / "none"), host_key=NOBODYS)
    found = findings(login)
    assert list(found) == ["connection", "private key"]
    assert found["connection"].found == f"127.0.0.1:{port} refuses: the host is there, but nothing listens"
    assert "start its SSH server" in found["connection"].mend
    assert found["private key"].found == f"no {tmp_path}/none"
    (tmp_path / "none").touch()
    assert list(findings(login)) == ["connection"]


@contextmanager
def answering(data: bytes) -> Iterator[int]:
    """Something that is no SSH server: says a thing and then nothing."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(data)
                    over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("data", [b"", b"220 mail.example ESMTP\r\n", b"SSH-2.0-silence\r\n"])
def test_what_is_no_ssh_server_is_told_in_time(
    data: bytes,
    sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(host, "LOGIN_WITHIN_S", 0.1)
    with answering(data) as port:
        found = findings(sshd.login(port=port))
    assert list(found) == ["connection", "login"]
    assert found["login"].state is State.MISSING
    assert capfd.readouterr().err == ""


def test_a_command_that_hangs_is_a_finding(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "COMMAND_WITHIN_S", 2)
    waiting = tmp_path / "waiting"
    waiting.touch()

    def hang(shell: Shell) -> Iterator[Finding]:
        yield present("never", shell.run(f"while [ -e {waiting} ]; do sleep 0.1; done").output)

    try:
        *_, finding = host_findings(sshd.login(), hang)
    finally:
        waiting.unlink()  # and so it ends there
    assert (finding.subject, finding.state) == ("commands", State.MISSING)
    assert finding.found == "a command did not end within 2 s"


def test_a_command_runs_between_its_times(sshd: Sshd) -> None:
    def clock(shell: Shell) -> Iterator[Finding]:
        answer = shell.run("date +%s.%N")
        assert answer.began_at_s <= float(answer.output) <= answer.ended_at_s
        yield present("date", answer.output)

    *_, finding = host_findings(sshd.login(), clock)
    assert finding.subject == "date"
