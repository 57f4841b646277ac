"""The server of a rig as a seat, with its ends of the ways to all gateways."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from bench.assembly import SERVER, pi_name, uplink_plan
from bench.paced.configuration import NodeFiles, server_text
from bench.paced.event_records import EventRecords
from bench.pi.ledger_process import LedgerEvent, NodeSettings
from bench.pi.vpn.hub import LOOPBACK, QEMU_HOST, Hub, Spoke
from bench.pi.vpn.impairment import PathPlan
from bench.pi.vpn.relay import RelayPlan
from bench.pi.vpn.remote import RemoteTunnel
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import State
from bench.server.emulated import EmulatedServer
from bench.world.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.assembly import Stage
    from bench.pi.ssh import SshSeat
    from bench.rig.model import Branch, Rig, Uplink
    from bench.world.trace import Record

_ANYWHERE: Final = "0.0.0.0"
_HANDSHAKE_S: Final = 30.0
_LOOK_S: Final = 0.1


class ServerSeat(ABC):
    """A server and its ways to the gateways. `orders` is the trial that it is set up for to be `running`."""

    name = SERVER

    def __init__(self, rig: Rig) -> None:
        self.state = State.OFF
        self.orders: Stage | None = None
        self._rig = rig

    @abstractmethod
    def step_to(self, state: State) -> None:
        """Go one step up, or down. Raises InfrastructureError."""

    @abstractmethod
    def address(self, branch: Branch) -> str:
        """Where a branch's gateway calls the server: host:port."""

    @abstractmethod
    def install_tunnel(self, branch: Branch, pi: SshSeat) -> None:
        """Give a Pi its end of the tunnel, and wait until it is up."""

    @abstractmethod
    def begin(self, branch: Branch, zero_ns: int, uplink: Uplink) -> None:
        """Let the way to a branch follow this plan; outages count from this moment of the monotonic clock."""

    @abstractmethod
    def wait_for_peer(self, name: str, since_unix_ns: int, deadline_s: float) -> None:
        """Wait until this gateway has connected, later than a moment, and is connected."""

    @abstractmethod
    def sent_bytes(self, branch: Branch) -> int:
        """What a branch's Pi has sent on its way to the server since the trial began."""

    @abstractmethod
    def events(self) -> list[LedgerEvent]:
        """What the server told since it was set up."""

    @abstractmethod
    def fetch_store(self, target: Path) -> None:
        """Copy the server's ledger."""

    @abstractmethod
    def close(self) -> None:
        """Take it down."""

    def accepted_unix_ns(self) -> dict[bytes, int]:
        """The blocks that the server has, and when it got them."""
        return {
            bytes.fromhex(event.facts["block"]): event.t_ns
            for event in self.events()
            if event.kind == "block_stored"
        }

    def records(self, began_unix_ns: int) -> list[Record]:
        """What the server told, for the trace of a world that began then."""
        told = ({**event.facts, "t_ns": event.t_ns, "event": event.kind} for event in self.events())
        return EventRecords.of(self.name, told, began_unix_ns).records


