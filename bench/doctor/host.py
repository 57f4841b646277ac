"""Hosts that are reached by SSH: from the name in the rig file to a shell, one finding for each step."""

from __future__ import annotations

import base64
import hashlib
import logging
import stat
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.ssh_exception import IncompatiblePeer

from bench.doctor.finding import Finding, State, missing, present
from bench.doctor.network import UnreachableError, addresses_of, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bench.rig.model import Login

STEP_WITHIN_S: Final = 10.0
"""For the exchange of keys, for the login, and for each command."""
LONGEST_ANSWER_BYTES: Final = 65_536

_LOG: Final = "bench.doctor.ssh"
_RSA_SIGNATURES: Final = ("rsa-sha2-512", "rsa-sha2-256")

# What goes wrong is told in findings; paramiko would print it with a traceback besides.
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False


class HostError(RuntimeError):
    """A shell that breaks off or does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and between which times of this machine's clock it ran."""

    output: str
    status: int
    began_at_s: float
    ended_at_s: float


class Shell:
    """A login on a host. Commands only look."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport

    def run(self, command: str, script: str = "") -> Answer:
        """Run a command with a script as its input. Raises HostError when no answer comes in time."""
        ends_at_s = time.monotonic() + STEP_WITHIN_S
        try:
            with closing(self._transport.open_session(timeout=STEP_WITHIN_S)) as channel:
                channel.settimeout(STEP_WITHIN_S)
                began_at_s = time.time()
                channel.exec_command(command)
                channel.sendall(script.encode())
                channel.shutdown_write()
                output = bytearray()
                while chunk := channel.recv(4096):
                    output += chunk
                    left_s = ends_at_s - time.monotonic()
                    if left_s <= 0 or len(output) > LONGEST_ANSWER_BYTES:
                        raise HostError("a command does not come to its end")
                    channel.settimeout(left_s)
                ended_at_s = time.time()
                status = channel.recv_exit_status() if channel.status_event.wait(STEP_WITHIN_S) else -1
        except TimeoutError:
            raise HostError(f"no answer to a command within {STEP_WITHIN_S:g} s") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostError(f"the connection broke off: {error or type(error).__name__}") from None
        return Answer(output.decode("utf-8", errors="replace"), status, began_at_s, ended_at_s)


def host_findings(login: Login, look: Callable[[Shell], Iterable[Finding]]) -> Iterator[Finding]:
    """Go from the private key to a shell, a finding for each step up to the first that fails; then `look`."""
    identity = Path(login.identity).expanduser()
    key = _load_key(identity)
    yield key if isinstance(key, Finding) else present("private key", f"{identity} ({key.get_name()})")
    try:
        addresses = addresses_of(login.host)
        connection = connect(login.host, login.port)
    except UnreachableError as problem:
        mend = problem.mend or "start its SSH server (systemctl enable --now ssh), or set port in login"
        yield missing("connection", problem.what, mend)
        return
    with closing(connection):
        yield present("connection", f"{login.host}:{login.port} answers ({', '.join(addresses)})")
        with closing(paramiko.Transport(connection)) as transport:
            host_key = _host_key_finding(transport, login)
            yield host_key
            if host_key.state is not State.PRESENT or isinstance(key, Finding):
                return
            yield (login_finding := _login_finding(transport, login, key))
            if login_finding.state is not State.PRESENT:
                return
            try:
                yield from look(Shell(transport))
            except HostError as error:
                yield missing("commands", str(error), "see how loaded that host is, and ask again")


def fingerprint(key: bytes) -> str:
    """A public key's SHA-256 as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def _load_key(identity: Path) -> paramiko.PKey | Finding:
    subject = "private key"
    new_key = f"ssh-keygen -t ed25519 -N '' -f {identity}"
    try:
        mode = identity.stat().st_mode
        key = paramiko.PKey.from_path(identity)
    except FileNotFoundError:
        return missing(subject, f"no {identity}", f"{new_key}, or set identity in login")
    except OSError as error:
        return missing(
            subject, f"{identity} cannot be read: {error.strerror}", f"see whose it is: ls -l {identity}"
        )
    except (TypeError, paramiko.PasswordRequiredException):
        return missing(
            subject,
            f"{identity} is locked by a passphrase, which nobody can type at night",
            "make one for the bench alone: ssh-keygen -t ed25519 -N '' -f FILE, and set identity in login",
        )
    except (ValueError, paramiko.SSHException, UnsupportedAlgorithm):
        return missing(subject, f"{identity} is no private key", f"set identity in login, or {new_key}")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return missing(subject, f"{identity} may be read by others", f"chmod 600 {identity}")
    return key


def _host_key_finding(transport: paramiko.Transport, login: Login) -> Finding:
    """See whether the host has the key that is pinned; nothing else is said to it before."""
    subject = "host key"
    kind, encoded = login.host_key.split()[:2]
    scan = f"ssh-keyscan -p {login.port} {login.host}"
    transport.set_log_channel(_LOG)
    transport.banner_timeout = transport.handshake_timeout = STEP_WITHIN_S
    try:
        # Another kind of key of the same host would be no evidence.
        transport.get_security_options().key_types = _RSA_SIGNATURES if kind == "ssh-rsa" else (kind,)
    except ValueError:
        return missing(
            subject, f"a key of the kind {kind} is pinned, which is not known here", f"{scan}, check, pin"
        )
    try:
        transport.start_client(timeout=STEP_WITHIN_S)
        shown = transport.get_remote_server_key().asbytes()
    except IncompatiblePeer:
        return missing(
            subject,
            f"the host has no key of the kind {kind}, which is pinned",
            f"see on its own screen which it has (ls /etc/ssh/*.pub), pin one of them as {scan} prints it",
        )
    except (OSError, EOFError, paramiko.SSHException) as error:
        return missing(
            subject,
            f"no SSH server that the bench can talk to: {str(error) or type(error).__name__}",
            f"see what is at {login.host}:{login.port}, set port in login",
        )
    pinned = base64.b64decode(encoded)
    if shown != pinned:
        return missing(
            subject,
            f"changed: {fingerprint(pinned)} is pinned, the host shows {fingerprint(shown)}",
            "unless it was set up anew, somebody may stand between: on its own screen, run ssh-keygen -lf"
            f" /etc/ssh/ssh_host_{_file_word(kind)}_key.pub; only if that is what it shows here, put into the"
            f" rig file what {scan} prints",
        )
    return present(subject, f"as pinned, {fingerprint(pinned)}")


def _file_word(kind: str) -> str:
    return "ecdsa" if kind.startswith("ecdsa") else kind.removeprefix("ssh-")


def _login_finding(transport: paramiko.Transport, login: Login, key: paramiko.PKey) -> Finding:
    transport.auth_timeout = STEP_WITHIN_S
    where = f"-p {login.port} {login.user}@{login.host}"
    try:
        transport.auth_publickey(login.user, key)
    except paramiko.BadAuthenticationType as error:
        return missing(
            "login",
            f"the host takes no keys, only {', '.join(error.allowed_types)}",
            "set PubkeyAuthentication yes in its sshd_config",
        )
    except paramiko.AuthenticationException:
        return missing(
            "login",
            f"the key is not accepted for {login.user}",
            f"ssh-copy-id -i {login.identity}.pub {where}; then see that it is logged in without a question",
        )
    except (OSError, EOFError, paramiko.SSHException) as error:
        return missing("login", f"broken off: {str(error) or type(error).__name__}", f"try ssh {where}")
    return present("login", f"as {login.user}, by key")
