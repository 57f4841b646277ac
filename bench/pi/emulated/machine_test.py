"""The emulated Pi with a real boot, one for all tests here (and a second after the power cut)."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.pi.emulated.card import SECTOR_BYTES, CachedCard
from bench.pi.emulated.image import find_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.ssh import SshSeat
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.pi.emulated.image import PiImage

DEADLINE_S = 600.0
WRITES_PER_S = 200

needs_emulator = pytest.mark.skipif(
    shutil.which("qemu-system-aarch64") is None,
    reason="needs qemu-system-aarch64: apt-get install qemu-system-arm",
)
pytestmark = needs_emulator


def eventually(condition: Callable[[], bool], what: str) -> None:
    until_s = monotonic() + DEADLINE_S
    while not condition():
        assert monotonic() < until_s, f"waited in vain: {what}"
        sleep(0.05)


def alive(process_id: int) -> bool:
    """Whether a process is there and not only waiting to be buried."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def image() -> PiImage:
    image = find_image()
    if image is None:
        pytest.skip("the Pi's image is not built: bench pi image")
    return image


@pytest.fixture(scope="module")
def machine(image: PiImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PiMachine]:
    folder = tmp_path_factory.mktemp("card")
    with PiMachine(image, folder=folder, card_writes_per_s=WRITES_PER_S) as machine:
        machine.start()
        machine.wait_until_reachable(DEADLINE_S)
        yield machine
    shutil.rmtree(folder)


@pytest.fixture
def seat(machine: PiMachine) -> Iterator[SshSeat]:
    if not machine.running:
        machine.start()
        machine.wait_until_reachable(DEADLINE_S)
    with SshSeat(machine.ssh_target) as seat:
        seat.connect(DEADLINE_S)
        yield seat


def test_it_is_a_pi_of_four_cores_and_one_gigabyte(seat: SshSeat) -> None:
    assert seat.run("uname -m").output == "aarch64\n"
    assert seat.run("nproc").output == "4\n"
    memory_kb = int(seat.run("awk '/MemTotal/ {print $2}' /proc/meminfo").output)
    assert 0.9 * 1024**2 < memory_kb <= 1024**2
    assert seat.run("sudo id -u").output == "0\n"
    assert seat.run("sudo modprobe wireguard && sudo modprobe sch_netem").status == 0
    seat.run("python3 -c 'import ctypes, sqlite3, ssl'")


def test_no_unit_fails(seat: SshSeat) -> None:
    assert seat.run("sudo systemctl list-units --state=failed --plain --no-legend").output == ""


def test_another_pinned_key_is_refused(machine: PiMachine, seat: SshSeat) -> None:
    assert seat.connected
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    with (
        SshSeat(replace(machine.ssh_target, host_key=key.decode())) as stranger,
        pytest.raises(InfrastructureError, match="shows the host key SHA256:"),
    ):
        stranger.connect(DEADLINE_S)


def test_the_image_keeps_its_keys_to_itself(image: PiImage, seat: SshSeat) -> None:
    assert image.identity.stat().st_mode & 0o077 == 0
    assert seat.run("sudo stat -c %a /etc/ssh/ssh_host_ed25519_key").output == "600\n"
    assert "passwordauthentication no" in seat.run("sudo sshd -T").output


def test_card_writes_are_counted_and_slowed(machine: PiMachine, seat: SshSeat) -> None:
    count = 3 * WRITES_PER_S
    before = machine.card_traffic()
    took_s = float(
        seat.run(
            "s=$(cut -d' ' -f1 /proc/uptime); "
            f"dd if=/dev/zero of=slow bs=4096 count={count} oflag=direct,dsync 2>/dev/null; "
            "e=$(cut -d' ' -f1 /proc/uptime); python3 -c \"print($e - $s)\"",
            timeout_s=DEADLINE_S,
        ).output
    )
    after = machine.card_traffic()
    assert after.writes - before.writes >= count
    assert after.written_bytes - before.written_bytes >= count * 4096
    assert after.flushes > before.flushes
    # From below only: a busy host makes it longer, nothing makes it shorter.
    assert took_s > 0.8 * count / WRITES_PER_S


def test_the_radio_port_carries_bytes_both_ways(machine: PiMachine, seat: SshSeat) -> None:
    sent = bytes(range(256)) * 16
    echo = (
        "import os; port = os.open('/dev/virtio-ports/radio', os.O_RDWR); left = 4096\n"
        "while left:\n"
        "    got = os.read(port, left); left -= len(got)\n"
        "    while got: got = got[os.write(port, got):]\n"
    )
    seat.put_bytes(echo.encode(), "echo.py")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as radio:
            radio.settimeout(DEADLINE_S)
            radio.connect(str(machine.radio_socket))
            guest = threading.Thread(target=seat.run, args=("python3 echo.py", DEADLINE_S))
            guest.start()
            radio.sendall(sent)
            received = b""
            while len(received) < len(sent):
                received += radio.recv(65536)
            guest.join()
        assert received == sent


def test_host_and_guest_reach_each_other(machine: PiMachine, seat: SshSeat) -> None:
    seat.put_bytes(
        b"import socket\n"
        b"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5683))\n"
        b"data, peer = s.recvfrom(100); s.sendto(data[::-1], peer)\n",
        "mirror.py",
    )
    port = machine.forward(5683, "udp")
    assert machine.forward(5683, "udp") == port
    mirror = threading.Thread(target=seat.run, args=("python3 mirror.py", DEADLINE_S))
    mirror.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1.0)
        answer = b""
        until_s = monotonic() + DEADLINE_S
        while not answer and monotonic() < until_s:
            sender.sendto(b"abc", ("127.0.0.1", port))
            try:
                answer = sender.recv(100)
            except TimeoutError:
                continue
    mirror.join()
    assert answer == b"cba"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        there = f"/dev/tcp/10.0.2.2/{server.getsockname()[1]}"
        caller = threading.Thread(target=seat.run, args=(f"echo hello > {there}", DEADLINE_S))
        caller.start()
        peer, _ = server.accept()
        with peer:
            peer.settimeout(DEADLINE_S)
            assert peer.recv(100) == b"hello\n"
        caller.join()


