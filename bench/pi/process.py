"""A gateway as a process of this host, in the place of a Pi: for quick tests, and for further branches.

It is the ledger's own program on this host's processor and disk, so its figures are no calibration of a Pi.
"""

import os
import tty
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.pi.ledger_process import Enclose, LedgerProcess, Listener, NodeFolder, NodeSettings

CALIBRATION_NOTE: Final = "a process of this host: its CPU and card figures are no calibration of a Pi"


class ProcessGateway:
    """One gateway with a radio at the end of a pseudo-terminal. Close it, also after an error.

    `radio_port` is what the configuration names as ``radio.port``; the bench plays the chip by `radio_line`,
    the file descriptor of the line's other end, which does not block and stays open over all lives of the
    process.
    """

    def __init__(self, name: str, path: Path, listener: Listener, enclose: Enclose = list) -> None:
        self.name = name
        self.folder = NodeFolder(path)
        self.process = LedgerProcess(name, "gateway", self.folder, listener, enclose)
        self.radio_line, self._gateways_end = os.openpty()
        tty.setraw(self._gateways_end)
        os.set_blocking(self.radio_line, False)
        self.radio_port: Final = f"serial:{os.ttyname(self._gateways_end)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def store(self) -> Path:
        """Its ledger; others may read it at any time."""
        return self.folder.store

    @property
    def note(self) -> str:
        """What a report says beside its figures."""
        return CALIBRATION_NOTE

    def deploy(self, settings: NodeSettings) -> None:
        """Give it new settings, which hold from its next start."""
        self.folder.write(settings)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process.start()

    def stop(self) -> None:
        """Stop it, and wait for that."""
        self.process.stop()

    def restart(self) -> None:
        """Stop and start it."""
        self.process.restart()

    def kill(self) -> None:
        """End it at once, by SIGKILL; unlike a service it stays down until it is started."""
        self.process.kill()

    def is_running(self) -> bool:
        """Whether it is up and has said that it is ready."""
        return self.process.is_running

    def erase_store(self) -> None:
        """Begin a new ledger: stop the gateway, delete its store, and start it again if it ran."""
        ran = self.is_running()
        self.process.close()
        self.folder.erase_store()
        if ran:
            self.start()

    def close(self) -> None:
        """End it and let go of the line."""
        self.process.close()
        for descriptor in (self.radio_line, self._gateways_end):
            if descriptor >= 0:
                os.close(descriptor)
        self.radio_line = self._gateways_end = -1
