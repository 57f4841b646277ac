"""The SSH seat against a real OpenSSH server on the loopback interface."""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.pi.ssh import CommandError, SshSeat, SshTarget
from bench.rig.infrastructure import InfrastructureError
from bench.rig.model import Login

if TYPE_CHECKING:
    from collections.abc import Iterator

    Key = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(SSHD is None, reason="needs sshd: apt-get install openssh-server")

DEADLINE_S = 60.0


def written(key: Key, path: Path) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    return path


def public(key: Key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """An sshd of the test's own, which knows one key for the account that runs the test."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, host_key: Path) -> None:
        settings = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {host_key}",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "PermitRootLogin prohibit-password",
            "Subsystem sftp internal-sftp",
        ]
        (self.folder / "sshd_config").write_text("\n".join(settings) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        assert SSHD is not None
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("wb"),
        )

    def sessions(self) -> list[int]:
        """Processes of logins that are open."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def stop(self) -> None:
        if self.process is not None:
            for session in self.sessions():
                os.kill(session, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, free_port())
    yield server
    server.stop()


@pytest.fixture
def target(server: Server) -> SshTarget:
    """The server, running, and the way in."""
    client, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (server.folder / "authorized_keys").write_text(public(client) + "\n")
    server.start(written(host, server.folder / "host_key"))
    identity = written(client, server.folder / "identity")
    return SshTarget("pi east", "127.0.0.1", server.port, getpass.getuser(), identity, public(host))


@pytest.fixture
def seat(target: SshTarget) -> Iterator[SshSeat]:
    with SshSeat(target) as seat:
        seat.connect(DEADLINE_S)
        yield seat


def refusal(target: SshTarget, deadline_s: float = 5.0) -> InfrastructureError:
    with SshSeat(target) as seat, pytest.raises(InfrastructureError) as caught:
        seat.connect(deadline_s)
    return caught.value


def test_a_command_runs_and_tells_status_output_and_errors(seat: SshSeat) -> None:
    finished = seat.run("echo out; echo err >&2; exit 3", check=False)
    assert (finished.status, finished.output, finished.errors) == (3, "out\n", "err\n")


def test_long_output_comes_whole(seat: SshSeat) -> None:
    finished = seat.run("seq 200000; seq 200000 >&2")
    expected = "".join(f"{number}\n" for number in range(1, 200_001))
    assert finished.output == expected
    assert finished.errors == expected


def test_endless_output_is_refused(seat: SshSeat) -> None:
    with pytest.raises(InfrastructureError, match="says more than"):
        seat.run("yes")


def test_a_failed_command_is_no_failure_of_the_infrastructure(seat: SshSeat) -> None:
    with pytest.raises(CommandError, match=r"pi east: `ls /nowhere` ended with status 2 and said: .*nowhere"):
        seat.run("ls /nowhere")


def test_a_command_that_does_not_end(seat: SshSeat) -> None:
    with pytest.raises(InfrastructureError, match=r"`sleep 300` did not end within 0\.5 s"):
        seat.run("sleep 300", timeout_s=0.5)
    assert seat.run("echo still here").output == "still here\n"


def test_files_go_there_and_back(seat: SshSeat, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    there = tmp_path / "there"
    seat.put_bytes(content, str(there), mode=0o640)
    assert there.read_bytes() == content
    assert there.stat().st_mode & 0o777 == 0o640
    assert seat.get(str(there)) == content
    (tmp_path / "here").write_bytes(b"x" * 100_000)
    seat.put(tmp_path / "here", str(there))
    assert there.read_bytes() == b"x" * 100_000
    with pytest.raises(InfrastructureError, match="longer than 10 bytes"):
        seat.get(str(there), limit_bytes=10)
    with pytest.raises(InfrastructureError, match="no such file"):
        seat.get(str(tmp_path / "missing"))
    with pytest.raises(InfrastructureError, match="no such file or folder"):
        seat.put_bytes(b"", str(tmp_path / "no" / "folder"))
    assert not list(tmp_path.glob("*.part"))


def test_the_boot_is_told(seat: SshSeat) -> None:
    assert seat.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_another_host_key_is_refused_and_both_are_told(target: SshTarget) -> None:
    stranger = replace(target, host_key=public(Ed25519PrivateKey.generate()))
    error = refusal(stranger)
    assert target.fingerprint in error.what
    assert stranger.fingerprint in error.what
    assert not error.retry_helps


def test_a_host_key_of_another_kind_is_refused(target: SshTarget, server: Server) -> None:
    server.stop()
    other = ec.generate_private_key(ec.SECP256R1())
    server.start(written(other, server.folder / "other_key"))
    error = refusal(target, DEADLINE_S)
    assert target.fingerprint in error.what
    assert replace(target, host_key=public(other)).fingerprint in error.what


def test_fingerprints_are_written_as_openssh_does(target: SshTarget, tmp_path: Path) -> None:
    (tmp_path / "line").write_text(target.host_key + "\n")
    told = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "line"], capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[1] == target.fingerprint


def test_a_key_that_is_not_accepted(target: SshTarget, tmp_path: Path) -> None:
    error = refusal(replace(target, identity=written(Ed25519PrivateKey.generate(), tmp_path / "other")))
    assert "does not accept the key" in str(error)
    assert not error.retry_helps


def test_no_other_key_of_the_user_helps(
    target: SshTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key lies where OpenSSH looks by itself; the seat has another and must not get in."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(target.identity, home / ".ssh/id_ed25519")
    monkeypatch.setenv("HOME", str(home))
    error = refusal(replace(target, identity=written(Ed25519PrivateKey.generate(), tmp_path / "other")))
    assert "does not accept the key" in str(error)


def test_identities_that_cannot_be_used(target: SshTarget, tmp_path: Path) -> None:
    assert "cannot be read" in str(refusal(replace(target, identity=tmp_path / "none")))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "text").chmod(0o600)
    assert "is no private key" in str(refusal(replace(target, identity=tmp_path / "text")))
    target.identity.chmod(0o644)
    assert "others may read" in str(refusal(target))


def test_nothing_listens(target: SshTarget, server: Server) -> None:
    server.stop()
    error = refusal(target, deadline_s=0.5)
    assert "refuses the connection" in error.what
    assert error.retry_helps


def test_something_listens_that_says_nothing(target: SshTarget) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = refusal(replace(target, port=mute.getsockname()[1]), deadline_s=0.5)
    assert "does not answer" in error.what


def test_something_else_listens(target: SshTarget) -> None:
    def answer(listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.sendall(b"220 mail\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        error = refusal(replace(target, port=listener.getsockname()[1]), deadline_s=0.5)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "no SSH greeting" in error.what


def test_a_host_that_is_still_booting_is_waited_for(target: SshTarget, server: Server) -> None:
    server.stop()
    attempts = []

    def start_at_the_third() -> None:
        attempts.append(1)
        if len(attempts) == 3:
            server.start(server.folder / "host_key")

    with SshSeat(target) as seat:
        seat.connect(DEADLINE_S, while_waiting=start_at_the_third)
        assert seat.run("echo up").output == "up\n"


def test_a_connection_that_drops_during_a_command(seat: SshSeat, server: Server) -> None:
    failure: list[BaseException] = []

    def run() -> None:
        try:
            seat.run("sleep 300")
        except InfrastructureError as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until_s = monotonic() + DEADLINE_S
    while thread.is_alive() and monotonic() < until_s:
        for session in server.sessions():
            os.kill(session, signal.SIGKILL)
        thread.join(0.2)
    assert "the connection dropped" in str(failure[0])
    with pytest.raises(InfrastructureError, match="the connection dropped"):
        seat.run("true")
    seat.connect(DEADLINE_S)
    assert seat.run("echo again").output == "again\n"


def test_a_seat_that_was_never_connected(target: SshTarget) -> None:
    with pytest.raises(InfrastructureError, match="is not connected; connect first"):
        SshSeat(target).run("true")


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA"])
def test_a_host_key_that_is_none(line: str) -> None:
    with pytest.raises(InfrastructureError, match=r"pi: its host key .* is none; pin its kind and"):
        SshTarget("pi", "127.0.0.1", 22, "bench", Path("identity"), line)


@pytest.mark.parametrize("kind", [b"ssh-dss", b"sk-ssh-ed25519@openssh.com"])
def test_a_host_key_of_a_kind_that_cannot_be_compared(kind: bytes) -> None:
    blob = base64.b64encode(len(kind).to_bytes(4, "big") + kind).decode()
    login = Login(host="pi", user="bench", identity="key", host_key=f"{kind.decode()} {blob}")
    with pytest.raises(InfrastructureError, match=f"{kind.decode()}, which cannot be used here; pin one of"):
        SshTarget.of("pi", login)
