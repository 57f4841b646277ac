"""Telling systemd how the service is: the protocol of sd_notify(3), a datagram to a socket that it names."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Supervisor:
    """Whoever started this process and waits for its word; nobody, where the environment names none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_ns: int | None = None
        """By when it wants to hear from the service again each time, if it does."""
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with contextlib.suppress(ValueError):
                self.watchdog_ns = 1000 * int(environment.get("WATCHDOG_USEC", "")) or None

    def ready(self) -> None:
        """The service does its work from now on."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The service is not stuck."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
