"""The server as a process of this host, behind WireGuard and relays where there is a VPN."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from bench.assembly import pi_name
from bench.paced.host_facts import address_seen_from
from bench.paced.servers import ServerSeat, between_trials, node_files, undisturbed
from bench.pi.vpn.hub import LOOPBACK, QEMU_HOST, Hub
from bench.pi.vpn.remote import RemoteTunnel
from bench.server.emulated import EmulatedServer

if TYPE_CHECKING:
    from pathlib import Path

    from bench.paced.configuration import NodeFiles
    from bench.pi.ssh import SshSeat
    from bench.pi.vpn.relay import Relay
    from bench.rig.model import Branch, Rig

ANYWHERE: Final = "0.0.0.0"
HANDSHAKE_S: Final = 30.0


class EmulatedServerSeat(ServerSeat):
    """A process, in a network namespace at the end of all tunnels, or on the loopback interface."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        super().__init__(rig)
        self._folder = folder
        self._server: EmulatedServer | None = None

    def put_up(self) -> None:
        """Namespace, tunnels and relays."""
        hub = (
            Hub(f"VPN of {self.name}", self._folder / "vpn") if self._rig.server.vpn == "wireguard" else None
        )
        self._server = EmulatedServer(self.name, self._folder / "node", self.hear, hub)
        if hub is None:
            return
        for branch in self._rig.branches:
            listen = LOOPBACK if branch.pi.kind == "emulated" else ANYWHERE
            hub.join(pi_name(branch), undisturbed(branch.uplink), between_trials(branch), listen)

    def close(self) -> None:
        """End the process, and its tunnels."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def node(self) -> EmulatedServer:
        """The process."""
        assert self._server is not None, "the server is put up before it is used"
        return self._server

    def files(self) -> NodeFiles:
        """Below the folder of the rig."""
        return node_files(self.node().folder, self.node().store)

    def listen(self) -> str:
        """Its address in the tunnel, or on the loopback interface."""
        return self.node().listen

    def gateway_address(self, name: str) -> str:
        """In the tunnel, or the loopback interface's."""
        return self.node().gateway_address(name)

    def address(self, branch: Branch) -> str:
        """In the tunnel; without one, where the branch's Pi finds this host."""
        if self.node().hub is not None:
            return self.listen()
        port = self.listen().rpartition(":")[2]
        return f"{QEMU_HOST if branch.pi.kind == 'emulated' else LOOPBACK}:{port}"

    def install_tunnel(self, branch: Branch, pi: SshSeat) -> None:
        """WireGuard on the Pi, with the relay for its other end."""
        hub = self.node().hub
        if hub is None:
            return
        host = QEMU_HOST if branch.pi.kind == "emulated" else address_seen_from(pi)
        name = pi_name(branch)
        began_s = int(time.time())
        if RemoteTunnel(pi).bring_up(hub.spokes[name].interface(host)):
            hub.wait_for_handshake(name, HANDSHAKE_S, began_s - 1)
        else:
            hub.wait_for_life(name, HANDSHAKE_S)

    def check_tunnel(self, branch: Branch) -> None:
        """Ask the server's end, where there is a VPN."""
        hub = self.node().hub
        if hub is not None:
            hub.check(pi_name(branch))

    def relay(self, branch: Branch) -> Relay | None:
        """Between the Pi and the namespace, where there is a VPN."""
        hub = self.node().hub
        return None if hub is None else hub.spokes[pi_name(branch)].relay

    def fetch_store(self, target: Path) -> None:
        """Copy the ledger as it is at one moment."""
        source = f"file:{self.node().store}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(source, uri=True)) as store,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            store.backup(copy)
