"""Gateway and server as processes, with an HC-12 on a pseudo-terminal: the test is the air and the Uno."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import subprocess
import sys
import termios
import threading
import tty
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ledger import frame
from ledger.cli import app
from ledger.frame import FrameError, FrameId
from ledger.gateway.framing import Deframer, wrap
from ledger.registry import Registry
from ledger.service.process_pair import ProcessPair, readings, until
from ledger.store.sqlite import SqliteStore
from ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPEAT_AFTER_S = 0.5


class Uno:
    """Sends one frame after the other, each until its acknowledgement comes; in a thread."""

    def __init__(self, key: bytes) -> None:
        self.acknowledged = 0
        """Frames with lower counters have been acknowledged."""
        self.sendings = 0
        self._key = key
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._deframer = Deframer(frame.ACK_BYTES)
        self._ended = False
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def pause(self) -> None:
        """Send no further frame."""
        self._ended = True
        self._thread.join()

    def close(self) -> None:
        self.pause()
        os.close(self._master)
        os.close(self._slave)

    def wait_for_another(self) -> None:
        before = self.acknowledged
        until(lambda: self.acknowledged > before)

    def _live(self) -> None:
        while not self._ended:
            plaintext = frame.Snapshot(frame.Status(0), 0, 0, (), (self.acknowledged,)).encode()
            frame_id = FrameId(ProcessPair.uno_id, 1, self.acknowledged)
            self._send(wrap(frame.seal_frame(self._key, frame_id, plaintext)))
            if self._hears(frame_id):
                self.acknowledged += 1

    def _send(self, data: bytes) -> None:
        self.sendings += 1
        try:
            os.write(self._master, data)
        except BlockingIOError:
            # Nobody reads: the gateway is dead, and the air forgets.
            tcflush(self._slave)

    def _hears(self, frame_id: FrameId) -> bool:
        while select.select([self._master], [], [], REPEAT_AFTER_S)[0]:
            for packet in self._deframer.feed(os.read(self._master, 4096)):
                try:
                    if frame.open_ack(self._key, packet) == frame_id:
                        return True
                except FrameError as error:
                    raise AssertionError("the gateway sends nothing but sound acknowledgements") from error
        return False


def tcflush(descriptor: int) -> None:
    termios.tcflush(descriptor, termios.TCIOFLUSH)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ProcessPair]:
    with ProcessPair(tmp_path) as pair:
        pair.configure('port = "hc12:/dev/ttyNONE7"', 16, 0.2)
        yield pair


@pytest.fixture
def uno(pair: ProcessPair) -> Iterator[Uno]:
    uno = Uno(pair.meter_key)
    pair.configure(f'port = "hc12:{uno.path}"', readings=16, age_s=0.2)
    yield uno
    uno.close()


def test_frames_become_blocks_at_the_server_and_both_end_well(pair: ProcessPair, uno: Uno) -> None:
    pair.server.start()
    pair.gateway.start()
    until(lambda: uno.acknowledged >= 100)
    uno.pause()
    pair.wait_until_converged(uno.acknowledged)
    here, there = pair.gateway.stop(), pair.server.stop()
    pair.check(uno.acknowledged)
    assert [event["counter"] for event in here["reading_stored"] if not event["repeat"]] == list(
        range(len(readings(pair.gateway.store)))
    )
    sealed = {event["block"] for event in here["block_stored"] if event["own"]}
    assert {event["block"] for event in there["block_stored"]} <= sealed
    assert sum(event["readings"] for event in there["block_stored"]) >= uno.acknowledged
    for events in (here, there):
        assert [len(events[kind]) for kind in ("started", "peer_up", "stopped")] == [1, 1, 1]
    status = here["status"][-1]
    assert status["stored"]["readings"] >= uno.acknowledged
    assert status["spent"]["ascon_open"] >= uno.acknowledged
    assert status["radio"]["up"]
    secrets = [(pair.folder / f"{name}.key").read_text().strip() for name in ("east", "server")]
    told = (pair.folder / "east.log").read_text() + (pair.folder / "server.log").read_text()
    assert not any(secret in told for secret in (*secrets, pair.meter_key.hex()))


def test_nothing_acknowledged_is_lost_when_either_is_killed_or_they_are_parted(
    pair: ProcessPair, uno: Uno
) -> None:
    """LEDGER_KILLS sets the number of rounds."""
    chance = random.Random(3)
    waiting = threading.Event()
    for daemon in (pair.server, pair.gateway):
        daemon.start()
    for number in range(int(os.environ.get("LEDGER_KILLS", "8"))):
        waiting.wait(chance.uniform(0.0, 0.7))
        fate = chance.choice(["gateway", "server", "parted"])
        if fate == "parted":
            pair.cable.hold()
            uno.wait_for_another()
            pair.cable.break_all()
            pair.cable.let_pass()
        else:
            daemon = pair.gateway if fate == "gateway" else pair.server
            daemon.kill()
            audit = verify(daemon.store)
            assert audit.clean, f"round {number}: {audit.findings}"
            daemon.start()
        uno.wait_for_another()
    uno.pause()
    pair.wait_until_converged(uno.acknowledged)
    for daemon in (pair.server, pair.gateway):
        daemon.stop()
    pair.check(uno.acknowledged)


def test_a_radio_that_is_plugged_in_later_is_found_and_the_gateway_meets_its_peers_without(
    pair: ProcessPair, uno: Uno
) -> None:
    later = pair.folder / "radio"
    pair.configure(f'port = "hc12:{later}"', readings=16, age_s=0.2)
    pair.server.start()
    pair.gateway.start()
    until(lambda: pair.gateway.events()["peer_up"])
    (down,) = pair.gateway.events()["radio_down"]
    assert down["detail"].startswith(f"{later}: No such file or directory; check the path")
    later.symlink_to(uno.path)
    uno.wait_for_another()
    assert len(pair.gateway.stop()["radio_up"]) == 1


def test_a_second_gateway_on_the_same_store_is_refused(pair: ProcessPair) -> None:
    pair.gateway.start()
    assert ended("gateway", pair.gateway.config) == (
        1,
        f"error: {pair.gateway.store}: another daemon runs on this store; stop that one first\n",
    )
    pair.gateway.stop()


def test_a_server_whose_port_is_taken_says_so(pair: ProcessPair) -> None:
    pair.server.start()
    text = pair.server.config.read_text()
    address = text.partition('listen = "')[2].partition('"')[0]
    other = pair.folder / "other.toml"
    other.write_text(text.replace('store = "server.db"', 'store = "other.db"'))
    code, errors = ended("serve", other)
    assert code == 1
    assert errors.startswith(f"error: cannot listen on {address}: check that")
    pair.server.stop()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "east.key").chmod(0o644), "east.key: mode 0644 lets others at"),
        (lambda folder: (folder / "east.key").unlink(), "east.key: No such file or directory; it must"),
        (lambda folder: (folder / "registry.json").write_text("{"), "registry.json: not a JSON file"),
        (lambda folder: (folder / "registry.json").unlink(), "registry.json: No such file"),
        (
            lambda folder: (folder / "east.db").write_bytes(b"no ledger" * 500),
            "this is not a ledger database",
        ),
        (lambda folder: (folder / "east.db").mkdir(), "key store: it is a folder"),
        (lambda folder: name_store(folder, "n" * 300), "File name too long; name a file in a folder"),
        (lambda folder: keep_registry(folder, 2), "east.db: keeps registry epoch 2; a different registry"),
        (
            lambda folder: (folder / "east.toml").write_text("name = 1"),
            "east.toml: key name is 1; it must be",
        ),
        (lambda folder: take_from_registry(folder, "east"), "does not let the key"),
    ],
)
@pytest.mark.parametrize("command", ["gateway", "check"])
def test_what_keeps_it_from_starting_is_one_sentence(
    pair: ProcessPair, spoil: Callable[[Path], object], sentence: str, command: str
) -> None:
    spoil(pair.folder)
    # In this process, since starting another one takes longer than the rest.
    result = CliRunner().invoke(app, [command, "--config", str(pair.gateway.config)])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert sentence in result.output
    assert result.output.count("\n") == 1


def take_from_registry(folder: Path, name: str) -> None:
    document = json.loads((folder / "registry.json").read_text())
    document["issuers"] = [issuer for issuer in document["issuers"] if issuer["name"] != name]
    (folder / "registry.json").write_text(json.dumps(document))


def name_store(folder: Path, name: str) -> None:
    file = folder / "east.toml"
    file.write_text(file.read_text().replace("east.db", name))


def keep_registry(folder: Path, epoch: int) -> None:
    """Have been started before under a newer registry than the file is."""
    store = SqliteStore(folder / "east.db")
    store.put_registry(replace(Registry.load(folder / "registry.json"), epoch=epoch))
    store.close()


def ended(command: str, config: Path) -> tuple[int, str]:
    """Exit status and standard error of a command that is to end by itself."""
    finished = subprocess.run(
        [sys.executable, "-m", "ledger.cli", command, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return finished.returncode, finished.stderr


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root (and a container that lets it)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_on_a_full_disk_nothing_is_acknowledged_and_room_heals_it(pair: ProcessPair, uno: Uno) -> None:
    disk = pair.folder / "disk"
    disk.mkdir()
    with small_disk(disk):
        config = pair.gateway.config
        config.write_text(config.read_text().replace('"east.db"', '"disk/east.db"'))
        pair.gateway.store = disk / "east.db"
        pair.gateway.start()
        ballast = disk / "ballast"
        uno.wait_for_another()
        fill(ballast)
        until(lambda: "store_failed" in [event["reason"] for event in pair.gateway.events()["rejected"]])
        sendings = uno.sendings
        until(lambda: uno.sendings > sendings + 2)
        ballast.unlink()
        uno.wait_for_another()
        pair.gateway.kill()
        assert verify(pair.gateway.store).clean
        stored = {reading.counter for reading in readings(pair.gateway.store)}
        assert set(range(uno.acknowledged)) <= stored


def test_a_disk_that_is_full_at_the_start_is_named(pair: ProcessPair) -> None:
    disk = pair.folder / "disk"
    disk.mkdir()
    with small_disk(disk):
        config = pair.gateway.config
        config.write_text(config.read_text().replace('"east.db"', '"disk/east.db"'))
        fill(disk / "ballast")
        code, errors = ended("gateway", config)
    assert code == 1
    assert "free some space" in errors


def fill(ballast: Path) -> None:
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
    except OSError:
        pass


def test_it_tells_systemd_when_it_is_ready(pair: ProcessPair) -> None:
    path = str(pair.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(120)
        pair.gateway.environment = {"NOTIFY_SOCKET": path}
        pair.gateway.start()
        assert listening.recv(100) == b"READY=1"
        pair.gateway.stop()
        assert listening.recv(100) == b"STOPPING=1"


def test_check_says_what_it_would_be(pair: ProcessPair) -> None:
    for daemon, role in (
        (pair.gateway, "east: gateway, 1 meters, 1 peers"),
        (pair.server, "server: server on"),
    ):
        finished = subprocess.run(
            [sys.executable, "-m", "ledger.cli", "check", "--config", str(daemon.config)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert finished.stdout.startswith(role)
        assert not daemon.store.exists()
