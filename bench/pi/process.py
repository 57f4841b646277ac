"""A gateway as a process of this host, in the place of a Pi: for quick tests, and for further branches.

It is the ledger's own program on this host's processor and disk, so its figures are no calibration of a Pi.
"""

import os
import tty
from pathlib import Path
from typing import Final

from bench.pi.ledger_process import Enclose, HostedNode, LedgerProcess, Listener, NodeFolder

CALIBRATION_NOTE: Final = "a process of this host: its CPU and card figures are no calibration of a Pi"


class ProcessGateway(HostedNode):
    """One gateway with a radio at the end of a pseudo-terminal. Close it, also after an error.

    `radio_port` is what the configuration names as ``radio.port``; the bench plays the chip by `radio_line`,
    the file descriptor of the line's other end, which does not block and stays open over all lives of the
    process.
    """

    def __init__(self, name: str, path: Path, listener: Listener, enclose: Enclose = list) -> None:
        folder = NodeFolder(path)
        super().__init__(name, folder, LedgerProcess(name, "gateway", folder, listener, enclose))
        self.radio_line, self._gateways_end = os.openpty()
        tty.setraw(self._gateways_end)
        os.set_blocking(self.radio_line, False)
        self.radio_port: Final = f"serial:{os.ttyname(self._gateways_end)}"

    @property
    def note(self) -> str:
        """What a report says beside its figures."""
        return CALIBRATION_NOTE

    def close(self) -> None:
        """End it and let go of the line."""
        super().close()
        for descriptor in (self.radio_line, self._gateways_end):
            if descriptor >= 0:
                os.close(descriptor)
        self.radio_line = self._gateways_end = -1
