"""Serial ports that real Unos are to be at: there, serial, permitted, free; or answering, when far away.

A port of this machine is looked at and never opened: that alone asserts DTR and resets the board. A far port
has to be connected to; what serves it may reset its board then.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from serial.tools.list_ports import comports

from bench.doctor.finding import Finding, missing, present
from bench.doctor.network import UnreachableError, connect
from bench.rig.infrastructure import InfrastructureError
from bench.uno.serial_port import check_port, is_path

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

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


def is_far(port: str) -> bool:
    """Whether a port is served by another machine, over the network."""
    return urlsplit(port).scheme in FAR_SCHEMES


def near_finding(port: str) -> Finding:
    """Look at a port of this machine."""
    if not is_path(port):
        return missing(
            port,
            "no port that a board can be at",
            "name a device (/dev/ttyACM0, /dev/serial/by-id/...), rfc2217://host:port or socket://host:port",
        )
    path = Path(port)
    try:
        status = path.stat()
        if not (stat.S_ISCHR(status.st_mode) and is_serial(status.st_rdev)):
            return missing(port, "there, but no serial port", "name the port that the board is at")
        check_port(port, port)
        locked_by = sorted(set(lock_holders(path, status)))
    except FileNotFoundError:
        return missing(port, f"not there; {_ports_here()}", "plug it in, or name the port that it is at")
    except OSError as error:
        return missing(port, f"cannot be looked at: {error.strerror}", "check the path")
    except InfrastructureError as error:
        return missing(port, error.what, error.mend)
    if locked_by:
        told = ", ".join(f"{process_name(pid)} (process {pid})" for pid in locked_by)
        return missing(port, f"locked by {told}", "end that first")
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


def lock_holders(path: Path, status: os.stat_result) -> Iterator[int]:
    """The processes that have locked a port: by flock(2), as pyserial does, or by a lock file.

    Locks of other users show where their open files do not.
    """
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError):
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            # proc_locks: the fifth word is the process, the sixth is device and inode.
            fields = line.split()
            if len(fields) >= 6 and fields[5] == place and fields[4].isdecimal():
                yield int(fields[4])
    # The Filesystem Hierarchy Standard, 5.9: the holder's process id as ten characters.
    with suppress(OSError, ValueError):
        pid = int((_LOCK_FILES / f"LCK..{path.resolve().name}").read_text(encoding="ascii"))
        if (_PROCESSES / str(pid)).exists():
            yield pid


def process_name(pid: int) -> str:
    """The name of a process, for a person."""
    try:
        return (_PROCESSES / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "gone by now"


def _ports_here() -> str:
    ports = sorted(f"{port.device} ({port.description})" for port in comports() if port.vid is not None)
    return f"this machine has {', '.join(ports)}" if ports else "this machine has no USB serial port"


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
