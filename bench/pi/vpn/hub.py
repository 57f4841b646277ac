"""The server's end of all tunnels: a namespace of its own, with a relay on the way to each Pi.

Addresses in the tunnels come from 198.19.0.0/16, the upper half of what is set aside for benchmarks
(RFC 2544); they are never seen on the host itself, so that every rig may have the same.
"""

import ipaddress
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.pi.vpn.keys import PublicKey, SecretKey, preshared_key_at, private_key_at
from bench.pi.vpn.namespace import Namespace
from bench.pi.vpn.relay import Relay, RelayPlan
from bench.pi.vpn.wireguard import (
    KEEPALIVE_S,
    PORT,
    Interface,
    Peer,
    PeerStatus,
    Tunnel,
    check_session,
    no_handshake,
)
from bench.rig.closable import Closable
from bench.world.streams import Stream

TUNNELS: Final = ipaddress.IPv4Network("198.19.0.0/16")
SERVER_ADDRESS: Final = str(TUNNELS[1])
LOOPBACK: Final = "127.0.0.1"
QEMU_HOST: Final = "10.0.2.2"
"""Where a guest of QEMU's user-mode network finds its host (QEMU manual, "Network emulation")."""

_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Spoke:
    """The way to one Pi: the relay on it, and what the Pi has to know."""

    name: str
    address: str
    """The Pi's address in the tunnel."""
    relay: Relay
    server_key: PublicKey
    private_key: SecretKey
    preshared_key: SecretKey

    def interface(self, relay_host: str) -> Interface:
        """The Pi's end, for a Pi that finds the relay at this host."""
        endpoint = f"{relay_host}:{self.relay.endpoint[1]}"
        server = Peer(
            self.server_key, self.preshared_key, (f"{SERVER_ADDRESS}/32",), endpoint, keepalive_s=KEEPALIVE_S
        )
        return Interface(self.private_key, f"{self.address}/32", (server,))


class Hub(Closable):
    """The server's end, up from construction to `close`. Keys are kept in `folder` and made where missing.

    `namespace` is where the server's process belongs: `namespace.argv` makes a command run there.
    """

    def __init__(self, seat: str, folder: Path, userspace: bool = False) -> None:
        self.seat = seat
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._private_key = private_key_at(folder / "server.key")
        self.spokes: dict[str, Spoke] = {}
        with ExitStack() as stack:
            self.namespace = stack.enter_context(Namespace(seat))
            interface = Interface(self._private_key, f"{SERVER_ADDRESS}/32", (), PORT)
            self.tunnel = stack.enter_context(
                Tunnel(self.namespace, interface, folder / "wireguard.log", userspace)
            )
            self._closing = stack.pop_all()

    def join(self, name: str, plan: RelayPlan, stream: Stream, listen: str = LOOPBACK) -> Spoke:
        """Lead a way to a Pi: make its keys where missing, admit it, and put a relay between.

        The relay listens on `listen`, the loopback interface for a guest of QEMU.
        """
        assert name not in self.spokes, f"{name} has joined already"
        relay = self._closing.enter_context(
            Relay(name, (listen, 0), (self.namespace.address, PORT), self._private_key.public, plan, stream)
        )
        spoke = Spoke(
            name=name,
            address=str(TUNNELS[2 + len(self.spokes)]),
            relay=relay,
            server_key=self._private_key.public,
            private_key=private_key_at(self._folder / f"pi-{name}.key"),
            preshared_key=preshared_key_at(self._folder / f"pi-{name}.psk"),
        )
        self.spokes[name] = spoke
        self.tunnel.add_peer(Peer(spoke.private_key.public, spoke.preshared_key, (f"{spoke.address}/32",)))
        return spoke

    def status(self, name: str) -> PeerStatus:
        """What WireGuard says, at the server, of this Pi."""
        key = self.spokes[name].private_key.public
        return next(status for status in self.tunnel.status() if status.public_key == key)

    def wait_for_handshake(self, name: str, deadline_s: float, newer_than_s: int = 0) -> PeerStatus:
        """Wait for a handshake with this Pi, as `Tunnel.wait_for_handshake`."""
        key = self.spokes[name].private_key.public
        return self.tunnel.wait_for_handshake(key, deadline_s, newer_than_s)

    def wait_for_life(self, name: str, deadline_s: float) -> PeerStatus:
        """Wait until something valid comes from this Pi, from now on, also in a session that stands already.

        A Pi keeps itself in mind every `KEEPALIVE_S`. InfrastructureError if it does not within `deadline_s`.
        """
        before, end = self.status(name), time.monotonic() + deadline_s
        while (status := self.status(name)).received_octets <= before.received_octets:
            if time.monotonic() >= end:
                raise no_handshake(self.tunnel.seat, status.public_key, deadline_s)
            time.sleep(_POLL_S)
        return status

    def check(self, name: str) -> None:
        """Raise InfrastructureError if the VPN to this Pi is down: no process, or no valid session."""
        check_session(self.tunnel, self.spokes[name].private_key.public, int(time.time()))

    def close(self) -> None:
        """Take down relays, tunnel and namespace, with what still runs in it."""
        self._closing.close()
