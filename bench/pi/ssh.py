"""The SSH seat: a Raspberry Pi, real or emulated, reached by Fabric with one key and one pinned host key.

Nothing of the user's own SSH set-up has a say: no agent, no other keys, no ~/.ssh/config, no known_hosts. A
host that shows another key than the pinned one is refused, and no key is ever taken on trust.

    target = SshTarget("pi east", "10.0.0.7", 22, "bench", Path("~/.ssh/bench"), "ssh-ed25519 AAAA...")
    with SshSeat(target) as pi:
        pi.connect(deadline_s=60)
        print(pi.run("uname -m").output)

What goes wrong on the way is an `InfrastructureError`; a command that ends with another status than 0 is a
`CommandError`, for that may well be the system under test.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import fabric
import paramiko
from paramiko.pkey import UnknownKeyType

from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rig.model import Login

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
"""What the kernel drew at boot."""

_Result = TypeVar("_Result")

_RETRY_AFTER_S = 0.25
_PROBE_S = 3.0
_ENOUGH_TIME_S = 60.0
_LONGEST_QUOTE = 2000
_LONGEST_OUTPUT = 16 << 20
_BLOCK_BYTES = 1 << 16
_LOOK_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where a Pi is reached and as whom, and which key it must show (type and base64, as in known_hosts).

    `name` is what messages call the seat. Raises InfrastructureError for a host key that cannot be used.
    """

    name: str
    host: str
    port: int
    user: str
    identity: Path
    host_key: str

    @classmethod
    def of(cls, name: str, login: Login) -> SshTarget:
        """The one that a rig file's login tells."""
        identity = Path(login.identity).expanduser()
        return cls(name, login.host, login.port, login.user, identity, login.host_key)

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"{self.name}: port {self.port}, expected 1 to 65535")
        _key_of(self.name, self.host_key)

    @property
    def known_hosts_line(self) -> str:
        """The pinned key as a line of a known_hosts file."""
        return f"{self.host_entry} {' '.join(self.host_key.split()[:2])}"

    @property
    def host_entry(self) -> str:
        """Host and port as known_hosts files write them."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    @property
    def fingerprint(self) -> str:
        """The pinned key's fingerprint, as ``ssh-keygen -l`` writes it."""
        return fingerprint(base64.b64decode(self.host_key.split()[1]))


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    command: str
    status: int
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        """The last line of what it said, of errors where it told any."""
        said = (self.errors or self.output).strip().splitlines()
        return said[-1] if said else "without a word"


class CommandError(RuntimeError):
    """A command ended on the Pi with a status other than 0."""

    def __init__(self, seat: str, finished: Finished) -> None:
        super().__init__(seat, finished)
        self.seat = seat
        self.finished = finished

    def __str__(self) -> str:
        said = (self.finished.errors.strip() or self.finished.output.strip() or "nothing")[-_LONGEST_QUOTE:]
        command, status = self.finished.command, self.finished.status
        return f"{self.seat}: `{command}` ended with status {status} and said: {said}"


def fingerprint(key: bytes) -> str:
    """A public key's fingerprint as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def openssh_command(target: SshTarget, known_hosts: Path) -> list[str]:
    """OpenSSH's own client with the same one key and the same pinned host key; `known_hosts` has its line."""
    return [
        *(
            "ssh",
            "-F",
            "none",
            "-i",
            str(target.identity),
            "-p",
            str(target.port),
            "-o",
            "IdentitiesOnly=yes",
        ),
        *("-o", "IdentityAgent=none", "-o", "PasswordAuthentication=no", "-o", "StrictHostKeyChecking=yes"),
        *("-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=none"),
        f"{target.user}@{target.host}",
    ]


