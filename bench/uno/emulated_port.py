"""The serial ports of an emulated Uno: what its USB interface, an ATmega16U2 on a real board, shows a host.

The interface passes bytes on as they come; what nobody reads is lost. Its DTR output goes through 100 nF to
RESET, so that the chip is reset whenever DTR is asserted (schematic of the Uno R3). All of this happens in
the world's thread.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import termios
import tty
from collections.abc import Callable
from itertools import pairwise
from typing import Final, Literal, Protocol

import serial
from serial.rfc2217 import PortManager

from bench.world.paced import PacedWorld

_AT_ONCE: Final = 4096

# <sys/inotify.h>
_INOTIFY_NONBLOCK: Final = os.O_NONBLOCK
_IN_CLOSE: Final = 0x08 | 0x10
_IN_OPEN: Final = 0x20
_EVENT: Final = struct.Struct("=iIII")


class UsbInterface(Protocol):
    """The chip's side of a port."""

    def receive(self, data: bytes) -> None:
        """Bytes from the host, for RXD."""

    def set_dtr(self, asserted: bool) -> None:
        """A host asserts or drops DTR."""


class BoardLine(Protocol):
    """The host's side: works while the board is in a world that plays."""

    @property
    def url(self) -> str:
        """What pyserial's `serial_for_url` opens."""

    def attach(self, world: PacedWorld, interface: UsbInterface) -> None:
        """The board has power."""

    def detach(self) -> None:
        """The board loses power."""

    def send(self, data: bytes) -> None:
        """Bytes from TXD."""

    def close(self) -> None:
        """The cable is pulled: whoever has the port open finds it gone."""


class _OpenCloseWatch:
    """Tells when a file is opened and closed by others, which a pty tells nobody but inotify(7)."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = library.inotify_init1(_INOTIFY_NONBLOCK)
        watch = library.inotify_add_watch(self.descriptor, os.fsencode(path), _IN_OPEN | _IN_CLOSE)
        if watch < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)

    def take(self) -> list[bool]:
        """What happened since: True for an opening, False for a closing. Equal ones in a row may be one."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.descriptor, 64 * _EVENT.size)
            return [bool(mask & _IN_OPEN) for _, mask, _, _ in _EVENT.iter_unpack(data)]
        return []

    def close(self) -> None:
        """Watch no more."""
        os.close(self.descriptor)


class PseudoTerminal:
    """A pty in place of `/dev/ttyACM0`. Having no modem lines, it asserts DTR while a process has it open."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._watch = _OpenCloseWatch(self.path)
        self._is_open = False
        self._world: PacedWorld | None = None
        self._interface: UsbInterface | None = None

    @property
    def url(self) -> str:
        """Its path."""
        return self.path

    def attach(self, world: PacedWorld, interface: UsbInterface) -> None:
        """Carry bytes from now on."""
        self._world, self._interface = world, interface
        world.attach(self._watch.descriptor, self._opened_or_closed)
        self._forget_input()
        while self._watch.take():
            pass
        if not self._has_hung_up():
            self._set_open(True)

    def detach(self) -> None:
        """The device stays, but nobody is at its other end."""
        if self._world is None:
            return
        if self._is_open:
            self._set_open(False)
        self._world.detach(self._watch.descriptor)
        self._world = self._interface = None

    def send(self, data: bytes) -> None:
        """Bytes for whoever has it open."""
        if self._is_open:
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)

    def close(self) -> None:
        """Hang up."""
        self.detach()
        self._watch.close()
        os.close(self._master)

    def _opened_or_closed(self) -> None:
        events: list[bool] = []
        while news := self._watch.take():
            events += news
            is_open = not self._has_hung_up()
        if not events:
            return
        # Nobody tells who it was: a closing with an opening behind it is taken for one that opens again.
        was_open = self._is_open
        opened = any(events) if not was_open else any(b and not a for a, b in pairwise(events))
        if was_open and (opened or not is_open):
            self._set_open(False)
        if opened and not self._is_open:
            self._set_open(True)
        if self._is_open and not is_open:
            self._set_open(False)

    def _has_hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def _set_open(self, is_open: bool) -> None:
        assert self._world is not None
        assert self._interface is not None
        self._is_open = is_open
        if is_open:
            self._world.attach(self._master, self._read)
        else:
            self._world.detach(self._master)
            termios.tcflush(self._master, termios.TCIOFLUSH)  # what was not read is not for the next one
        self._interface.set_dtr(is_open)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: closed by now, as the watch is about to tell
            data = os.read(self._master, _AT_ONCE)
            if self._interface is not None:
                self._interface.receive(data)

    def _forget_input(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(self._master, _AT_ONCE):
                pass


class _ModemLines:
    """The serial port that a PortManager controls: settings are kept, and DTR is passed on."""

    cts = dsr = cd = True
    ri = False

    def __init__(self, set_dtr: Callable[[bool], None]) -> None:
        self.baudrate = 115_200
        self.bytesize = serial.EIGHTBITS
        self.parity = serial.PARITY_NONE
        self.stopbits = serial.STOPBITS_ONE
        self.rtscts = self.xonxoff = self.rts = self.break_condition = False
        self._dtr = False
        self._set_dtr = set_dtr

    @property
    def dtr(self) -> bool:
        """Data terminal ready."""
        return self._dtr

    @dtr.setter
    def dtr(self, asserted: bool) -> None:
        if asserted != self._dtr:
            self._dtr = asserted
            self._set_dtr(asserted)

    def reset_input_buffer(self) -> None:
        """There is none."""

    def reset_output_buffer(self) -> None:
        """There is none."""


class _Telnet:
    """What a PortManager writes its answers to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        """To the client."""
        _send_or_lose(self._connection, data)


