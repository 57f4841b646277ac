"""What other threads hand to the one that owns the state machine; it can be waited for with `select`."""

from __future__ import annotations

import collections
import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.messages import NodeMessage


class Delivery(NamedTuple):
    """A message, and whom to tell when it has been dealt with."""

    message: NodeMessage
    taken: Callable[[], None] | None


class Inbox:
    """A queue with a file descriptor. Senders bound it themselves, by waiting for `taken`."""

    def __init__(self) -> None:
        self._deliveries: collections.deque[Delivery] = collections.deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when there is something to take."""
        return self._event

    def post(self, message: NodeMessage, taken: Callable[[], None] | None = None) -> None:
        """Put in a message, from any thread."""
        self._deliveries.append(Delivery(message, taken))
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look around; also from a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._event, 1)

    def take(self, at_most: int) -> list[Delivery]:
        """Return the oldest messages, and wake again if there are more."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        taken = [self._deliveries.popleft() for _ in range(min(at_most, len(self._deliveries)))]
        if self._deliveries:
            self.wake()
        return taken

    def close(self) -> None:
        """Let go of the file descriptor."""
        os.close(self._event)
