import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.pi.bound_process import BoundProcess
from bench.pi.uplink import UplinkPlan
from bench.pi.vpn import wireguard
from bench.pi.vpn.hub import SERVER_ADDRESS, Hub, Spoke
from bench.pi.vpn.impairment import Fate, PathPlan
from bench.pi.vpn.keys import PublicKey, make_preshared_key, make_private_key
from bench.pi.vpn.namespace import Namespace, left_overs, remove_left_overs
from bench.pi.vpn.relay import RelayPlan
from bench.pi.vpn.wireguard import Interface, Peer, Tunnel, parse_peers, peers_script, quick_text
from bench.rig.infrastructure import InfrastructureError
from bench.world.patience import until
from bench.world.streams import Stream

PATIENCE_S = 60
NS_PER_MS = 1_000_000

_missing = [
    package
    for command, package in (("ip", "iproute2"), ("wg", "wireguard-tools"), ("wireguard-go", "wireguard-go"))
    if shutil.which(command) is None
]
needs_wireguard = pytest.mark.skipif(
    os.geteuid() != 0 or bool(_missing) or not Path("/dev/net/tun").exists(),
    reason=f"needs root, /dev/net/tun and the packages {', '.join(_missing) or 'iproute2, wireguard-go'}",
)

_ECHO_SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], 7000))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
"""

_STEADY_CLIENT = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 7000), timeout=300) as connection:
    for number in range(int(sys.argv[2])):
        sent = number.to_bytes(4, "big") * 256
        connection.sendall(sent)
        got = b""
        while len(got) < len(sent):
            part = connection.recv(65536)
            assert part, "the connection broke"
            got += part
        assert got == sent
        print(number, flush=True)
"""


class Pair:
    """A server's end and a Pi's end in namespaces of this host, with a relay between them."""

    def __init__(self, stack: ExitStack, folder: Path, plan: RelayPlan, seed: int = 1) -> None:
        self.folder = folder
        self.hub = stack.enter_context(Hub("server", folder / "hub"))
        self.pi = stack.enter_context(Namespace("pi"))
        # The host's end of the Pi's link stands for the host that a guest of QEMU sees.
        self.spoke: Spoke = self.hub.join("east", plan, Stream(seed, "way"), listen=self.pi.host_address)
        self.tunnel = stack.enter_context(
            Tunnel(self.pi, self.spoke.interface(self.pi.host_address), folder / "pi.log")
        )

    @property
    def server_key(self) -> PublicKey:
        return self.spoke.server_key

    @contextmanager
    def echo(self) -> Iterator[BoundProcess]:
        log = self.folder / "echo.log"
        command = [sys.executable, "-c", _ECHO_SERVER, SERVER_ADDRESS]
        with self.hub.namespace.start(command, log) as process:
            until(lambda: process.last_words() == "ready", PATIENCE_S)
            yield process

    def talk(self, rounds: int) -> BoundProcess:
        command = [sys.executable, "-c", _STEADY_CLIENT, SERVER_ADDRESS, str(rounds)]
        log = self.folder / "talk.log"
        log.unlink(missing_ok=True)
        return self.pi.start(command, log)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _rounds(process: BoundProcess) -> int:
    words = process.log.read_text().split()
    return int(words[-1]) + 1 if words else 0


@needs_wireguard
def test_tcp_passes_through_delay_jitter_and_loss(stack: ExitStack, tmp_path: Path) -> None:
    way = UplinkPlan(10 * NS_PER_MS, jitter_ns=5 * NS_PER_MS, loss_ppm=150_000)
    pair = Pair(stack, tmp_path, RelayPlan.both_ways(way))
    pair.tunnel.wait_for_handshake(pair.server_key, PATIENCE_S)
    pair.hub.wait_for_handshake("east", PATIENCE_S)
    with pair.echo(), pair.talk(60) as client:
        until(lambda: not client.is_running, PATIENCE_S)
        assert client.exit_status == 0, client.last_words()
        assert _rounds(client) == 60
    account = pair.spoke.relay.account()
    for direction in (account.up, account.down):
        assert direction.passed > 60
        assert direction.lost > 0
        # Every datagram that passed was held back by what was decided for it, and no less.
        assert direction.delayed_ns >= 10 * NS_PER_MS * direction.passed
        assert direction.delayed_ns <= 15 * NS_PER_MS * direction.passed
        assert direction.strangers == direction.cut == 0
    for log, name in zip(pair.spoke.relay.log(), ("up", "down"), strict=True):
        chance = Stream(1, "way").child(name)
        for verdict in log:
            assert (verdict.fate is Fate.LOST) == chance.happens(150_000, 2 * verdict.index + 1)
    status = pair.hub.status("east")
    assert status.received_octets > 60 * 1024
    assert status.endpoint is not None
    assert status.endpoint.startswith(pair.hub.namespace.host_address)


