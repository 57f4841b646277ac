"""Errors of an instrument by number and text (SCPI-99, volume 2, chapter 21.8)."""

from __future__ import annotations

from collections import deque
from typing import Final

TEXTS: Final = {
    0: "No error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -131: "Invalid suffix",
    -151: "Invalid string data",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
}

QUEUE_LENGTH: Final = 20
"""Entries an error queue keeps; the standard asks for at least two."""


class ScpiError(Exception):
    """An error on its way to the instrument's queue."""

    def __init__(self, code: int) -> None:
        super().__init__(code, TEXTS[code])
        self.code = code

    @property
    def is_command_error(self) -> bool:
        """Whether the message could not be understood (-100 to -199), which ends the whole line."""
        return -199 <= self.code <= -100


class ErrorQueue:
    """Errors in the order they came, bounded: the last of a full queue gives way to a -350."""

    def __init__(self) -> None:
        self._codes: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._codes)

    def append(self, code: int) -> None:
        """Keep an error until it is read."""
        if len(self._codes) == QUEUE_LENGTH:
            self._codes[-1] = -350
        else:
            self._codes.append(code)

    def next(self) -> str:
        """Take the oldest out, as SYSTem:ERRor[:NEXT]? answers it."""
        code = self._codes.popleft() if self._codes else 0
        return f'{code},"{TEXTS[code]}"'

    def clear(self) -> None:
        """Forget all."""
        self._codes.clear()