class EmulatedServerSeat(ServerSeat):
    """The server as a process of this host, behind WireGuard and relays where there is a VPN."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        super().__init__(rig)
        self._folder = folder
        self._server: EmulatedServer | None = None
        self._events: list[LedgerEvent] = []
        self._news = threading.Condition()

    def step_to(self, state: State) -> None:
        """Up: namespace and tunnels, then the process. Down: the process, then all."""
        if state is State.OFF:
            self._take_down()
        elif state is State.FLASHED and self.state is State.OFF:
            self._put_up()
        elif state is State.FLASHED:
            self._running().stop()
        elif state is State.RUNNING and self.state is State.FLASHED:
            self._set_up()
        self.state = state

    def address(self, branch: Branch) -> str:
        """In the tunnel; without one, where the branch's Pi finds this host."""
        server = self._running()
        if server.hub is not None:
            return server.listen
        port = server.listen.rpartition(":")[2]
        return f"{QEMU_HOST if branch.pi.kind == 'emulated' else LOOPBACK}:{port}"

    def install_tunnel(self, branch: Branch, pi: SshSeat) -> None:
        """WireGuard on the Pi, with the relay for its other end."""
        hub = self._running().hub
        if hub is None:
            return
        host = QEMU_HOST if branch.pi.kind == "emulated" else _seen_from(pi)
        began_s = int(time.time())
        if RemoteTunnel(pi).bring_up(self._spoke(branch).interface(host)):
            hub.wait_for_handshake(pi_name(branch), _HANDSHAKE_S, began_s - 1)
        else:
            hub.wait_for_life(pi_name(branch), _HANDSHAKE_S)

    def begin(self, branch: Branch, zero_ns: int, uplink: Uplink) -> None:
        """The relay takes the plan over."""
        if self._running().hub is not None:
            stage = self.orders
            assert stage is not None, "a trial begins with orders"
            stream = stage.seed.child("uplink", branch.name, "datagrams")
            self._spoke(branch).relay.begin(_relay_plan(uplink), stream, zero_ns)

    def wait_for_peer(self, name: str, since_unix_ns: int, deadline_s: float) -> None:
        """Wait for the server to say so."""
        end_s = time.monotonic() + deadline_s
        with self._news:
            while not self._is_up(name, since_unix_ns):
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise InfrastructureError(
                        name,
                        f"has not connected to the server within {deadline_s:.0f} s",
                        "look at the gateway's log and at `wg show` on the Pi",
                        retry_helps=True,
                    )
                self._news.wait(min(left_s, _LOOK_S))

    def sent_bytes(self, branch: Branch) -> int:
        """Octets of WireGuard that the relay passed on; 0 where there is none to count them."""
        if self._running().hub is None:
            return 0
        return self._spoke(branch).relay.account().up.passed_octets

    def events(self) -> list[LedgerEvent]:
        """What the server told since it was set up."""
        with self._news:
            return list(self._events)

    def fetch_store(self, target: Path) -> None:
        """Copy the server's ledger, as it is at one moment."""
        source = f"file:{self._running().store}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(source, uri=True)) as store,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            store.backup(copy)

    def close(self) -> None:
        """Take it down."""
        self._take_down()

    def _running(self) -> EmulatedServer:
        assert self._server is not None, "the server is put up before it is used"
        return self._server

    def _spoke(self, branch: Branch) -> Spoke:
        hub = self._running().hub
        assert hub is not None, "there is a tunnel"
        return hub.spokes[pi_name(branch)]

    def _put_up(self) -> None:
        hub = (
            Hub(f"VPN of {self.name}", self._folder / "vpn") if self._rig.server.vpn == "wireguard" else None
        )
        self._server = EmulatedServer(self.name, self._folder / "node", self._hear, hub)
        if hub is None:
            return
        for branch in self._rig.branches:
            listen = LOOPBACK if branch.pi.kind == "emulated" else _ANYWHERE
            plan = _relay_plan(branch.uplink.model_copy(update={"outages": ()}))
            hub.join(pi_name(branch), plan, Stream(0, "between trials", branch.name), listen)

    def _set_up(self) -> None:
        stage = self.orders
        assert stage is not None, "the server is set up for a trial"
        server = self._running()
        server.erase_store()
        with self._news:
            self._events.clear()
        files = server.folder
        gateways = {pi_name(branch): server.gateway_address(pi_name(branch)) for branch in stage.rig.branches}
        server.deploy(
            NodeSettings(
                server_text(
                    NodeFiles(str(files.store), str(files.registry), str(files.signing_key)),
                    server.listen,
                    gateways,
                ),
                stage.registry(range(0)).to_json().encode(),
                bytes(stage.keys.signing_key(self.name)),
            )
        )
        server.start()

    def _take_down(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _hear(self, event: LedgerEvent) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify_all()

    def _is_up(self, name: str, since_unix_ns: int) -> bool:
        told = [
            event.kind
            for event in self._events
            if event.facts.get("peer") == name and event.t_ns >= since_unix_ns
        ]
        return bool(told) and told[-1] == "peer_up"


def _relay_plan(uplink: Uplink) -> RelayPlan:
    path = PathPlan(uplink_plan(uplink))
    return RelayPlan(path, path)


def _seen_from(pi: SshSeat) -> str:
    """The address of this host as the Pi sees it."""
    return str(pi.run("echo $SSH_CONNECTION").output.split()[0])


def server_seat(rig: Rig, folder: Path, _tell: Callable[[str], None]) -> ServerSeat:
    """The server of a rig as its file has it."""
    return EmulatedServerSeat(rig, folder)
