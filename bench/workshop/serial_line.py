"""What the sketch's serial port is connected to: this terminal, a pseudo-terminal, or nothing."""

import contextlib
import os
import select
import sys
import tty
from typing import BinaryIO, Protocol

_AT_ONCE = 4096


class SerialLine(Protocol):
    """The other end of the serial port. Nothing blocks on reading."""

    def read(self) -> bytes:
        """What was typed since, perhaps nothing."""

    def write(self, data: bytes) -> None:
        """What the sketch sent."""


class Nothing:
    """Nobody types, nobody reads."""

    def read(self) -> bytes:
        """Nothing."""
        return b""

    def write(self, data: bytes) -> None:
        """Drops it."""


class Terminal:
    """Standard input and an output stream."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        try:
            self._input: int | None = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):
            self._input = None

    def read(self) -> bytes:
        """What standard input holds ready; nothing after its end."""
        if self._input is None or not select.select([self._input], [], [], 0)[0]:
            return b""
        data = os.read(self._input, _AT_ONCE)
        if not data:
            self._input = None
        return data

    def write(self, data: bytes) -> None:
        """To the output at once."""
        self._output.write(data)
        self._output.flush()


class PseudoTerminal:
    """A pty for a terminal program, pyserial or the Arduino IDE's monitor; `path` is what they open."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)

    def read(self) -> bytes:
        """What was written to the other side."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._master, _AT_ONCE)
        return b""

    def write(self, data: bytes) -> None:
        """To the other side; what finds its buffer full because nobody reads is lost, as on a wire."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._master, data)
