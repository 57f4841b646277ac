"""A server of a lab: reached by SSH, the ledger brought along, WireGuard to the Pis through relays here."""

from __future__ import annotations

import contextlib
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.assembly import pi_name
from bench.paced.emulated_server import ANYWHERE, HANDSHAKE_S
from bench.paced.gateways import JOIN_S
from bench.paced.host_facts import address_seen_from, clock_ahead_ns, python_version
from bench.paced.servers import ServerSeat, between_trials, node_files, undisturbed
from bench.pi.deployed.deployment import install_release
from bench.pi.deployed.release import build_release
from bench.pi.emulated.image import default_cache
from bench.pi.ssh import SshSeat, SshTarget
from bench.pi.vpn.hub import SERVER_ADDRESS, TUNNELS, Spoke
from bench.pi.vpn.keys import preshared_key_at, private_key_at
from bench.pi.vpn.relay import Relay
from bench.pi.vpn.remote import RemoteTunnel
from bench.pi.vpn.wireguard import Interface, Peer, check_session
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import State
from bench.server.emulated import PORT
from bench.server.real import FILES, STORE, RealServer

if TYPE_CHECKING:
    from bench.paced.configuration import NodeFiles
    from bench.pi.ledger_process import LedgerEvent
    from bench.rig.model import Branch, Rig

_CLOCK_SLACK_S: Final = 60
_NS_PER_S: Final = 1_000_000_000


class RealServerSeat(ServerSeat):
    """The ledger's server on a host of a lab. Keys of the tunnels are made here and kept in `folder`."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        super().__init__(rig)
        self._folder = folder / "vpn"
        self._closing = ExitStack()
        self._login: SshSeat | None = None
        self._node: RealServer | None = None
        self._spokes: dict[str, Spoke] = {}
        self._clock_ahead_ns = 0

    def put_up(self) -> None:
        """Log in, bring the ledger, open the tunnels' end, and put a relay on the way of each Pi."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        login = self._rig.server.login
        assert login is not None, "the rig model lets no real server without login pass"
        self._login = self._closing.enter_context(SshSeat(SshTarget.of(self.name, login)))
        self._login.connect(JOIN_S)
        self._clock_ahead_ns = clock_ahead_ns(self._login)
        machine = self._login.run("uname -m").output.strip()
        release = build_release(default_cache() / "release", python_version(self._login), machine)
        program = f"{install_release(self._login, release)}/bin/ledger"
        self._node = RealServer(self.name, self._login, program, self._hear_there)
        self._closing.callback(self._stop_there)
        self._node.check()
        self._lead_ways()

    def close(self) -> None:
        """Stop the server; the host stays as it is."""
        self._closing.close()
        self._login = self._node = None
        self._spokes.clear()

    def step_to(self, state: State) -> None:
        """Its clock is compared anew for each trial, as it may be set meanwhile."""
        if state is State.RUNNING and self._login is not None:
            self._clock_ahead_ns = clock_ahead_ns(self._login)
        super().step_to(state)

    def node(self) -> RealServer:
        """The service on the host."""
        assert self._node is not None, "the server is put up before it is used"
        return self._node

    def files(self) -> NodeFiles:
        """Below /etc and /var/lib of the host."""
        return node_files(FILES, Path(STORE))

    def listen(self) -> str:
        """Its address in the tunnel."""
        return f"{SERVER_ADDRESS}:{PORT}"

    def gateway_address(self, name: str) -> str:
        """In the tunnel."""
        return self._spokes[name].address

    def address(self, branch: Branch) -> str:  # noqa: ARG002  # all call the same
        """In the tunnel."""
        return self.listen()

    def install_tunnel(self, branch: Branch, pi: SshSeat) -> None:
        """WireGuard on the Pi, with the relay on this host for its other end."""
        spoke = self._spokes[pi_name(branch)]
        tunnel = RemoteTunnel(pi)
        began_s = int(time.time()) - _CLOCK_SLACK_S
        tunnel.bring_up(spoke.interface(address_seen_from(pi)))
        tunnel.wait_for_handshake(spoke.server_key, HANDSHAKE_S, began_s)

    def check_tunnel(self, branch: Branch) -> None:
        """Ask the server's end."""
        assert self._login is not None, "the server is logged in to"
        peer = self._spokes[pi_name(branch)].private_key.public
        now_s = (time.time_ns() + self._clock_ahead_ns) // _NS_PER_S
        check_session(RemoteTunnel(self._login), peer, now_s)

    def relay(self, branch: Branch) -> Relay | None:
        """On this host, between the Pi and the server's endpoint."""
        return self._spokes[pi_name(branch)].relay

    def events(self) -> list[LedgerEvent]:
        """What the server told, as its host's journal has it."""
        if self._node is not None:
            self._node.collect_events()
        return super().events()

    def fetch_store(self, target: Path) -> None:
        """Copy the ledger as it is at one moment."""
        self.node().fetch_store(target)

    def _hear_there(self, event: LedgerEvent) -> None:
        """By this host's clock."""
        self.hear(replace(event, t_ns=event.t_ns - self._clock_ahead_ns))

    def _stop_there(self) -> None:
        """A login that is lost is nothing to wait for: the host is let go of."""
        with contextlib.suppress(InfrastructureError):
            self.node().close()

    def _lead_ways(self) -> None:
        assert self._login is not None, "the server is logged in to"
        private_key = private_key_at(self._folder / "server.key")
        endpoint = _resolved(self.name, self._rig.server.endpoint or "")
        for place, branch in enumerate(self._rig.branches):
            name = pi_name(branch)
            file_name = name.replace("/", "-")
            plan, stream = undisturbed(branch.uplink), between_trials(branch)
            relay = Relay(name, (ANYWHERE, 0), endpoint, private_key.public, plan, stream)
            self._spokes[name] = Spoke(
                name=name,
                address=str(TUNNELS[2 + place]),
                relay=self._closing.enter_context(relay),
                server_key=private_key.public,
                private_key=private_key_at(self._folder / f"{file_name}.key"),
                preshared_key=preshared_key_at(self._folder / f"{file_name}.psk"),
            )
        peers = tuple(
            Peer(spoke.private_key.public, spoke.preshared_key, (f"{spoke.address}/32",))
            for spoke in self._spokes.values()
        )
        interface = Interface(private_key, f"{SERVER_ADDRESS}/32", peers, endpoint[1])
        RemoteTunnel(self._login).bring_up(interface)


def _resolved(seat: str, endpoint: str) -> tuple[str, int]:
    """Address and port of an endpoint."""
    host, _, port = endpoint.rpartition(":")
    try:
        return socket.gethostbyname(host), int(port)
    except OSError as error:
        raise InfrastructureError(
            seat, f"its endpoint {endpoint} does not resolve ({error})", "put its address into the rig file"
        ) from None
