"""What a daemon tells: one JSON object per line on standard output, for journald or whoever reads it.

Every line has ``t_ns`` (nanoseconds since 1970) and ``event``; bytes are in hexadecimal. Keys are never told.
"""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

LONGEST_TEXT: Final = 400
"""Details that quote what a stranger sent are cut here."""


class EventLog:
    """Collects lines until :meth:`flush`. A reader that is gone silences it, and stops nothing else.

    ``output`` must not be buffered. Lines that it does not take, as on a full disk, are lost, but none is
    torn: the rest of one that was begun comes first next time, and ``events_lost`` tells how many went.
    """

    def __init__(self, output: BinaryIO, clock_ns: Callable[[], int]) -> None:
        self._output: BinaryIO | None = output
        self._clock_ns = clock_ns
        self._lines: list[str] = []
        self._rest = b""
        self._lost = 0

    def tell(self, event: str, **facts: object) -> None:
        """Note an event."""
        line = {"t_ns": self._clock_ns(), "event": event, **facts}
        self._lines.append(json.dumps(line, default=_spelled))

    def flush(self) -> None:
        """Write what was noted."""
        if not self._lines:
            return
        told_lost = self._lost
        if told_lost:
            self.tell("events_lost", count=told_lost)
        data = self._rest + ("\n".join(self._lines) + "\n").encode()
        self._lines.clear()
        written = self._write(data)
        left = data[written:]
        is_begun = bool(self._rest) if written == 0 else data[written - 1 : written] != b"\n"
        self._rest = left[: left.find(b"\n") + 1] if is_begun else b""
        dropped = left.count(b"\n") - self._rest.count(b"\n")
        # The last line is that about earlier ones: lost itself, it is no event more, but they are untold yet.
        self._lost = told_lost + dropped - 1 if told_lost and dropped else dropped

    def _write(self, data: bytes) -> int:
        """Write as much as the output takes; return how many bytes."""
        written = 0
        taken = 1
        while taken and self._output is not None and written < len(data):
            try:
                # None, as from what would block, is nothing taken.
                taken = self._output.write(data[written:]) or 0
            except (OSError, ValueError) as error:
                if not isinstance(error, OSError) or error.errno == errno.EPIPE:
                    self._output = None
                taken = 0
            written += taken
        return written


def shortened(text: str) -> str:
    """The text, cut where it gets too long."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def _spelled(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} is not told in events")