@needs_wireguard
def test_a_cut_is_accounted_and_tcp_goes_on_after_mending(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, RelayPlan())
    relay = pair.spoke.relay
    pair.tunnel.wait_for_handshake(pair.server_key, PATIENCE_S)
    with pair.echo(), pair.talk(20_000) as client:
        until(lambda: _rounds(client) > 10, PATIENCE_S)
        relay.cut()
        passed = relay.account().up.passed
        until(lambda: relay.account().up.cut > 2, PATIENCE_S)
        assert relay.account().up.passed == passed
        assert client.is_running
        relay.mend()
        before = _rounds(client)
        until(lambda: _rounds(client) > before + 10, PATIENCE_S)
        assert client.is_running
    (cut,) = relay.account().demand_cuts
    assert cut.datagrams == relay.account().up.cut + relay.account().down.cut > 2


@needs_wireguard
def test_a_planned_outage_from_the_start_keeps_the_tunnel_down_until_its_end(
    stack: ExitStack, tmp_path: Path
) -> None:
    hour_ns = 3_600_000 * NS_PER_MS
    pair = Pair(stack, tmp_path, RelayPlan(up=PathPlan(UplinkPlan(0, outages=((0, hour_ns),)))))
    until(lambda: pair.spoke.relay.account().up.outage_hits[0] > 0, PATIENCE_S)
    with pytest.raises(InfrastructureError) as caught:
        pair.tunnel.wait_for_handshake(pair.server_key, 0.2)
    assert caught.value.retry_helps
    assert str(caught.value).startswith(f"VPN of pi: no sign of {pair.server_key} within 0.2 s; see")
    with pytest.raises(InfrastructureError, match=r"VPN of server: no handshake with \S+ \(none yet\)"):
        pair.hub.check("east")
    before = pair.spoke.relay.begin(RelayPlan(), Stream(2), time.monotonic_ns())
    assert before.up.passed == 0
    pair.tunnel.wait_for_handshake(pair.server_key, PATIENCE_S)
    pair.hub.wait_for_handshake("east", PATIENCE_S)
    pair.hub.check("east")


@needs_wireguard
def test_a_standing_session_shows_life_and_a_cut_one_does_not(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, RelayPlan())
    first = pair.hub.wait_for_handshake("east", PATIENCE_S)
    alive = pair.hub.wait_for_life("east", PATIENCE_S)
    assert alive.received_octets > first.received_octets
    pair.spoke.relay.cut()
    with pytest.raises(InfrastructureError, match=r"VPN of server: no sign of .* within 0\.5 s"):
        pair.hub.wait_for_life("east", 0.5)


@needs_wireguard
def test_two_rigs_at_once_do_not_meet(stack: ExitStack, tmp_path: Path) -> None:
    lossy = PathPlan(UplinkPlan(0, loss_ppm=1_000_000))
    good = Pair(stack, tmp_path / "good", RelayPlan())
    lost = Pair(stack, tmp_path / "lost", RelayPlan(up=lossy))
    good.tunnel.wait_for_handshake(good.server_key, PATIENCE_S)
    with good.echo(), good.talk(20) as client:
        until(lambda: not client.is_running, PATIENCE_S)
        assert client.exit_status == 0
    until(lambda: lost.spoke.relay.account().up.lost > 0, PATIENCE_S)
    assert [status.latest_handshake_s for status in lost.tunnel.status()] == [0]
    assert lost.hub.status("east").received_octets == 0
    fates = {verdict.fate for verdict in lost.spoke.relay.log()[0]}
    assert fates == {Fate.LOST}


@needs_wireguard
def test_several_pis_share_one_server(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, RelayPlan())
    west = stack.enter_context(Namespace("west"))
    spoke = pair.hub.join("west", RelayPlan(), Stream(3), listen=west.host_address)
    tunnel = stack.enter_context(Tunnel(west, spoke.interface(west.host_address), tmp_path / "west.log"))
    assert spoke.address != pair.spoke.address
    for name in ("east", "west"):
        pair.hub.wait_for_handshake(name, PATIENCE_S)
    assert tunnel.is_running
    with pair.echo():
        command = [sys.executable, "-c", _STEADY_CLIENT, SERVER_ADDRESS, "3"]
        assert west.run(command).split() == pair.pi.run(command).split() == ["0", "1", "2"]


@needs_wireguard
def test_nothing_stays_when_the_owner_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from contextlib import ExitStack\n"
        "from pathlib import Path\n"
        "from bench.pi.vpn.relay import RelayPlan\n"
        "from bench.pi.vpn.wireguard_test import Pair\n"
        "pair = Pair(ExitStack(), Path(sys.argv[1]), RelayPlan())\n"
        "names = (pair.hub.namespace.name, pair.pi.name)\n"
        "pids = (*pair.hub.namespace.pids(), *pair.pi.pids())\n"
        "print(*names, pair.hub.tunnel.name, *pids, flush=True)\n"
        "time.sleep(3600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        server, pi, tunnel, *pids = owner.stdout.readline().split()
        assert len(pids) == 2
    finally:
        owner.kill()
        owner.communicate()
    until(lambda: not any(_runs(int(pid)) for pid in pids), PATIENCE_S)
    assert {server, pi} <= set(left_overs())
    assert {server, pi} <= set(remove_left_overs())
    assert not {server, pi} & set(os.listdir("/run/netns"))
    assert not Path(f"/var/run/wireguard/{tunnel}.sock").exists()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@needs_wireguard
