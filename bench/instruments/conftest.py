"""Instruments that misbehave, and models behind ports, for the tests of drivers."""

from __future__ import annotations

import os
import pty
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bench.instruments.scpi.server import ScpiServer
from bench.instruments.scpi.supply import SupplyInstrument
from bench.world.patience import until

if TYPE_CHECKING:
    from pathlib import Path

    from bench.instruments.scpi.instrument import ScpiInstrument

Reply = Callable[[str], bytes | None]
"""What an odd instrument sends for a line; None breaks the connection."""


@dataclass
class OddInstrument:
    """A port whose answers a test decides, and the lines it got."""

    reply: Reply
    lines: list[str] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def resource(self) -> str:
        return f"TCPIP::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._clients.append(client)
            with client, suppress(OSError), client.makefile("rb") as received:
                for line in received:
                    text = line.decode().rstrip("\n")
                    self.lines.append(text)
                    answer = self.reply(text)
                    if answer is None:
                        break
                    client.sendall(answer)


Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Waits until something has come true; fails when it has not after a long time."""
    return partial(until, patience_s=60)


@pytest.fixture
def odd() -> Iterator[Callable[[Reply], OddInstrument]]:
    """Makes ports that answer as a test says."""
    made: list[OddInstrument] = []

    def make(reply: Reply) -> OddInstrument:
        made.append(OddInstrument(reply))
        return made[-1]

    yield make
    for instrument in made:
        instrument.close()


@pytest.fixture
def served() -> Iterator[Callable[[ScpiInstrument], str]]:
    """Puts instruments behind ports and gives their resources."""
    with ExitStack() as servers:

        def serve(instrument: ScpiInstrument) -> str:
            return servers.enter_context(ScpiServer([instrument])).resource_of(instrument)

        yield serve


@pytest.fixture
def serial_supply(tmp_path: Path) -> Iterator[Path]:
    """A supply's model behind a serial port, which a pseudo-terminal stands for."""
    near, far = pty.openpty()
    tty.setraw(near)
    tty.setraw(far)
    port = tmp_path / "ttySUPPLY"
    port.symlink_to(os.ttyname(far))
    instrument = SupplyInstrument([])

    def serve() -> None:
        received = b""
        while True:
            received += os.read(near, 100)
            *lines, received = received.split(b"\n")
            for line in lines:
                if line == b"QUIT":
                    return
                answer = instrument.handle(line.decode(), 0)
                if answer is not None:
                    os.write(near, answer.encode() + b"\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield port
    os.write(far, b"QUIT\n")
    thread.join()
    os.close(near)
    os.close(far)
