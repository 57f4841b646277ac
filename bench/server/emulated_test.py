import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from bench.pi.bound_process import BoundProcess
from bench.pi.ledger_process import LedgerEvent, LedgerFailureError, NodeFolder, NodeSettings, parse_event
from bench.pi.process import ProcessGateway
from bench.pi.uplink import UplinkPlan
from bench.pi.vpn.hub import Hub
from bench.pi.vpn.namespace import Namespace
from bench.pi.vpn.relay import RelayPlan
from bench.pi.vpn.wireguard import Tunnel
from bench.pi.vpn.wireguard_test import needs_wireguard
from bench.radio.spi_line import SpiLine
from bench.radio.spi_line_test import SETTINGS, Air, Uno
from bench.rig.infrastructure import InfrastructureError
from bench.server.emulated import EmulatedServer
from bench.world.paced import PacedWorld
from bench.world.patience import until
from bench.world.streams import Stream
from ledger.registry import METER_KEY_BYTES, Issuer, Registry
from ledger.service.process_pair import ProcessPair, readings
from ledger.verify import verify

PATIENCE_S = 180
NS_PER_MS = 1_000_000
METER_KEY = bytes(range(METER_KEY_BYTES))


class Books:
    """The keys and the registry of a gateway "east" and a server."""

    def __init__(self, folder: Path) -> None:
        self.keys = {name: SigningKey.generate() for name in ("east", "server")}
        issuers = {bytes(key.verify_key): Issuer(name) for name, key in self.keys.items()}
        file = folder / "all.json"
        Registry(bytes(16), 1, issuers, {ProcessPair.uno_id: METER_KEY}).save(file)
        self.registry = file.read_bytes()

    def settings(self, name: str, folder: NodeFolder, rest: str) -> NodeSettings:
        text = (
            f'name = "{name}"\nstore = "{folder.store}"\nregistry = "{folder.registry}"\n'
            f'signing_key = "{folder.signing_key}"\n{rest}\n'
        )
        return NodeSettings(text, self.registry, bytes(self.keys[name]))

    def deploy_server(self, server: EmulatedServer, gateway: str) -> None:
        peer = f'listen = "{server.listen}"\n[[peer]]\nname = "east"\naddress = "{gateway}"'
        server.deploy(self.settings("server", server.folder, peer))

    def deploy_gateway(self, gateway: ProcessGateway, server: EmulatedServer) -> None:
        radio = f'[radio]\nport = "{gateway.radio_port}"\nbandwidth_khz = {SETTINGS.bandwidth_khz}\n'
        rest = (
            f'[batch]\nreadings = 8\nage_s = 1\n{radio}[[peer]]\nname = "server"\naddress = "{server.listen}"'
        )
        gateway.deploy(self.settings("east", gateway.folder, rest))


class Village:
    """An Uno that sends without end, and the chip of a gateway's radio, at the pace of the wall clock."""

    def __init__(self, stack: ExitStack, gateway: ProcessGateway) -> None:
        air = Air()
        self._descriptor = gateway.radio_line
        self._line = SpiLine(air.chip("gateway"))
        self._line.send = self._write
        self.uno = Uno(air, METER_KEY)
        self.world = stack.enter_context(PacedWorld(air.simulation, air.trace))
        self.world.attach(self._descriptor, self._read)
        stack.callback(self.world.detach, self._descriptor)
        self.world.post(self.uno.start)

    def wait_for(self, more: int) -> None:
        before = self.uno.acknowledged
        until(lambda: self.uno.acknowledged >= before + more, PATIENCE_S)

    def _read(self) -> None:
        self._write(self._line.receive(os.read(self._descriptor, 4096)))

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except BlockingIOError:
            pass  # nobody reads: the gateway is dead


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _held(store: Path) -> set[int]:
    return {reading.counter for reading in readings(store)}


def _own_and_foreign(events: list[LedgerEvent]) -> list[LedgerEvent]:
    return [event for event in events if event.kind == "block_stored"]


def test_gateway_and_server_without_a_vpn_come_through_kills(stack: ExitStack, tmp_path: Path) -> None:
    books = Books(tmp_path)
    told: dict[str, list[LedgerEvent]] = {"east": [], "server": []}
    server = stack.enter_context(EmulatedServer("server", tmp_path / "server", told["server"].append))
    gateway = stack.enter_context(ProcessGateway("east", tmp_path / "east", told["east"].append))
    books.deploy_server(server, server.gateway_address("east"))
    books.deploy_gateway(gateway, server)
    village = Village(stack, gateway)
    for node in (server, gateway):
        assert not node.is_running()
        node.start()
        node.start()
        assert node.is_running()
    village.wait_for(10)
    for node in (gateway, server):
        first = node.process.pid
        node.kill()
        assert not node.is_running()
        assert verify(node.store).clean
        node.start()
        assert node.process.pid != first
        assert node.process.life == 2
        village.wait_for(10)
    village.uno.paused = True
    until(lambda: set(range(village.uno.acknowledged)) <= _held(server.store), PATIENCE_S)
    gateway.stop()
    server.stop()
    assert verify(server.store).clean
    for name in told:
        kinds = [event.kind for event in told[name]]
        assert kinds.count("started") == 2
        assert kinds[-1] == "stopped"
        assert all(event.t_ns > 10**18 for event in told[name])
    stored = {event.facts["block"]: event.t_ns for event in _own_and_foreign(told["server"])}
    made = {event.facts["block"] for event in _own_and_foreign(told["east"]) if event.facts["own"]}
    assert made <= set(stored)
    gateway.erase_store()
    assert not gateway.store.exists()
    assert not gateway.is_running()


