"""Serial ports that real Unos are to be at: there, serial, permitted, free; or answering, when far away.

A port of this machine is looked at and never opened: that alone asserts DTR and resets the board. A far port
has to be connected to; what serves it may reset its board then.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from serial.tools.list_ports import comports

from bench.doctor.finding import Finding, missing, present
from bench.doctor.network import UnreachableError, connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping, Sequence

FAR_SCHEMES: Final = ("rfc2217", "socket")
"""Serial ports that another machine serves."""

_PROCESSES = Path("/proc")
_DRIVERS = Path("/proc/tty/drivers")
_LOCKS = Path("/proc/locks")
_LOCK_FILES = Path("/run/lock")
_SERIAL_TYPES: Final = ("serial", "pty:slave")
_REPLY_WITHIN_S: Final = 5.0

# Telnet (RFC 854) with its COM port option (RFC 2217).
_IAC, _WILL, _DO, _DONT, _COM_PORT_OPTION = 255, 251, 253, 254, 44


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a port open or locked."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


def is_far(port: str) -> bool:
    """Whether a port is served by another machine, over the network."""
    return urlsplit(port).scheme in FAR_SCHEMES


def near_findings(ports: Sequence[str]) -> Iterator[Finding]:
    """Look at ports of this machine, one finding for each."""
    holders = holders_of_devices()
    for port in ports:
        yield near_finding(port, holders)


def near_finding(port: str, holders: Mapping[int, Sequence[Holder]]) -> Finding:
    """Look at one port of this machine; `holders` are the processes that have a device open, by number."""
    if "://" in port:
        return missing(
            port,
            "no port that a board can be at",
            "name a device (/dev/ttyACM0, /dev/serial/by-id/...), rfc2217://host:port or socket://host:port",
        )
    path = Path(port)
    try:
        status = path.stat()
    except FileNotFoundError:
        return missing(port, f"not there; {_ports_here()}", "plug it in, or name the port that it is at")
    except OSError as error:
        return missing(port, f"cannot be looked at: {error.strerror}", "check the path")
    if not (stat.S_ISCHR(status.st_mode) and is_serial(status.st_rdev)):
        return missing(port, "there, but no serial port", "name the port that the board is at")
    if not os.access(path, os.R_OK | os.W_OK):
        return missing(port, f"user {_user()} may not open it ({_owner(status)})", _permission_mend(status))
    busy = [str(holder) for holder in (*holders.get(status.st_rdev, ()), *lock_holders(path, status))]
    if busy:
        return missing(port, f"busy: held by {', '.join(dict.fromkeys(busy))}", "end that program")
    target = path.resolve()
    return present(port, "free" if target == path else f"free ({target})")


def far_finding(port: str) -> Finding:
    """Connect to a port that another machine serves; for RFC 2217, ask whether it can be set there."""
    address = urlsplit(port)
    try:
        host, number = address.hostname, address.port
    except ValueError:
        host, number = None, None
    if host is None or number is None:
        return missing(
            port, "no host and port in it", f"write it as {address.scheme}://host:port, port up to 65535"
        )
    mend = "see that the exporter (labgrid, ser2net) runs there and that the port is the one it tells"
    try:
        with connect(host, number) as connection:
            if address.scheme == "socket":
                return present(port, "answers")
            return _rfc2217_finding(port, connection)
    except UnreachableError as problem:
        return missing(port, problem.what, problem.mend or mend)
    except OSError as error:
        return missing(port, f"answers, but breaks off: {error.strerror or error}", mend)


def is_serial(device_number: int) -> bool:
    """Whether a character device is a serial port or the slave of a pty, by the kernel's table of drivers."""
    try:
        table = _DRIVERS.read_text(encoding="ascii")
    except OSError:
        return True  # nothing to tell it by
    for line in table.splitlines():
        # proc_tty_drivers: name, path, major, minor or range of minors, type.
        *_, major, minors, kind = line.split()
        first, _, last = minors.partition("-")
        if int(major) == os.major(device_number) and int(first) <= os.minor(device_number) <= int(
            last or first
        ):
            return kind in _SERIAL_TYPES
    return False


