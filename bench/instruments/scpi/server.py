"""Ports for SCPI instruments: each on a TCP port of the loopback, as instruments have it at port 5025.

One thread serves all instruments of a server, so that a supply and a meter in its lead need no locks. It also
lets time pass in them, whether or not anybody asks.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from bench.instruments.scpi.instrument import LONGEST_LINE
from bench.rig.closable import Closable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.instruments.scpi.instrument import ScpiInstrument

HOST: Final = "127.0.0.1"
MOST_CLIENTS: Final = 8
"""Connections an instrument keeps; further ones are closed at once."""

_MOST_UNSENT: Final = 1 << 16
"""Bytes of answers that wait for a client who does not read them; more, and it is dropped."""


@dataclass(eq=False, slots=True)
class _Client:
    instrument: ScpiInstrument
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    skips: bool = False
    """Whether what comes belongs to a line that was too long."""


@dataclass(eq=False, slots=True)
class _Port:
    instrument: ScpiInstrument
    socket: socket.socket
    number: int
    clients: set[_Client] = field(default_factory=set)


class ScpiServer(Closable):
    """A thread that serves instruments on ports of their own until it is closed."""

    def __init__(self, instruments: Sequence[ScpiInstrument]) -> None:
        self._origin_ns = monotonic_ns()
        self._selector = selectors.DefaultSelector()
        self._ports = [_Port(instrument, *_listening()) for instrument in instruments]
        for port in self._ports:
            self._selector.register(port.socket, selectors.EVENT_READ, port)
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._closing = False
        self.failure: Exception | None = None
        """What ended the thread before it was closed, a defect of an instrument or of what hangs on it."""
        self._thread = threading.Thread(target=self._serve, name="scpi-server", daemon=True)
        self._thread.start()

    def port_of(self, instrument: ScpiInstrument) -> int:
        """The TCP port of an instrument."""
        return next(port.number for port in self._ports if port.instrument is instrument)

    def resource_of(self, instrument: ScpiInstrument) -> str:
        """The VISA resource string of an instrument."""
        return f"TCPIP::{HOST}::{self.port_of(instrument)}::SOCKET"

    def close(self) -> None:
        """End the thread and close all ports and connections."""
        self._closing = True
        with suppress(OSError):
            self._waker.send(b"x")
        self._thread.join()

    # The thread

    def _now_ns(self) -> int:
        return monotonic_ns() - self._origin_ns

    def _rest_s(self) -> float:
        due_ns = min(port.instrument.due_ns for port in self._ports)
        return max(0, due_ns - self._now_ns()) / 1e9

    def _serve(self) -> None:
        try:
            while not self._closing:
                for key, events in self._selector.select(self._rest_s()):
                    if isinstance(key.data, _Port):
                        self._accept(key.data)
                    elif isinstance(key.data, _Client):
                        self._attend(key.data, events)
                now_ns = self._now_ns()
                for port in self._ports:
                    if port.instrument.due_ns <= now_ns:
                        port.instrument.advance(now_ns)
        except Exception as error:  # told by `failure`: nobody else sees what ends a thread
            self.failure = error
        finally:
            for port in self._ports:
                for client in port.clients:
                    client.socket.close()
                port.socket.close()
            self._selector.close()
            self._waker.close()
            self._woken.close()

    def _accept(self, port: _Port) -> None:
        try:
            connection, _ = port.socket.accept()
        except OSError:
            return  # gone again before it was taken
        if len(port.clients) == MOST_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_UNSENT)
        client = _Client(port.instrument, connection)
        port.clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _attend(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                self._receive(client)
            self._send(client)
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        data = client.socket.recv(4096)
        if not data:
            raise ConnectionResetError("closed by the client")
        client.received += data
        while (end := client.received.find(b"\n")) >= 0:
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            if client.skips:
                client.skips = False
                continue
            answer = client.instrument.handle(line.decode("ascii", "replace").strip("\r"), self._now_ns())
            if answer is not None:
                client.unsent += answer.encode("ascii") + b"\n"
        if len(client.received) > LONGEST_LINE:
            client.received.clear()
            if not client.skips:
                client.skips = True
                client.instrument.overrun()
        if len(client.unsent) > _MOST_UNSENT:
            raise ConnectionResetError("the client does not read its answers")

    def _send(self, client: _Client) -> None:
        if client.unsent:
            with suppress(BlockingIOError):
                del client.unsent[: client.socket.send(client.unsent)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        if self._selector.get_key(client.socket).events != wanted:
            self._selector.modify(client.socket, wanted, client)

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()
        for port in self._ports:
            port.clients.discard(client)


def _listening() -> tuple[socket.socket, int]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((HOST, 0))
    listener.listen()
    listener.setblocking(False)
    return listener, int(listener.getsockname()[1])