@needs_wireguard
def test_they_converge_over_wireguard_through_loss_jitter_an_outage_and_a_cut(
    stack: ExitStack, tmp_path: Path
) -> None:
    books = Books(tmp_path)
    accepted = list[LedgerEvent]()
    hub = Hub("server", tmp_path / "hub")
    server = stack.enter_context(EmulatedServer("server", tmp_path / "server", accepted.append, hub))
    pi = stack.enter_context(Namespace("pi east"))
    smooth = UplinkPlan(20 * NS_PER_MS, jitter_ns=10 * NS_PER_MS, loss_ppm=50_000)
    broken = replace(smooth, outages=((1000 * NS_PER_MS, 4000 * NS_PER_MS),))
    spoke = hub.join("east", RelayPlan.both_ways(smooth), Stream(4, "uplink"), listen=pi.host_address)
    tunnel = stack.enter_context(Tunnel(pi, spoke.interface(pi.host_address), tmp_path / "pi.log"))
    gateway = stack.enter_context(
        ProcessGateway("east", tmp_path / "east", lambda _event: None, enclose=pi.argv)
    )
    books.deploy_server(server, server.gateway_address("east"))
    books.deploy_gateway(gateway, server)
    server.start()
    gateway.start()
    village = Village(stack, gateway)
    tunnel.wait_for_handshake(spoke.server_key, PATIENCE_S)
    until(lambda: _own_and_foreign(accepted), PATIENCE_S)
    before = spoke.relay.begin(RelayPlan.both_ways(broken), Stream(5, "uplink"), time.monotonic_ns())
    assert before.up.passed > before.up.lost > 0
    until(lambda: spoke.relay.now_ns() > 4000 * NS_PER_MS, PATIENCE_S)
    assert spoke.relay.account().up.outage_hits[0] > 0
    spoke.relay.cut()
    at_cut = _held(server.store)
    village.wait_for(20)
    until(lambda: spoke.relay.account().up.cut > spoke.relay.account().up.outage_hits[0], PATIENCE_S)
    assert gateway.is_running()
    assert server.is_running()
    assert not set(range(village.uno.acknowledged)) <= _held(server.store)
    spoke.relay.mend()
    village.wait_for(10)
    village.uno.paused = True
    until(lambda: set(range(village.uno.acknowledged)) <= _held(server.store), PATIENCE_S)
    assert at_cut < _held(server.store)
    account = spoke.relay.account()
    assert min(account.up.lost, account.down.lost) > 0
    (cut,) = account.demand_cuts
    assert cut.datagrams > 0
    gateway.stop()
    server.stop()
    for node in (gateway, server):
        audit = verify(node.store)
        assert audit.clean, audit.findings
        assert set(range(village.uno.acknowledged)) <= _held(node.store)


@needs_wireguard
def test_a_server_at_the_end_of_tunnels_is_not_to_be_reached_from_the_host(
    stack: ExitStack, tmp_path: Path
) -> None:
    books = Books(tmp_path)
    hub = Hub("server", tmp_path / "hub")
    server = stack.enter_context(EmulatedServer("server", tmp_path / "server", lambda _event: None, hub))
    hub.join("east", RelayPlan(), Stream(1))
    books.deploy_server(server, server.gateway_address("east"))
    server.start()
    port = int(server.listen.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((hub.namespace.address, port), timeout=10)
    assert server.process.pid in hub.namespace.pids()


def test_a_server_that_finds_its_surroundings_wrong_says_so(tmp_path: Path) -> None:
    books = Books(tmp_path)
    with EmulatedServer("server", tmp_path / "server", lambda _event: None) as server:
        books.deploy_server(server, "127.0.0.1")
        host, _, port = server.listen.rpartition(":")
        with socket.create_server((host, int(port))), pytest.raises(InfrastructureError) as caught:
            server.start()
        assert caught.value.retry_helps
        assert f"cannot listen on {server.listen}" in str(caught.value)
        assert not server.is_running()
        server.folder.registry.chmod(0o604)
        with pytest.raises(InfrastructureError, match="chmod o="):
            server.start()
        books.deploy_server(server, "127.0.0.1")
        server.start()


def test_a_server_that_breaks_is_no_failure_of_the_infrastructure(tmp_path: Path) -> None:
    books = Books(tmp_path)
    with EmulatedServer("server", tmp_path / "server", lambda _event: None) as server:
        books.deploy_server(server, "127.0.0.1")
        server.start()
        server.process.check()
        pid = server.process.pid
        assert pid is not None
        os.kill(pid, 9)
        until(lambda: not server.is_running(), PATIENCE_S)
        with pytest.raises(LedgerFailureError, match="ended by itself"):
            server.process.check()
        with pytest.raises(LedgerFailureError, match="SIGKILL"):
            server.stop()
        server.start()
        assert server.is_running()


def test_what_is_no_event_is_passed_over() -> None:
    for line in (b"", b"{", b"[]", b"3", b'{"event": "x"}', b'{"t_ns": "x", "event": "y"}', b"\xff"):
        assert parse_event(line) is None
    assert parse_event('{"t_ns": 5, "event": "x", "seq": 1}') == LedgerEvent(5, "x", {"seq": 1})


def test_keys_lie_in_files_of_their_owner_alone(tmp_path: Path) -> None:
    books = Books(tmp_path)
    with EmulatedServer("server", tmp_path / "server", lambda _event: None) as server:
        books.deploy_server(server, "127.0.0.1")
        for file in (server.folder.registry, server.folder.signing_key, server.folder.configuration):
            assert file.stat().st_mode & 0o777 == 0o600
        assert bytes(books.keys["server"]).hex() not in repr(books.settings("server", server.folder, ""))
        server.start()
        assert isinstance(server.process._process, BoundProcess)
        shown = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert bytes(books.keys["server"]).hex().encode() not in shown