def holders_of_devices() -> dict[int, list[Holder]]:
    """The processes that have a character device open, by its number; those of others root alone sees."""
    holders: defaultdict[int, list[Holder]] = defaultdict(list)
    for folder in _PROCESSES.glob("[0-9]*"):
        numbers = set()
        # A process may end, or belong to somebody else.
        with suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with suppress(OSError):
                    status = descriptor.stat()
                    if stat.S_ISCHR(status.st_mode):
                        numbers.add(status.st_rdev)
        for number in numbers:
            holders[number].append(Holder(int(folder.name), _name(int(folder.name))))
    return dict(holders)


def lock_holders(path: Path, status: os.stat_result) -> Iterator[Holder]:
    """Who has locked a port: by flock(2), as pyserial does and everybody may see, or by a lock file."""
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError):
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            # proc_locks: the fifth word is the process, the sixth is device and inode.
            fields = line.split()
            if len(fields) >= 6 and fields[5] == place and fields[4].isdecimal():
                yield Holder(int(fields[4]), _name(int(fields[4])))
    # The Filesystem Hierarchy Standard, 5.9: the holder's process id as ten characters.
    with suppress(OSError, ValueError):
        pid = int((_LOCK_FILES / f"LCK..{path.resolve().name}").read_text(encoding="ascii"))
        if (_PROCESSES / str(pid)).exists():
            yield Holder(pid, _name(pid))


def _name(pid: int) -> str:
    try:
        return (_PROCESSES / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "gone by now"


def _ports_here() -> str:
    ports = sorted(f"{port.device} ({port.description})" for port in comports() if port.vid is not None)
    return f"this machine has {', '.join(ports)}" if ports else "this machine has no USB serial port"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _group(status: os.stat_result) -> str:
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        return str(status.st_gid)


def _owner(status: os.stat_result) -> str:
    return f"{stat.filemode(status.st_mode)[1:]}, group {_group(status)}"


def _permission_mend(status: os.stat_result) -> str:
    wanted = stat.S_IRGRP | stat.S_IWGRP
    group = _group(status)
    if status.st_gid == 0 or status.st_mode & wanted != wanted:
        # Debian's udev gives serial ports to dialout with mode 0660.
        return f"give it to dialout by a udev rule, usermod -aG dialout {_user()}, and log in again"
    with suppress(KeyError):
        if _user() in grp.getgrnam(group).gr_mem:
            return f"{_user()} is in the group {group} since the last login: log in again"
    return f"usermod -aG {group} {_user()}, and log in again"


def _rfc2217_finding(port: str, connection: socket.socket) -> Finding:
    """The answer to "I will use COM port control" tells the protocol; anything else is no RFC 2217."""
    connection.sendall(bytes((_IAC, _WILL, _COM_PORT_OPTION)))
    ends_at_s = time.monotonic() + _REPLY_WITHIN_S
    heard = bytearray()
    while (left_s := ends_at_s - time.monotonic()) > 0 and len(heard) < 4096:
        connection.settimeout(left_s)
        try:
            chunk = connection.recv(256)
        except TimeoutError:
            break
        if not chunk:
            said = bytes(byte for byte in heard if 32 <= byte < 127).decode("ascii").strip()
            return missing(
                port,
                f"answers and hangs up{f': {said}' if said else ''}",
                "see that nobody else uses it (labgrid: release the place) and that its board is plugged in",
            )
        heard += chunk
        if bytes((_IAC, _DO, _COM_PORT_OPTION)) in heard:
            return present(port, "answers, speaks RFC 2217")
        if bytes((_IAC, _DONT, _COM_PORT_OPTION)) in heard:
            break
    return missing(
        port,
        "answers, but does not speak RFC 2217",
        f"switch it on at the exporter (ser2net: telnet(rfc2217)), or write socket://{port.partition('://')[2]}",
    )
