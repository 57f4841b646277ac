"""The ledger's time on a machine whose clock is set now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TOLERATED_NS: Final = 1_000_000_000


class LedgerClock:
    """Real time that never runs backwards as long as nobody says so.

    A small step back is waited out. After a larger one the time goes on from the new one, and
    :meth:`take_set_back` tells: whatever had appointments must make them anew, or they would be kept only
    when the old time is reached.
    """

    def __init__(self, read_ns: Callable[[], int] = time.time_ns) -> None:
        self._read_ns = read_ns
        self._last_ns = read_ns()
        self._set_back = False

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        now_ns = self._read_ns()
        if now_ns < self._last_ns - _TOLERATED_NS:
            self._set_back = True
            self._last_ns = now_ns
        self._last_ns = max(self._last_ns, now_ns)
        return self._last_ns

    def take_set_back(self) -> bool:
        """Whether the time was set back since the last call."""
        set_back, self._set_back = self._set_back, False
        return set_back
