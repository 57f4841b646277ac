"""The emulated seat of the server: the ledger's own server as a process of this host.

With a VPN it lives in the namespace at the end of the tunnels and listens on its tunnel address alone;
without one it listens on the loopback interface, which takes no privileges.
"""

import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.pi.ledger_process import LedgerProcess, Listener, NodeFolder, NodeSettings
from bench.pi.vpn.hub import LOOPBACK, SERVER_ADDRESS, Hub

PORT: Final = 7400


class EmulatedServer:
    """The server of a rig; close it, also after an error. `hub`, if given, is closed with it.

    `listen` is what the configuration names as ``listen``. `listener` is called, by a thread of its own, with
    each event: of blocks, when they were stored.
    """

    def __init__(self, name: str, path: Path, listener: Listener, hub: Hub | None = None) -> None:
        self.name = name
        self.hub = hub
        self.folder = NodeFolder(path)
        self.listen: Final = f"{LOOPBACK}:{_free_port()}" if hub is None else f"{SERVER_ADDRESS}:{PORT}"
        enclose = list if hub is None else hub.namespace.argv
        self.process = LedgerProcess(name, "serve", self.folder, listener, enclose)

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

    def gateway_address(self, name: str) -> str:
        """The address from which the server sees this gateway call."""
        return LOOPBACK if self.hub is None else self.hub.spokes[name].address

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
        """End it at once, by SIGKILL."""
        self.process.kill()

    def is_running(self) -> bool:
        """Whether it is up and has said that it is ready."""
        return self.process.is_running

    def erase_store(self) -> None:
        """Begin a new ledger: stop the server, delete its store, and start it again if it ran."""
        ran = self.is_running()
        self.process.close()
        self.folder.erase_store()
        if ran:
            self.start()

    def close(self) -> None:
        """End it, and its tunnels."""
        self.process.close()
        if self.hub is not None:
            self.hub.close()


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
