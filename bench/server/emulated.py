"""The emulated seat of the server: the ledger's own server as a process of this host.

With a VPN it lives in the namespace at the end of the tunnels and listens on its tunnel address alone;
without one it listens on the loopback interface, which takes no privileges.
"""

import socket
from pathlib import Path
from typing import Final

from bench.pi.ledger_process import HostedNode, LedgerProcess, Listener, NodeFolder
from bench.pi.vpn.hub import LOOPBACK, SERVER_ADDRESS, Hub

PORT: Final = 7400


class EmulatedServer(HostedNode):
    """The server of a rig; close it, also after an error. `hub`, if given, is closed with it.

    `listen` is what the configuration names as ``listen``. `listener` is called, by a thread of its own, with
    each event: of blocks, when they were stored.
    """

    def __init__(self, name: str, path: Path, listener: Listener, hub: Hub | None = None) -> None:
        self.hub = hub
        self.listen: Final = f"{LOOPBACK}:{_free_port()}" if hub is None else f"{SERVER_ADDRESS}:{PORT}"
        folder = NodeFolder(path)
        enclose = list if hub is None else hub.namespace.argv
        super().__init__(name, folder, LedgerProcess(name, "serve", folder, listener, enclose))

    def gateway_address(self, name: str) -> str:
        """The address from which the server sees this gateway call."""
        return LOOPBACK if self.hub is None else self.hub.spokes[name].address

    def close(self) -> None:
        """End it, and its tunnels."""
        super().close()
        if self.hub is not None:
            self.hub.close()


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
