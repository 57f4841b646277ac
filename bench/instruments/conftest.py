"""Instruments that misbehave, and models behind ports, for the tests of drivers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bench.instruments.scpi.server import ScpiServer

if TYPE_CHECKING:
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

    def wait(condition: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < give_up_s, "it did not come true"
            time.sleep(0.002)

    return wait


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
