from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import subprocess
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from bench.doctor import host
from bench.doctor.finding import Finding, State, present
from bench.doctor.host import Shell, fingerprint, host_findings
from bench.rig.model import Login

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")

needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs sshd (apt-get install openssh-server)")


@dataclass(frozen=True, slots=True)
class Server:
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


def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """A key pair of OpenSSH; returns the public line without its comment."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    assert SSHD is not None
    folder = tmp_path_factory.mktemp("sshd")
    host_key = new_key(folder / "host")
    new_key(folder / "client")
    shutil.copy(folder / "client.pub", folder / "authorized")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
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
    with subprocess.Popen([SSHD, "-D", "-E", str(log), "-f", str(configuration)]) as process:
        try:
            wait_for(port, process, log)
            yield Server(port, folder, host_key)
        finally:
            process.terminate()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30):
            return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"sshd does not come up: {log.read_text()}")


def look(shell: Shell) -> Iterator[Finding]:
    yield present("echo", shell.run("cat; exit 3", "hello").output)


def findings(login: Login) -> dict[str, Finding]:
    return {finding.subject: finding for finding in host_findings(login, look)}


@needs_sshd
def test_from_the_key_to_a_shell(server: Server) -> None:
    found = findings(server.login())
    assert list(found) == ["private key", "connection", "host key", "login", "echo"]
    assert {finding.state for finding in found.values()} == {State.PRESENT}
    assert found["host key"].found == f"as pinned, {told_by_openssh(server.folder / 'host.pub')}"
    assert found["echo"].found == "hello"


def told_by_openssh(public_key: Path) -> str:
    told = subprocess.run(["ssh-keygen", "-lf", str(public_key)], check=True, capture_output=True, text=True)
    return told.stdout.split()[1]


@needs_sshd
def test_a_changed_host_key_is_told_with_both_fingerprints_and_ends_it(
    server: Server, tmp_path: Path
) -> None:
    other = new_key(tmp_path / "other")
    found = findings(server.login(host_key=other))
    assert list(found) == ["private key", "connection", "host key"]
    changed = found["host key"]
    assert changed.state is State.MISSING
    assert told_by_openssh(tmp_path / "other.pub") in changed.found
    assert told_by_openssh(server.folder / "host.pub") in changed.found
    assert "/etc/ssh/ssh_host_ed25519_key.pub" in changed.mend


@needs_sshd
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_a_pinned_key_of_a_kind_that_the_host_has_not(server: Server, tmp_path: Path, kind: str) -> None:
    found = findings(server.login(host_key=new_key(tmp_path / "other", kind)))
    assert list(found)[-1] == "host key"
    assert found["host key"].found.startswith("the host has no key of the kind ")


@needs_sshd
def test_a_pinned_key_of_a_kind_that_nobody_knows(server: Server) -> None:
    word = b"ssh-unheard-of"
    blob = base64.b64encode(len(word).to_bytes(4, "big") + word).decode()
    found = findings(server.login(host_key=f"{word.decode()} {blob}"))
    assert "is not known here" in found["host key"].found


@needs_sshd
def test_a_key_that_is_not_let_in(server: Server, tmp_path: Path) -> None:
    new_key(tmp_path / "stranger")
    found = findings(server.login(identity=str(tmp_path / "stranger")))
    assert list(found)[-1] == "login"
    assert found["login"].found == f"the key is not accepted for {getpass.getuser()}"
    assert f"ssh-copy-id -i {tmp_path}/stranger.pub -p {server.port} " in found["login"].mend


@needs_sshd
def test_a_private_key_that_is_no_good_does_not_hide_what_else_is_wrong(
    server: Server, tmp_path: Path
) -> None:
    found = findings(server.login(identity=str(tmp_path / "none")))
    assert list(found) == ["private key", "connection", "host key"]
    assert found["private key"].found == f"no {tmp_path}/none"
    assert found["host key"].state is State.PRESENT


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (openssh-client)")
def test_private_keys_that_cannot_be_used(tmp_path: Path) -> None:
    def told(name: str) -> str:
        login = Login(
            host="127.0.0.1", port=dead_port(), user="x", identity=str(tmp_path / name), host_key=NOBODYS
        )
        return findings(login)["private key"].found

    new_key(tmp_path / "locked", passphrase="a passphrase")
    assert "is locked by a passphrase" in told("locked")
    new_key(tmp_path / "open")
    (tmp_path / "open").chmod(0o644)
    assert told("open") == f"{tmp_path}/open may be read by others"
    (tmp_path / "text").write_text("no key\n")
    (tmp_path / "text").chmod(0o600)
    assert told("text") == f"{tmp_path}/text is no private key"
    (tmp_path / "open.pub").chmod(0o600)
    assert told("open.pub") == f"{tmp_path}/open.pub is no private key"
    assert told("") == f"{tmp_path} cannot be read: Is a directory"


NOBODYS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGBbj13CVA/Wt7DOELkzPsXUc/UlRTyA8RG2v/7mSFjb"


def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_dead_port(tmp_path: Path) -> None:
    port = dead_port()
    login = Login(host="127.0.0.1", port=port, user="x", identity=str(tmp_path / "none"), host_key=NOBODYS)
    found = findings(login)["connection"]
    assert found.found == f"127.0.0.1:{port} refuses: the host is there, but nothing listens"
    assert "start its SSH server" in found.mend


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
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "STEP_WITHIN_S", 0.5)
    with answering(data) as port:
        login = Login(
            host="127.0.0.1", port=port, user="x", identity=str(tmp_path / "none"), host_key=NOBODYS
        )
        found = findings(login)["host key"]
    assert found.found.startswith("no SSH server that the bench can talk to: ")
    assert found.mend == f"see what is at 127.0.0.1:{port}, set port in login"
    assert capfd.readouterr().err == ""


# The shell


@contextmanager
def shell_of(server: Server) -> Iterator[Shell]:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    with closing(paramiko.Transport(connection)) as transport:
        transport.start_client(timeout=30)
        transport.auth_publickey(getpass.getuser(), paramiko.PKey.from_path(server.folder / "client"))
        yield Shell(transport)


@needs_sshd
def test_a_command_gives_its_output_and_status(server: Server) -> None:
    with shell_of(server) as shell:
        answer = shell.run("sh -s", "echo one; echo two >&2; exit 3")
    assert (answer.output, answer.status) == ("one\n", 3)
    assert answer.began_at_s <= answer.ended_at_s


@needs_sshd
def test_a_command_that_hangs_or_floods_is_a_finding(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(command: str) -> Finding:
        def run(shell: Shell) -> Iterator[Finding]:
            yield present("never", shell.run(command).output)

        *_, finding = host_findings(server.login(), run)
        return finding

    assert last("cat /dev/zero").found == "a command does not come to its end"
    monkeypatch.setattr(host, "STEP_WITHIN_S", 2)
    never = tmp_path / "never"
    os.mkfifo(never)
    assert last(f"cat {never}").found == "no answer to a command within 2 s"
    # What hangs there ends with the test.
    os.close(os.open(never, os.O_WRONLY | os.O_NONBLOCK))


def test_fingerprints_have_no_padding() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
