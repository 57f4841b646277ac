"""The bench's end of the serial line between a Pi and its radio chip, which lives in the world of a trial."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from bench.radio.spi_line import SpiLine
from bench.world.simulation import NS_PER_MS
from ledger.gateway.byte_stream import ByteStream, StreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.radio.sx1278 import Sx1278
    from bench.world.paced import PacedWorld

_RETRY_NS: Final = 100 * NS_PER_MS


class RadioLine:
    """Carries SPI between a Pi and a chip, and comes back whenever the Pi's end does.

    `connect` opens the stream, and raises StreamError or OSError while there is nothing to connect to.
    """

    def __init__(self, name: str, world: PacedWorld, chip: Sx1278, connect: Callable[[], ByteStream]) -> None:
        self._name = name
        self._world = world
        self._chip = chip
        self._connect = connect
        self._line = SpiLine(chip)
        self._line.send = self._send
        self._stream: ByteStream | None = None
        self._closed = False
        world.call(self._come_back)

    def cut_power(self) -> None:
        """The chip loses its supply together with its Pi."""
        self._world.call(self._chip.reset)

    def close(self) -> None:
        """Let go of the line."""
        self._closed = True
        self._world.call(self._lose)

    def _come_back(self) -> None:
        if self._closed or self._stream is not None:
            return
        try:
            self._stream = self._connect()
        except (OSError, StreamError):
            due_ns = self._world.simulation.now_ns + _RETRY_NS
            self._world.simulation.at(due_ns, self._name, self._come_back)
            return
        self._world.attach(self._stream.fileno(), self._ready)

    def _ready(self) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            answer = self._line.receive(stream.read())
            if answer:
                stream.write(answer)
        except StreamError:
            self._lose()
            self._come_back()

    def _send(self, packet: bytes) -> None:
        if self._stream is not None:
            # A Pi that is gone is noticed by reading; what it did not hear it asks for when it is back.
            with contextlib.suppress(StreamError):
                self._stream.write(packet)

    def _lose(self) -> None:
        if self._stream is not None:
            self._world.detach(self._stream.fileno())
            self._stream.close()
            self._stream = None