class NetworkPort:
    """A TCP port as ser2net and labgrid offer them, for one client at a time.

    `socket` carries bare bytes and asserts DTR while a client is connected. `rfc2217` has the modem lines:
    there the client says what DTR does.
    """

    def __init__(
        self, protocol: Literal["socket", "rfc2217"], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._protocol = protocol
        self._listener = socket.create_server((host, port))
        self._listener.setblocking(False)
        self._client: socket.socket | None = None
        self._manager: PortManager | None = None
        self._lines: _ModemLines | None = None
        self._world: PacedWorld | None = None
        self._interface: UsbInterface | None = None

    @property
    def url(self) -> str:
        """`socket://HOST:PORT` or `rfc2217://HOST:PORT`."""
        host, port = self._listener.getsockname()[:2]
        return f"{self._protocol}://{host}:{port}"

    def attach(self, world: PacedWorld, interface: UsbInterface) -> None:
        """Serve from now on."""
        self._world, self._interface = world, interface
        world.attach(self._listener.fileno(), self._accept)

    def detach(self) -> None:
        """Hang up; whoever connects from now on waits until the board has power again."""
        if self._world is None:
            return
        self._hang_up()
        self._world.detach(self._listener.fileno())
        self._world = self._interface = None

    def send(self, data: bytes) -> None:
        """Bytes for the client."""
        if self._client is not None:
            escaped = data if self._manager is None else b"".join(self._manager.escape(data))
            _send_or_lose(self._client, escaped)

    def close(self) -> None:
        """Serve no more."""
        self.detach()
        self._listener.close()

    def _accept(self) -> None:
        assert self._world is not None
        assert self._interface is not None
        connection, _ = self._listener.accept()
        if self._client is not None:
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = connection
        self._world.attach(connection.fileno(), self._read)
        self._lines = _ModemLines(self._interface.set_dtr)
        if self._protocol == "socket":
            self._lines.dtr = True
        else:
            # Its types ask for a whole serial port twice; it uses what these two have.
            self._manager = PortManager(self._lines, _Telnet(connection))  # type: ignore[arg-type]

    def _read(self) -> None:
        assert self._client is not None
        assert self._interface is not None
        try:
            data = self._client.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        received = data if self._manager is None else b"".join(self._manager.filter(data))
        if received:
            self._interface.receive(received)

    def _hang_up(self) -> None:
        if self._client is None or self._world is None or self._lines is None:
            return
        self._world.detach(self._client.fileno())
        self._client.close()
        self._client = self._manager = None
        self._lines.dtr = False


def _send_or_lose(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.send(data)
