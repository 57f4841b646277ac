"""What a daemon tells: one JSON object per line on standard output, for journald or whoever reads it.

Every line has ``t_ns`` (nanoseconds since 1970) and ``event``; bytes are in hexadecimal. Keys are never told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

LONGEST_TEXT: Final = 400
"""Details that quote what a stranger sent are cut here."""


class EventLog:
    """Collects lines until :meth:`flush`. A reader that is gone silences it, and stops nothing else."""

    def __init__(self, output: BinaryIO, clock_ns: Callable[[], int]) -> None:
        self._output: BinaryIO | None = output
        self._clock_ns = clock_ns
        self._lines: list[str] = []

    def tell(self, event: str, **facts: object) -> None:
        """Note an event."""
        line = {"t_ns": self._clock_ns(), "event": event, **facts}
        self._lines.append(json.dumps(line, default=_spelled))

    def flush(self) -> None:
        """Write what was noted."""
        if not self._lines:
            return
        text = "\n".join(self._lines) + "\n"
        self._lines.clear()
        if self._output is not None:
            try:
                self._output.write(text.encode())
                self._output.flush()
            except (OSError, ValueError):
                self._output = None


def shortened(text: str) -> str:
    """The text, cut where it gets too long."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def _spelled(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} is not told in events")
