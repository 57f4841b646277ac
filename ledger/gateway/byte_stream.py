"""A byte stream by its address: a serial port, a character device, or a port behind the network.

=====================  ==================================================================================
``/...``               a terminal (USB, pty) by pyserial; any other character device (virtio), and a
                       Unix socket, as it is
``socket://HOST:PORT`` a TCP socket that passes bytes through, as pyserial and ser2net name it
``rfc2217://...``      a serial port behind the network with its settings (RFC 2217), by pyserial
=====================  ==================================================================================

Whatever it is, it has a file descriptor to wait for and never blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import serial

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES: Final = 4096
_WRITE_TIMEOUT_MS: Final = 1000
_CONNECT_TIMEOUT_S: Final = 5.0
_PUMP_POLL_S: Final = 0.2

_MENDS: Final = {
    errno.ENOENT: "check the path and that the device is plugged in",
    errno.EACCES: "add this user to the group of the device (dialout for serial ports), then log in again",
    errno.EPERM: "add this user to the group of the device (dialout for serial ports), then log in again",
    errno.EBUSY: "another program holds it: stop that one first",
    errno.EAGAIN: "another program holds it: stop that one first",
    errno.ECONNREFUSED: "start the program that serves this port, or mend the address",
}


class StreamError(RuntimeError):
    """A byte stream cannot be opened, or is gone; the message names it and the mend."""


class ByteStream:
    """An open stream, by a file descriptor that does not block; ``on_close`` lets go of what it came from."""

    def __init__(self, name: str, descriptor: int, on_close: Callable[[], None] | None = None) -> None:
        self.name: Final = name
        self._descriptor = descriptor
        self._on_close = on_close
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """The file descriptor, readable when :meth:`read` has something."""
        return self._descriptor

    def read(self) -> bytes:
        """Return what has come, perhaps nothing. Raises StreamError at the end of the stream."""
        data = self._read_now()
        # A terminal without data reads as empty too; only at the end it is readable as well.
        if data == b"" and select.select([self._descriptor], [], [], 0)[0]:
            data = self._read_now()
            if data == b"":
                raise self._gone("the other end closed it")
        return data or b""

    def _read_now(self) -> bytes | None:
        """What a read gives: None where it would wait."""
        try:
            return os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._gone(error.strerror) from None

    def write(self, data: bytes) -> None:
        """Write all of it. Raises StreamError when nobody takes it within a second."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                events = waiting.poll(_WRITE_TIMEOUT_MS)
                # A virtio port without its host takes nothing, and says at once that this will not change.
                if not events or events[0][1] & (select.POLLHUP | select.POLLERR):
                    raise self._gone("nobody reads at the other end") from None
            except OSError as error:
                raise self._gone(error.strerror) from None

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        if self._descriptor >= 0:
            if self._on_close is None:
                os.close(self._descriptor)
            else:
                self._on_close()
            self._descriptor = -1

    def _gone(self, why: str | None) -> StreamError:
        return StreamError(f"{self.name}: {why}; check the cable and what is at its other end")


def open_stream(address: str, bits_per_second: int) -> ByteStream:
    """Open a stream by its address; the speed counts for terminals and RFC 2217. Raises StreamError."""
    try:
        if address.startswith("socket://"):
            return _open_socket(address)
        if address.startswith("rfc2217://"):
            return _open_pumped(address, bits_per_second)
        mode = os.stat(address).st_mode
        if stat.S_ISCHR(mode):
            return _open_device(address, bits_per_second)
        if stat.S_ISSOCK(mode):
            return _open_unix_socket(address)
    except (OSError, ValueError) as error:
        raise StreamError(f"{address}: {_cause(error)}") from None
    raise StreamError(f"{address}: is no device; give /dev/..., socket://HOST:PORT or rfc2217://HOST:PORT")


def _cause(error: OSError | ValueError) -> str:
    if isinstance(error, socket.gaierror):
        # Its numbers are not those of the system.
        return f"{error.strerror}; check the host's name, and that it can be looked up from here"
    number = getattr(error, "errno", None)
    if number is None:
        return f"{error}; check the address"
    return f"{os.strerror(number)}; {_MENDS.get(number, 'check the address and the device')}"


def _open_socket(address: str) -> ByteStream:
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        raise ValueError("an address like socket://HOST:PORT is wanted")
    connection = socket.create_connection((parts.hostname, parts.port), _CONNECT_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ByteStream(address, connection.detach())


def _open_unix_socket(path: str) -> ByteStream:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        connection.connect(path)
        return ByteStream(path, connection.detach())


def _open_device(path: str, bits_per_second: int) -> ByteStream:
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not os.isatty(descriptor):
        return ByteStream(path, descriptor)
    os.close(descriptor)
    port = serial.Serial(path, bits_per_second, timeout=0, exclusive=True)
    return ByteStream(path, port.fileno(), port.close)


def _open_pumped(address: str, bits_per_second: int) -> ByteStream:
    """A port that pyserial serves in its own threads: two pumps and two sockets give it a descriptor."""
    port = serial.serial_for_url(address, bits_per_second, timeout=_PUMP_POLL_S)
    ours, theirs = socket.socketpair()

    def inwards() -> None:
        with contextlib.suppress(OSError, ValueError):
            while port.is_open:
                theirs.sendall(port.read(max(1, port.in_waiting)))
        with contextlib.suppress(OSError):
            theirs.shutdown(socket.SHUT_RDWR)

    def outwards() -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := theirs.recv(READ_BYTES):
                port.write(data)
        port.close()

    threads = [threading.Thread(target=pump, name=address, daemon=True) for pump in (inwards, outwards)]
    for thread in threads:
        thread.start()

    def close() -> None:
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        ours.close()
        theirs.close()

    return ByteStream(address, ours.fileno(), close)
