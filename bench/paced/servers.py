"""The server of a rig as a seat, with its ends of the ways to all gateways."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from bench.assembly import SERVER, pi_name, uplink_plan
from bench.paced.configuration import NodeFiles, server_text
from bench.paced.event_records import EventRecords
from bench.pi.ledger_process import LedgerEvent, LedgerFailureError, NodeFolder, NodeSettings
from bench.pi.vpn.relay import Relay, RelayPlan
from bench.pi.vpn.wireguard import SESSION_S
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import State
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.assembly import Stage
    from bench.pi.ssh import SshSeat
    from bench.rig.model import Branch, Rig, Uplink
    from bench.world.trace import Record

_LOOK_S: Final = 0.1


class ServerNode(Protocol):
    """The ledger's server wherever it runs (`bench.server`)."""

    def deploy(self, settings: NodeSettings) -> None:
        """Give it new settings, which hold from its next start."""

    def start(self) -> None:
        """Start it and wait until it is ready."""

    def stop(self) -> None:
        """Stop it, and wait for that."""

    def erase_store(self) -> None:
        """Begin a new ledger."""


class ServerSeat(ABC):
    """A server and its ways to the gateways. `orders` is the trial that it is set up for to be `running`.

    Every call may raise InfrastructureError.
    """

    name = SERVER

    def __init__(self, rig: Rig) -> None:
        self.state = State.OFF
        self.orders: Stage | None = None
        self._rig = rig
        self._events: list[LedgerEvent] = []
        self._news = threading.Condition()
        self._outages_ns: dict[str, list[tuple[int, int]]] = {}
        """Of each branch's way in this trial, by the monotonic clock."""

    # ---- the seat ----

    def step_to(self, state: State) -> None:
        """Up: its host and tunnels, then the server itself. Down: the server, then all."""
        if state is State.OFF:
            self.close()
        elif state is State.FLASHED and self.state is State.OFF:
            self.put_up()
        elif state is State.FLASHED:
            self.node().stop()
        elif state is State.RUNNING and self.state is State.FLASHED:
            self._set_up()
        self.state = state

    @abstractmethod
    def put_up(self) -> None:
        """Bring its host to where the server can be started."""

    @abstractmethod
    def close(self) -> None:
        """Take it down; nothing happens where it is down."""

    @abstractmethod
    def node(self) -> ServerNode:
        """The server itself."""

    # ---- its place in the network ----

    @abstractmethod
    def files(self) -> NodeFiles:
        """Where it has its files, as its configuration names them."""

    @abstractmethod
    def listen(self) -> str:
        """Where it listens: host:port."""

    @abstractmethod
    def gateway_address(self, name: str) -> str:
        """The address from which it sees this gateway call."""

    @abstractmethod
    def address(self, branch: Branch) -> str:
        """Where a branch's gateway calls the server: host:port."""

    @abstractmethod
    def install_tunnel(self, branch: Branch, pi: SshSeat) -> None:
        """Give a Pi its end of the tunnel, and wait until it is up."""

    @abstractmethod
    def check_tunnel(self, branch: Branch) -> None:
        """Raise InfrastructureError where the VPN to a branch's Pi has no valid session."""

    def check_way(self, branch: Branch) -> None:
        """Raise InfrastructureError where the VPN to a branch's Pi is down, and no planned outage is why."""
        now_ns = time.monotonic_ns()
        if not any(
            from_ns <= now_ns <= to_ns + SESSION_S * NS_PER_S
            for from_ns, to_ns in self._outages_ns.get(branch.name, ())
        ):
            self.check_tunnel(branch)

    @abstractmethod
    def relay(self, branch: Branch) -> Relay | None:
        """What stands on the way to a branch; None where nothing does."""

    # ---- while a trial plays ----

    def begin(self, branch: Branch, zero_ns: int, uplink: Uplink) -> None:
        """Let the way to a branch follow this plan; outages count from this moment of the monotonic clock."""
        relay = self.relay(branch)
        if relay is not None:
            assert self.orders is not None, "a trial begins with orders"
            stream = self.orders.seed.child("uplink", branch.name, "datagrams")
            relay.begin(relay_plan(uplink), stream, zero_ns)
            self._outages_ns[branch.name] = [
                (zero_ns + outage.from_s * NS_PER_S, zero_ns + outage.to_s * NS_PER_S)
                for outage in uplink.outages
            ]

    def calm(self, branch: Branch) -> None:
        """End the plan of a trial: between trials there are no outages."""
        relay = self.relay(branch)
        if relay is not None and self._outages_ns.pop(branch.name, None) is not None:
            relay.begin(undisturbed(branch.uplink), between_trials(branch), time.monotonic_ns())

    def wait_for_peer(self, name: str, since_unix_ns: int, deadline_s: float) -> None:
        """Wait until this gateway has connected, later than a moment, and is connected."""
        end_s = time.monotonic() + deadline_s
        while not self._is_up(name, since_unix_ns):
            if time.monotonic() > end_s:
                raise InfrastructureError(
                    name,
                    f"has not connected to the server within {deadline_s:.0f} s",
                    "look at the gateway's log and at `wg show` on the Pi",
                    retry_helps=True,
                )
            with self._news:
                self._news.wait(_LOOK_S)

    def hear(self, event: LedgerEvent) -> None:
        """Take an event of the server in."""
        with self._news:
            self._events.append(event)
            self._news.notify_all()

    # ---- after it ----

    @abstractmethod
    def fetch_store(self, target: Path) -> None:
        """Copy the server's ledger."""

    def events(self) -> list[LedgerEvent]:
        """What the server told since it was set up."""
        with self._news:
            return list(self._events)

    def sent_bytes(self, branch: Branch) -> int:
        """What a branch's Pi has sent on its way since the trial began; 0 where nothing counts it."""
        relay = self.relay(branch)
        return 0 if relay is None else relay.account().up.received_octets

    def check_life(self) -> None:
        """Raise LedgerFailureError where the server was started more than once in this trial."""
        starts = sum(event.kind == "started" for event in self.events())
        if starts > 1:
            raise LedgerFailureError(f"{self.name} was started {starts} times in one trial; look at its log")

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

    # ---- inside ----

    def _set_up(self) -> None:
        stage = self.orders
        assert stage is not None, "the server is set up for a trial"
        self.node().erase_store()
        # What the server told at its end belongs to the trial before.
        self.events()
        with self._news:
            self._events.clear()
        names = [pi_name(branch) for branch in stage.rig.branches]
        gateways = {name: self.gateway_address(name) for name in names}
        self.node().deploy(self._settings(stage, gateways))
        self.node().start()

    def _settings(self, stage: Stage, gateways: Mapping[str, str]) -> NodeSettings:
        return NodeSettings(
            server_text(self.files(), self.listen(), gateways),
            stage.registry(range(0)).to_json().encode(),
            bytes(stage.keys.signing_key(self.name)),
        )

    def _is_up(self, name: str, since_unix_ns: int) -> bool:
        told = [
            event.kind
            for event in self.events()
            if event.facts.get("peer") == name and event.t_ns >= since_unix_ns
        ]
        return bool(told) and told[-1] == "peer_up"


def node_files(folder: NodeFolder, store: Path) -> NodeFiles:
    """Files below a folder of the server, and its store."""
    return NodeFiles(str(store), str(folder.registry), str(folder.signing_key))


def relay_plan(uplink: Uplink) -> RelayPlan:
    """Both directions of the way as the rig file has it."""
    return RelayPlan.both_ways(uplink_plan(uplink))


def between_trials(branch: Branch) -> Stream:
    """What chance decides on a branch's way while no trial plays."""
    return Stream(0, "between trials", branch.name)


def undisturbed(uplink: Uplink) -> RelayPlan:
    """The same without outages, as between trials."""
    return relay_plan(uplink.without_outages())