WRITER = b"""
import mmap, os, threading
radio = os.open("/dev/virtio-ports/radio", os.O_WRONLY)
unflushed = os.open("B", os.O_RDWR | os.O_DIRECT)
block = mmap.mmap(-1, 4096)

def overwrite():
    number = 0
    while True:
        number += 1
        block[:] = number.to_bytes(8, "big") * 512
        os.pwrite(unflushed, block, number % 256 * 4096)

records = os.open("A", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
threading.Thread(target=overwrite, daemon=True).start()
for number in range(30):
    os.write(records, b"%d\\n" % number)
    os.fsync(records)
    os.write(radio, b"%d\\n" % number)
threading.Event().wait()
"""


def a_seed_that_keeps_nothing() -> int:
    """Found by trying it on a card in memory."""

    class Nowhere:
        def read(self, _offset: int, length: int) -> bytes:
            return bytes(length)

        def write(self, _offset: int, _content: bytes) -> None:
            return

    for seed in range(1000):
        card = CachedCard(Nowhere())
        for sector in range(100):
            card.write(sector * SECTOR_BYTES, bytes(SECTOR_BYTES))
        if card.cut_power(seed).lost == 100:
            return seed
    raise AssertionError


def test_a_power_cut_loses_what_was_not_flushed_and_nothing_else(machine: PiMachine, seat: SshSeat) -> None:
    seat.put_bytes(WRITER, "writer.py")
    seat.run("dd if=/dev/zero of=B bs=4096 count=256 2>/dev/null; sync")
    boot = seat.boot_id()
    with socket.socket(socket.AF_UNIX) as radio:
        radio.connect(str(machine.radio_socket))
        seat.run("nohup python3 writer.py >/dev/null 2>&1 </dev/null &")
        acknowledged = b""
        until_s = monotonic() + DEADLINE_S
        while b"29\n" not in acknowledged:
            assert monotonic() < until_s, acknowledged
            if select.select([radio], [], [], 1.0)[0]:
                acknowledged += radio.recv(65536)
    before = machine.card_traffic().writes
    eventually(lambda: machine.card_traffic().writes > before + 20, "writes that nobody flushes")
    cut = machine.cut_power(seed=a_seed_that_keeps_nothing())
    assert cut.lost > 0
    assert cut.kept == cut.torn == 0
    assert not machine.running
    with pytest.raises(InfrastructureError):
        seat.run("true", timeout_s=DEADLINE_S)

    machine.start()
    machine.wait_until_reachable(DEADLINE_S)
    with SshSeat(machine.ssh_target) as after:
        after.connect(DEADLINE_S)
        assert after.boot_id() != boot
        assert after.get("A") == acknowledged
        unflushed = after.get("B")
    blocks = [unflushed[start : start + 4096] for start in range(0, len(unflushed), 4096)]
    assert len(blocks) == 256
    assert all(block == block[:8] * 512 for block in blocks)


def test_after_shutting_down_the_file_system_is_clean(machine: PiMachine, seat: SshSeat) -> None:
    seat.close()
    machine.shut_down(DEADLINE_S)
    assert not machine.running
    card = machine.console_log.with_name("card.raw")
    check = subprocess.run(
        ["/usr/sbin/e2fsck", "-fn", str(card)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout


def test_a_machine_that_does_not_run_says_so(image: PiImage) -> None:
    with PiMachine(image) as machine:
        for act in (lambda: machine.ssh_target, machine.card_traffic, machine.cut_power):
            with pytest.raises(InfrastructureError, match="is not running"):
                act()
        machine.shut_down()


def test_two_machines_side_by_side_and_one_card_for_each(image: PiImage, tmp_path: Path) -> None:
    with PiMachine(image, folder=tmp_path / "one") as one, PiMachine(image) as other:
        one.start()
        other.start()
        assert one.ssh_target.port != other.ssh_target.port
        assert one.radio_socket != other.radio_socket
        with (
            PiMachine(image, folder=tmp_path / "one") as third,
            pytest.raises(InfrastructureError, match="another machine is running from this card"),
        ):
            third.start()
        with pytest.raises(InfrastructureError, match="is running already"):
            one.start()
    assert not list(tmp_path.glob("one/*.sock"))


ORPHAN = """
import sys
from pathlib import Path
from bench.pi.emulated.image import find_image
from bench.pi.emulated.machine import PiMachine
machine = PiMachine(find_image(), folder=Path(sys.argv[1]))
machine.start()
print("started", flush=True)
sys.stdin.read()
"""


def descendants(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def test_nothing_outlives_a_bench_that_is_killed(image: PiImage, tmp_path: Path) -> None:
    assert image
    bench = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == b"started\n"
        left = descendants(bench.pid)
        names = [Path(f"/proc/{process_id}/comm").read_text().strip() for process_id in left]
        assert "qemu-system-aar" in names
        os.kill(bench.pid, signal.SIGKILL)
    eventually(lambda: not any(alive(process_id) for process_id in left), "the end of QEMU and its card")


def test_a_machine_started_by_a_thread_outlives_the_thread(image: PiImage) -> None:
    with PiMachine(image) as machine:
        starter = threading.Thread(target=machine.start)
        starter.start()
        starter.join()
        machine.forward(80)
        assert machine.running
