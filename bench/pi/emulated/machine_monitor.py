"""QEMU's monitor: JSON commands over a Unix socket (QMP, qemu docs/interop/qmp-spec.txt)."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_ANSWER = 4 << 20


class MonitorError(InfrastructureError):
    """QEMU does not answer, or refuses a command."""

    def __init__(self, what: str) -> None:
        super().__init__("QEMU", what, "start the machine again", retry_helps=True)


class Monitor:
    """A connection to a running QEMU."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._received = b""
        try:
            self._socket.connect(str(path))
            self._next_message()
            self.command("qmp_capabilities")
        except OSError as error:
            self._socket.close()
            raise MonitorError(f"its monitor does not answer: {error}") from error

    def command(self, name: str, **arguments: object) -> Any:
        """Carry out one command and return what QEMU answers; events in between are passed over."""
        request = {"execute": name} | ({"arguments": arguments} if arguments else {})
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._next_message()
                if "return" in message:
                    return message["return"]
                if "error" in message:
                    raise MonitorError(f"it refuses {name}: {message['error'].get('desc', message['error'])}")
        except OSError as error:
            raise MonitorError(f"its monitor broke off at {name}: {error}") from error

    def line(self, command: str) -> str:
        """Carry out a command of the monitor for people."""
        answer: str = self.command("human-monitor-command", **{"command-line": command})
        return answer

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _next_message(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            part = self._socket.recv(65536)
            if not part:
                raise MonitorError("it has ended")
            self._received += part
            if len(self._received) > _LONGEST_ANSWER:
                raise MonitorError("its monitor answers without end")
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
