"""The emulated Pi's own WireGuard; skipped where its image has not been built (bench pi image)."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.pi.emulated.image import find_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.ssh import SshSeat
from bench.pi.vpn.hub import QEMU_HOST, SERVER_ADDRESS, Hub
from bench.pi.vpn.relay import RelayPlan
from bench.pi.vpn.remote import CONFIGURATION_FILE, NAME, RemoteTunnel
from bench.pi.vpn.wireguard_test import needs_wireguard
from bench.rig.infrastructure import InfrastructureError
from bench.world.patience import until
from bench.world.streams import Stream

PATIENCE_S = 120
ANSWER_S = 60

pytestmark = [
    needs_wireguard,
    pytest.mark.skipif(
        shutil.which("qemu-system-aarch64") is None, reason="needs the package qemu-system-arm"
    ),
    pytest.mark.skipif(find_image() is None, reason="needs the emulated Pi's image: run bench pi image"),
]

_ASK = (
    "exec 3<>/dev/tcp/{host}/7000; echo hello >&3; read -r answer <&3; "
    'test "$answer" = hello && echo "$answer"'
)

_ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], 7000))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(100))
    connection.close()
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[PiMachine]:
    image = find_image()
    assert image is not None
    with PiMachine(image, name="pi east") as machine:
        machine.start()
        machine.wait_until_reachable(PATIENCE_S * 2)
        yield machine


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_the_guests_kernel_talks_to_the_server_through_the_relay(
    machine: PiMachine, stack: ExitStack, tmp_path: Path
) -> None:
    hub = stack.enter_context(Hub("server", tmp_path / "hub"))
    spoke = hub.join("east", RelayPlan(), Stream(1))
    seat = stack.enter_context(SshSeat(machine.ssh_target))
    seat.connect(PATIENCE_S)
    tunnel = RemoteTunnel(seat)
    assert not tunnel.is_up()
    with pytest.raises(InfrastructureError, match=r"VPN of pi east: .*bring the VPN up"):
        tunnel.status()
    interface = spoke.interface(QEMU_HOST)
    assert tunnel.bring_up(interface)
    assert not tunnel.bring_up(interface)
    assert tunnel.is_up()
    tunnel.wait_for_handshake(spoke.server_key, PATIENCE_S)
    hub.wait_for_handshake("east", PATIENCE_S)
    assert seat.run(f"ip -d link show {NAME} | grep -c wireguard").output.strip() == "1"
    assert seat.run(f"stat -c '%a %U' $(dirname {CONFIGURATION_FILE})").output.strip() == "700 root"
    assert seat.run(f"sudo stat -c '%a %U' {CONFIGURATION_FILE}").output.strip() == "600 root"

    with hub.namespace.start([sys.executable, "-c", _ECHO, SERVER_ADDRESS], tmp_path / "echo.log") as server:
        until(lambda: server.last_words() == "ready", ANSWER_S)
        ask = f"timeout 100 bash -c '{_ASK.format(host=SERVER_ADDRESS)}'"
        assert seat.run(ask, timeout_s=PATIENCE_S).output.strip() == "hello"
        spoke.relay.cut()
        passed = spoke.relay.account().up.passed
        # The answer comes only after mending: until then TCP tries again.
        later = f"({ask}) > /tmp/answer 2>&1 & echo started"
        assert seat.run(later).output.strip() == "started"
        until(lambda: spoke.relay.account().up.cut > 1, ANSWER_S)
        assert spoke.relay.account().up.passed == passed
        spoke.relay.mend()
        until(lambda: seat.run("cat /tmp/answer").output.strip() == "hello", ANSWER_S)
    (cut,) = spoke.relay.account().demand_cuts
    assert cut.datagrams > 1

    tunnel.take_down()
    tunnel.take_down()
    assert not tunnel.is_up()
    assert seat.run(f"sudo test -e {CONFIGURATION_FILE}", check=False).status == 1


def test_the_tunnel_comes_back_after_a_power_cut(
    machine: PiMachine, stack: ExitStack, tmp_path: Path
) -> None:
    hub = stack.enter_context(Hub("server", tmp_path / "hub"))
    spoke = hub.join("east", RelayPlan(), Stream(1))
    with SshSeat(machine.ssh_target) as seat:
        seat.connect(PATIENCE_S)
        RemoteTunnel(seat).bring_up(spoke.interface(QEMU_HOST))
    first = hub.wait_for_handshake("east", PATIENCE_S)
    machine.cut_power(seed=1)
    machine.start()
    hub.wait_for_handshake("east", 2 * PATIENCE_S, newer_than_s=first.latest_handshake_s)
    assert spoke.relay.account().up.strangers == 0
    # The emulator of the new life sends from a port of its own: the relay follows.
    assert spoke.relay.account().roamings >= 1