class SshSeat(Closable):
    """A connection to one Pi. Not open until `connect`; may be connected again after it broke."""

    def __init__(self, target: SshTarget) -> None:
        self.target = target
        self._connection: fabric.Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as this side knows."""
        return self._connection is not None and bool(self._connection.is_connected)

    def connect(self, deadline_s: float = 30.0, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Log in; try again until `deadline_s` has passed while the host may still be booting.

        A wrong host key or a refused key is told at once. `while_waiting` is called between the attempts, and
        may raise to end the waiting.
        """
        self.close()
        identity = self._identity()
        until_s = monotonic() + deadline_s
        while True:
            try:
                self._log_in(identity, max(1.0, until_s - monotonic()))
                return
            except InfrastructureError as error:
                self.close()
                if not error.retry_helps or monotonic() >= until_s:
                    raise
            while_waiting()
            sleep(_RETRY_AFTER_S)

    def run(self, command: str, timeout_s: float = _ENOUGH_TIME_S, *, check: bool = True) -> Finished:
        """Run a command by the account's shell and wait for its end. Raises CommandError if `check`.

        Output is kept up to 16 MB of each kind; a command that says more is taken for an error.
        """
        connection = self._open()
        try:
            with connection.transport.open_session(timeout=timeout_s) as channel:
                channel.settimeout(timeout_s)
                channel.exec_command(command)
                channel.shutdown_write()
                status, output, errors = _followed(channel, monotonic() + timeout_s)
        except TimeoutError as error:
            raise self._error(
                f"`{command}` did not end within {timeout_s:g} s",
                "look whether the Pi is overloaded",
                retry=True,
            ) from error
        except _TooMuchError as error:
            raise self._error(
                f"`{command}` says more than {_LONGEST_OUTPUT} bytes", "let it say less"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._dropped(f"while `{command}` ran", error) from error
        if status == -1 and not self.connected:
            raise self._dropped(f"while `{command}` ran", None)
        finished = Finished(
            command, status, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")
        )
        if check and finished.status != 0:
            raise CommandError(self.target.name, finished)
        return finished

    def run_as_root(self, script: str, *arguments: str, timeout_s: float = _ENOUGH_TIME_S) -> Finished:
        """Run a script of sh as root, by sudo where the login is another, with `arguments` as $1 and so on.

        What it ends with is the caller's to judge: where sudo asks for a password, it ends with 1.
        """
        words = shlex.join(("sh", "-c", script, "bench", *arguments))
        return self.run(
            f'if [ "$(id -u)" = 0 ]; then {words}; else sudo -n {words}; fi', timeout_s, check=False
        )

    def put_bytes(self, content: bytes, path: str, mode: int = 0o644) -> None:
        """Write a file on the Pi: whole or not at all, with the given mode from the start."""
        self._transfer(f"writing {path}", lambda sftp: _put(sftp, io.BytesIO(content), path, mode))

    def put(self, source: Path, path: str, mode: int = 0o644) -> None:
        """Copy a file to the Pi: whole or not at all."""
        with source.open("rb") as stream:
            self._transfer(f"writing {path}", lambda sftp: _put(sftp, stream, path, mode))

    def get(self, path: str, limit_bytes: int = 256 << 20) -> bytes:
        """A file's content, up to a limit; longer ones are refused."""
        return self._transfer(f"reading {path}", lambda sftp: self._read(sftp, path, limit_bytes))

    def boot_id(self) -> str:
        """What the kernel drew at boot; differs after every reboot."""
        return self.run(f"cat {BOOT_ID}").output.strip()

    def close(self) -> None:
        """Hang up; does nothing when not connected."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _log_in(self, identity: paramiko.PKey, patience_s: float) -> None:
        target = self.target
        self._await_greeting(min(patience_s, _PROBE_S))
        patience_s = max(patience_s, _PROBE_S * 5)
        self._connection = connection = _connection(target, identity, patience_s)
        try:
            connection.open()
        except paramiko.BadHostKeyException as error:
            raise self._wrong_host_key(error.key) from error
        except _StrangeHostKeyError as error:
            raise self._wrong_host_key(error.key) from error
        except paramiko.AuthenticationException as error:
            raise self._error(
                f"does not accept the key {target.identity} for {target.user}",
                f"append its public half to ~{target.user}/.ssh/authorized_keys there (ssh-copy-id does)",
            ) from error
        except TimeoutError as error:
            raise self._error("did not answer in time", "see whether it is overloaded", retry=True) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._error(
                f"broke off the login ({_words(error)})", "see its journal: ssh", retry=True
            ) from error
        connection.transport.set_keepalive(15)

    def _await_greeting(self, patience_s: float) -> None:
        """Cheaply see whether an SSH server is there: a booting machine accepts and says nothing."""
        target = self.target
        where = f"{target.host} port {target.port}"
        try:
            with socket.create_connection((target.host, target.port), timeout=patience_s) as probe:
                if probe.recv(4) not in (b"SSH-", b"SSH", b"SS", b"S"):
                    raise ConnectionResetError("no SSH greeting")
        except socket.gaierror as error:
            raise self._error(
                f"no address is known for the host {target.host!r}",
                "check the name in the rig file",
                # Only the host itself tells its mDNS name (RFC 6762), once it has booted.
                retry=target.host.endswith(".local"),
            ) from error
        except ConnectionRefusedError as error:
            raise self._error(
                f"{where} refuses the connection", "switch the Pi on, and enable ssh there", retry=True
            ) from error
        except TimeoutError as error:
            raise self._error(
                f"{where} does not answer", "check cable, address and power of the Pi", retry=True
            ) from error
        except OSError as error:
            raise self._error(
                f"{where} cannot be reached ({_words(error)})",
                "check the network between here and the Pi",
                retry=True,
            ) from error

    def _identity(self) -> paramiko.PKey:
        path = self.target.identity
        try:
            if path.stat().st_mode & 0o077:
                raise self._error(f"others may read the private key {path}", f"chmod 600 {path}")
            return paramiko.PKey.from_path(path)
        except OSError as error:
            raise self._error(
                f"the private key {path} cannot be read ({error.strerror})",
                "name an existing one in the rig file",
            ) from error
        except (paramiko.SSHException, ValueError, TypeError, UnknownKeyType) as error:
            raise self._error(
                f"{path} is no private key that can be used ({_words(error)})",
                "make one without a passphrase: ssh-keygen -t ed25519",
            ) from error

    def _open(self) -> Any:
        if self._connection is None:
            raise self._error("is not connected", "connect first")
        if not self.connected:
            raise self._dropped("before this command", None)
        return self._connection

    def _transfer(self, what: str, act: Callable[[paramiko.SFTPClient], _Result]) -> _Result:
        connection = self._open()
        try:
            with connection.client.open_sftp() as sftp:
                sftp.get_channel().settimeout(_ENOUGH_TIME_S)
                return act(sftp)
        except FileNotFoundError as error:
            raise self._error(f"{what}: there is no such file or folder", "check the path") from error
        except PermissionError as error:
            raise self._error(
                f"{what}: {self.target.user} may not", "choose a folder of that account"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            if self.connected:
                raise self._error(
                    f"{what} failed ({_words(error)})", "see whether its card is full: df"
                ) from error
            raise self._dropped(f"while {what}", error) from error

    def _read(self, sftp: paramiko.SFTPClient, path: str, limit_bytes: int) -> bytes:
        with sftp.open(path, "rb") as stream:
            stream.prefetch()
            content = stream.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            raise self._error(f"{path} is longer than {limit_bytes} bytes", "fetch it in parts")
        return content

    def _error(self, what: str, mend: str, *, retry: bool = False) -> InfrastructureError:
        return InfrastructureError(self.target.name, what, mend, retry_helps=retry)

    def _dropped(self, when: str, error: BaseException | None) -> InfrastructureError:
        why = f" ({_words(error)})" if error is not None and _words(error) else ""
        return self._error(
            f"the connection dropped {when}{why}",
            "see whether the Pi lost power or network, then connect again",
            retry=True,
        )

    def _wrong_host_key(self, shown: paramiko.PKey) -> InfrastructureError:
        target = self.target
        found = fingerprint(shown.asbytes())
        return self._error(
            f"{target.host_entry} shows the host key {found}, pinned is {target.fingerprint}",
            "somebody may stand in between; if the Pi was set up anew, compare the key at its own console "
            "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and pin the new one in the rig file",
        )


def _followed(channel: paramiko.Channel, until_s: float) -> tuple[int, bytes, bytes]:
    """Status, output and errors of a command once it has ended."""
    output, errors = bytearray(), bytearray()
    while True:
        ended = channel.closed or (channel.exit_status_ready() and channel.eof_received)
        while channel.recv_ready():
            output += channel.recv(_BLOCK_BYTES)
        while channel.recv_stderr_ready():
            errors += channel.recv_stderr(_BLOCK_BYTES)
        if max(len(output), len(errors)) > _LONGEST_OUTPUT:
            raise _TooMuchError
        # Only what had ended before it was emptied has nothing more to say.
        if ended:
            return channel.recv_exit_status(), bytes(output), bytes(errors)
        if monotonic() >= until_s:
            raise TimeoutError
        sleep(_LOOK_AGAIN_S)


class _TooMuchError(RuntimeError):
    """More output than is kept."""


class _StrangeHostKeyError(paramiko.SSHException):
    """The host has no key of the pinned kind."""

    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__("host key of another kind than the pinned one")
        self.key = key


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Takes no key on trust; keeps the key that was shown, for the message."""

    def missing_host_key(self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey) -> None:
        raise _StrangeHostKeyError(key)


def _connection(target: SshTarget, identity: paramiko.PKey, patience_s: float) -> Any:
    """A Fabric connection, not yet open, that knows one key on either side and no set-up of the user's."""
    connection = fabric.Connection(
        target.host,
        user=target.user,
        port=target.port,
        config=fabric.Config(ssh_config=paramiko.SSHConfig()),
        connect_kwargs={
            "pkey": identity,
            "look_for_keys": False,
            "allow_agent": False,
            "timeout": patience_s,
            "banner_timeout": patience_s,
            "auth_timeout": patience_s,
            "channel_timeout": patience_s,
        },
    )
    # Fabric's own policy would take any unknown key.
    connection.client.set_missing_host_key_policy(_Refuse())
    pinned = _key_of(target.name, target.host_key)
    connection.client.get_host_keys().add(target.host_entry, pinned.get_name(), pinned)
    return connection


def _key_of(seat: str, line: str) -> paramiko.PKey:
    try:
        kind, encoded, *_ = line.split()
        return paramiko.PKey.from_type_string(kind, base64.b64decode(encoded, validate=True))
    except UnknownKeyType as error:
        raise InfrastructureError(
            seat,
            f"its host key is of the kind {kind[:60]}, which cannot be used here",
            "pin one of another kind: ssh-keyscan -t ed25519 prints it",
        ) from error
    except (ValueError, IndexError, paramiko.SSHException) as error:
        raise InfrastructureError(
            seat,
            f"its host key {line[:60]!r} is none",
            "pin its kind and its base64, as ssh-keyscan prints them after the host's name",
        ) from error


def _put(sftp: paramiko.SFTPClient, content: IO[bytes], path: str, mode: int) -> None:
    part = f"{path}.part"
    with sftp.open(part, "wb") as stream:
        stream.chmod(mode)
        stream.set_pipelined(True)
        while block := content.read(1 << 18):
            stream.write(block)
    sftp.posix_rename(part, path)


def _words(error: BaseException | None) -> str:
    return (
        (getattr(error, "strerror", None) or str(error) or type(error).__name__) if error is not None else ""
    )