def test_keys_show_in_no_argument_list_and_no_log(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, RelayPlan())
    pair.tunnel.wait_for_handshake(pair.server_key, PATIENCE_S)
    secrets = {pair.spoke.private_key.reveal(), pair.spoke.preshared_key.reveal()}
    for process in pair.hub.namespace.pids() + pair.pi.pids():
        for part in ("cmdline", "environ"):
            shown = Path(f"/proc/{process}/{part}").read_bytes().decode(errors="replace")
            assert not any(secret in shown for secret in secrets)
    keys = [path for path in (tmp_path / "hub").iterdir() if path.suffix in (".key", ".psk")]
    assert len(keys) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
    for log in tmp_path.rglob("*.log"):
        assert not any(secret in log.read_text() for secret in secrets)
    assert not any(secret in repr(pair.spoke) for secret in secrets)


@needs_wireguard
def test_a_tunnel_process_that_ends_is_seen(stack: ExitStack, tmp_path: Path) -> None:
    pair = Pair(stack, tmp_path, RelayPlan())
    if pair.tunnel.by_kernel:
        pytest.skip("the kernel's WireGuard has no process")
    assert pair.tunnel.is_running
    for pid in pair.pi.pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not pair.tunnel.is_running, PATIENCE_S)
    with pytest.raises(InfrastructureError, match="VPN of pi: wireguard-go has ended"):
        pair.tunnel.status()


@needs_wireguard
def test_a_host_without_tun_or_programs_is_told_what_to_install(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = stack.enter_context(Namespace("server"))
    interface = Interface(make_private_key(), "198.19.0.1/32", (), 51820)

    def complaint() -> str:
        with pytest.raises(InfrastructureError) as caught:
            Tunnel(namespace, interface, tmp_path / "log", userspace=True)
        return str(caught.value)

    monkeypatch.setattr(wireguard, "_TUN", tmp_path / "tun")
    assert "modprobe tun" in complaint()
    monkeypatch.setattr(shutil, "which", lambda command: None if command == "wireguard-go" else command)
    assert complaint().endswith("install the package wireguard-go")
    monkeypatch.setattr(shutil, "which", lambda _command: None)
    assert complaint().endswith("install the package wireguard-tools")


@needs_wireguard
def test_a_port_in_use_is_told(stack: ExitStack, tmp_path: Path) -> None:
    namespace = stack.enter_context(Namespace("server"))
    taker = (
        "import socket, time\n"
        "taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "taken.bind(('0.0.0.0', 51820)); print('ready', flush=True); time.sleep(3600)"
    )
    process = stack.enter_context(namespace.start([sys.executable, "-c", taker], tmp_path / "taker.log"))
    until(lambda: process.last_words() == "ready", PATIENCE_S)
    with pytest.raises(InfrastructureError, match=r"VPN of server: port 51820 or address .* is in use in"):
        Tunnel(namespace, Interface(make_private_key(), "198.19.0.1/32", (), 51820), tmp_path / "log")


def test_the_pis_configuration_is_what_wg_quick_reads() -> None:
    key, server, shared = make_private_key(), make_private_key().public, make_preshared_key()
    peer = Peer(server, shared, ("198.19.0.1/32",), "10.0.2.2:40000", keepalive_s=15)
    assert quick_text(Interface(key, "198.19.0.2/32", (peer,))).splitlines() == [
        "[Interface]",
        f"PrivateKey = {key.reveal()}",
        "Address = 198.19.0.2/32",
        "MTU = 1420",
        "",
        "[Peer]",
        f"PublicKey = {server}",
        f"PresharedKey = {shared.reveal()}",
        "AllowedIPs = 198.19.0.1/32",
        "Endpoint = 10.0.2.2:40000",
        "PersistentKeepalive = 15",
    ]


def test_of_a_dump_the_peers_are_read_and_no_secret_gets_out_of_the_shell(tmp_path: Path) -> None:
    own, peer, shared = make_private_key(), make_private_key().public, make_preshared_key()
    dump = (
        f"{own.reveal()}\t{own.public}\t51820\toff\n"
        f"{peer}\t{shared.reveal()}\t198.18.0.1:4711\t198.19.0.2/32\t1700000000\t148\t92\t15\n"
        f"{own.public}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
    )
    (tmp_path / "dump").write_text(dump)
    stand_in = tmp_path / "wg"
    stand_in.write_text(f"#!/bin/sh\ncat {tmp_path}/dump\n")
    stand_in.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    printed = subprocess.run(
        ["sh", "-c", peers_script("dag")], env={"PATH": path}, capture_output=True, text=True, check=True
    ).stdout
    for secret in (own, shared):
        assert secret.reveal() not in printed
    first, second = parse_peers(printed)
    assert (first.public_key, first.endpoint) == (peer, "198.18.0.1:4711")
    assert (first.latest_handshake_s, first.received_octets, first.sent_octets) == (1_700_000_000, 148, 92)
    assert (second.public_key, second.endpoint) == (own.public, None)
    with pytest.raises(ValueError, match="7 fields"):
        parse_peers("a\tb\tc\n")
