"""Progress of long work on the terminal: one line that renews itself, or a line now and then in a log."""

import time
from collections.abc import Callable

_LOG_PERIOD_S = 20.0
_TERMINAL_PERIOD_S = 0.1
_WIDTH = 100


class Reporter:
    """Tells what is being worked on and how far it is."""

    def __init__(self, write: Callable[[str], None], *, is_terminal: bool) -> None:
        self._write = write
        self._is_terminal = is_terminal
        self._said_s = 0.0

    def show(self, task: str, share: float) -> None:
        """Say that `task` is done to this share, 0 to 1, if it is time to say so."""
        now_s = time.monotonic()
        if now_s - self._said_s < (_TERMINAL_PERIOD_S if self._is_terminal else _LOG_PERIOD_S):
            return
        self._said_s = now_s
        line = f"{task}: {share:.0%}"
        if self._is_terminal:
            self._write(f"\r{line[:_WIDTH]:<{_WIDTH}}")
        else:
            self._write(f"\n    {line}")

    def tell(self, line: str) -> None:
        """Say something that stays."""
        self.clear()
        self._write(f"\n    {line}")

    def clear(self) -> None:
        """Take the renewing line away."""
        if self._is_terminal:
            self._write("\r" + " " * _WIDTH + "\r")
