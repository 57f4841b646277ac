import ipaddress
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pi.vpn.namespace import (
    LINKS,
    Namespace,
    Owner,
    free_network,
    left_overs,
    owner_in,
    remove_left_overs,
)
from bench.rig.infrastructure import InfrastructureError
from bench.world.patience import until

PATIENCE_S = 30

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and ip of the package iproute2"
)

networks = st.builds(
    lambda offset, length: ipaddress.IPv4Network((int(LINKS.network_address) + offset, length), strict=False),
    st.integers(0, 2**16 - 1),
    st.integers(17, 32),
)


@given(st.lists(networks, max_size=12))
def test_a_free_network_overlaps_with_none_that_is_taken(taken: list[ipaddress.IPv4Network]) -> None:
    if sum(network.num_addresses for network in ipaddress.collapse_addresses(taken)) > 2**15:
        return
    network = free_network(taken)
    assert network.subnet_of(LINKS)
    assert len(list(network.hosts())) == 2
    assert not any(network.overlaps(other) for other in taken)


def test_without_a_free_network_the_mend_is_told() -> None:
    with pytest.raises(InfrastructureError, match="no address is free"):
        free_network([LINKS])


def test_an_owner_is_told_from_a_later_process_of_the_same_id() -> None:
    me = Owner.of(os.getpid())
    assert me is not None
    assert me.lives
    assert not Owner(me.pid, me.started + 1).lives
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = Owner.of(child.pid)
        assert other is not None
        assert other.lives
        assert child.stdin is not None
        child.stdin.close()
        until(lambda: not other.lives, PATIENCE_S)
        # Not reaped yet: a zombie owns nothing.
        assert Path(f"/proc/{child.pid}").exists()


@pytest.mark.parametrize(
    "name", ["", "dagrig", "dagrig-1-2", "dagrig-1-x-3", "other-1-2-3", "dagrig-1-2-3-4"]
)
def test_names_of_others_are_left_alone(name: str) -> None:
    assert owner_in(name) is None


def test_a_plain_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InfrastructureError, match="needs root, found a plain user"):
        Namespace("server")


@needs_root
def test_a_namespace_reaches_the_host_and_is_gone_afterwards(tmp_path: Path) -> None:
    with Namespace("server") as namespace:
        assert ipaddress.ip_address(namespace.address) in LINKS
        assert namespace.host_address in _host_addresses()
        host = subprocess.Popen(
            [sys.executable, "-c", _LISTEN, namespace.host_address], stdout=subprocess.PIPE, text=True
        )
        try:
            assert host.stdout is not None
            port = host.stdout.readline().strip()
            answer = namespace.run([sys.executable, "-c", _CONNECT, namespace.host_address, port])
            assert answer.strip() == namespace.address
        finally:
            host.kill()
            host.communicate()
        process = namespace.start([sys.executable, "-c", "input()"], tmp_path / "log")
        process.stop()
        sleeper = namespace.start(["sleep", "3600"], tmp_path / "log")
        until(lambda: sleeper.pid in namespace.pids(), PATIENCE_S)
    assert namespace.name not in _namespaces()
    assert namespace.host_address not in _host_addresses()
    assert sleeper.kill() < 0
    namespace.close()


@needs_root
def test_several_at_once_have_addresses_and_names_of_their_own() -> None:
    with Namespace("a") as first, Namespace("b") as second, Namespace("c") as third:
        for attribute in ("name", "host_link", "tunnel", "address", "host_address"):
            assert len({getattr(namespace, attribute) for namespace in (first, second, third)}) == 3
        assert len(first.tunnel) <= 15


@needs_root
def test_it_is_removed_after_an_exception_too() -> None:
    with pytest.raises(ZeroDivisionError), Namespace("server") as namespace:
        raise ZeroDivisionError
    assert namespace.name not in _namespaces()


@needs_root
def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with Namespace("server") as namespace:
        with pytest.raises(InfrastructureError, match=r"server: ip netns exec .* failed: .*no-such-file"):
            namespace.run(["cat", "no-such-file"])
        with pytest.raises(InfrastructureError, match=r"did not end within 0\.1 s"):
            namespace.run(["sleep", "3600"], timeout_s=0.1)


@needs_root
def test_what_a_killed_owner_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWN, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        name, link, orphan = owner.stdout.readline().split()
        assert name not in left_overs()
    finally:
        owner.kill()
        owner.communicate()
    assert name in left_overs()
    assert Path(f"/sys/class/net/{link}").exists()
    assert Owner.of(int(orphan)) is not None
    with Namespace("server"):
        assert name not in _namespaces()
        assert not Path(f"/sys/class/net/{link}").exists()
        until(lambda: Owner.of(int(orphan)) is None, PATIENCE_S)
    assert name not in remove_left_overs()


_LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
connection, peer = server.accept()
connection.sendall(peer[0].encode())
connection.close()
"""

_CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) as connection:
    print(connection.recv(100).decode())
"""

_OWN = """
import subprocess, sys, time
from bench.pi.vpn.namespace import Namespace
namespace = Namespace("killed")
nothing = subprocess.DEVNULL
orphan = subprocess.Popen(namespace.argv(["sleep", "3600"]), stdout=nothing, start_new_session=True)
while orphan.pid not in namespace.pids():
    time.sleep(0.01)
print(namespace.name, namespace.host_link, orphan.pid, flush=True)
time.sleep(3600)
"""


def _namespaces() -> set[str]:
    return set(os.listdir("/run/netns"))


def _host_addresses() -> set[str]:
    listing = subprocess.run(["ip", "-4", "-br", "addr"], capture_output=True, text=True, check=True).stdout
    return {word.partition("/")[0] for line in listing.splitlines() for word in line.split()[2:]}
