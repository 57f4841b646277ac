"""The card's server with QEMU's own NBD client, which is independent of it."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

import pytest

from bench.pi.emulated.card import SECTOR_BYTES
from bench.pi.emulated.card_server import DISCARD, KEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CARD_BYTES = 1 << 20

needs_client = pytest.mark.skipif(
    shutil.which("qemu-io") is None, reason="needs qemu-io: apt-get install qemu-utils"
)


class Served:
    """A server process on a card of zeroes."""

    def __init__(self, folder: Path, end: str) -> None:
        self.card = folder / "card.raw"
        self.card.write_bytes(bytes(CARD_BYTES))
        self.socket = folder / "socket"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.pi.emulated.card_server", str(self.card), str(self.socket), end],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.answer() == {"bytes": CARD_BYTES}

    def pipe(self, end: IO[bytes] | None) -> IO[bytes]:
        assert end is not None
        return end

    def answer(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.pipe(self.process.stdout).readline())
        return values

    def ask(self, command: str) -> dict[str, Any]:
        self.pipe(self.process.stdin).write(f"{command}\n".encode())
        self.pipe(self.process.stdin).flush()
        return self.answer()

    def leave(self) -> None:
        self.pipe(self.process.stdin).close()
        self.process.wait()

    def client(self, *commands: str) -> str:
        """Run qemu-io's commands on the card, without its own cache; it flushes only when told."""
        options = [part for command in commands for part in ("-c", command)]
        run = subprocess.run(
            ["qemu-io", "-f", "raw", "-t", "none", *options, f"nbd+unix:///?socket={self.socket}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Served]]:
    started: list[Served] = []

    def start(end: str = KEEP) -> Served:
        started.append(Served(tmp_path, end))
        return started[-1]

    yield start
    for served in started:
        with served.process:
            served.process.kill()


@needs_client
def test_what_one_client_writes_another_reads(serve: Callable[..., Served]) -> None:
    served = serve()
    served.client("write -P 0x5a 4096 8192", "flush")
    assert "Pattern verification failed" not in served.client("read -P 0x5a 4096 8192", "read -P 0 12288 512")
    traffic = served.ask("traffic")
    assert traffic["writes"] == 1
    assert traffic["written_bytes"] == 8192
    assert traffic["flushes"] >= 1
    assert served.card.read_bytes()[4096:12288] == b"\x5a" * 8192


@needs_client
def test_release_makes_everything_durable(serve: Callable[..., Served]) -> None:
    served = serve()
    served.client("write -P 7 0 64k")
    served.ask("release")
    served.process.wait()
    assert served.card.read_bytes() == b"\7" * 65536 + bytes(CARD_BYTES - 65536)


class Client:
    """A client that never flushes by itself, which qemu-io does when it ends."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.recv(18, socket.MSG_WAITALL)
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self.socket.recv(10, socket.MSG_WAITALL)

    def request(self, kind: int, offset: int = 0, length: int = 0, content: bytes = b"") -> int:
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 42, offset, length) + content)
        magic, error, handle = struct.unpack(">IIQ", self.socket.recv(16, socket.MSG_WAITALL))
        assert (magic, handle) == (0x67446698, 42)
        return int(error)


def test_a_cut_keeps_what_was_flushed(serve: Callable[..., Served]) -> None:
    served = serve()
    client = Client(served.socket)
    assert client.request(1, 0, SECTOR_BYTES, b"A" * SECTOR_BYTES) == 0
    assert client.request(3) == 0
    for sector in range(1, 200):
        assert client.request(1, sector * SECTOR_BYTES, SECTOR_BYTES, b"B" * SECTOR_BYTES) == 0
    cut = served.ask("cut 3")
    served.process.wait()
    content = served.card.read_bytes()
    sectors = [content[start : start + SECTOR_BYTES] for start in range(0, len(content), SECTOR_BYTES)]
    assert sectors[0] == b"A" * SECTOR_BYTES
    assert sectors.count(b"B" * SECTOR_BYTES) == cut["kept"]
    assert cut["kept"] + cut["lost"] == 199
    assert cut["traffic"]["flushes"] == 1


def test_requests_that_make_no_sense_are_refused_and_the_next_is_served(serve: Callable[..., Served]) -> None:
    served = serve()
    client = Client(served.socket)
    assert client.request(0, 100, SECTOR_BYTES) == 22
    assert client.request(0, CARD_BYTES, SECTOR_BYTES) == 22
    assert client.request(9) == 22
    assert client.request(3) == 0
    client.socket.sendall(b"!" * 28)
    assert client.socket.recv(1) == b""
    assert Client(served.socket).request(3) == 0


@pytest.mark.parametrize(("end", "left"), [(KEEP, True), (DISCARD, False)])
def test_left_alone_it_ends_and_loses_what_was_not_flushed(
    serve: Callable[..., Served], end: str, left: bool
) -> None:
    served = serve(end)
    client = Client(served.socket)
    client.request(1, 0, SECTOR_BYTES, b"A" * SECTOR_BYTES)
    served.leave()
    assert served.card.exists() == left
    if left:
        assert served.card.read_bytes() == bytes(CARD_BYTES)


def test_a_card_is_served_once(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve()
    second = subprocess.run(
        [sys.executable, "-m", "bench.pi.emulated.card_server", str(served.card), str(tmp_path / "second")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert json.loads(second.stdout) == {"error": "another machine is running from this card"}
    assert second.returncode == 1
