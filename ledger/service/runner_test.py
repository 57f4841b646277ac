"""The runner around a state machine made up for the test; time is real, and only waited for."""

from __future__ import annotations

import collections
import io
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ledger.effects import (
    BlockStored,
    Effect,
    IssuerFrozen,
    Operation,
    ReadingStored,
    Rejected,
    SendToPeer,
    Spent,
    Transmit,
    WakeAt,
)
from ledger.fleet import reading
from ledger.messages import FromPeer, Message, PeerDown, PeerUp, Tick
from ledger.service.clock import LedgerClock
from ledger.service.events import EventLog
from ledger.service.inbox import Inbox
from ledger.service.process_pair import until
from ledger.service.runner import Runner, Works
from ledger.service.systemd import Supervisor
from ledger.store.sqlite import MEMORY, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Links:
    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.refusals: dict[str, str] = {}
        self.sent: list[tuple[str, bytes]] = []

    def send(self, peer: str, payload: bytes) -> None:
        self.sent.append((peer, payload))


class ScriptedRadio:
    """A radio whose pin is a socket; each byte that comes is one thing to deal with."""

    def __init__(self, stage: Stage) -> None:
        self.fault: str | None = None
        self.counts: Mapping[str, int] = {"line_repeats": 2}
        self.pin, self.hand = socket.socketpair()
        self.pin.setblocking(False)
        self.closed = False
        self._stage = stage

    def fileno(self) -> int | None:
        return None if self.fault else self.pin.fileno()

    def attend(self, now_ns: int) -> Sequence[Effect]:
        del now_ns
        try:
            self.pin.recv(1)
        except BlockingIOError:
            return []
        self._stage.log.append("attend")
        return [Spent(Operation.RADIO_READ, 5), Transmit(b"answer")]

    def transmit(self, payload: bytes, now_ns: int) -> Sequence[Effect]:
        del now_ns
        self._stage.log.append(f"transmit {payload.decode()}")
        return [Spent(Operation.RADIO_WRITE, len(payload))]

    def handle(self, message: Message, now_ns: int) -> Sequence[Effect]:
        return self._stage.handle(message, now_ns)

    def keep_alive(self) -> Sequence[Effect]:
        self._stage.keep_alives += 1
        return []

    def close(self) -> None:
        self.closed = True
        self.pin.close()
        self.hand.close()


class Stage:
    """Everything around one runner, which runs in a thread."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.log: list[str] = []
        self.messages: list[Message] = []
        self.answers: dict[Message, list[Effect]] = {}
        self.keep_alives = 0
        self.builds = 0
        self.real_ns = time.time_ns
        self.output = io.BytesIO()
        self.inbox = Inbox()
        self.links = Links()
        self.store = SqliteStore(MEMORY, "off")
        self.radio = ScriptedRadio(self)
        clock = LedgerClock(lambda: self.real_ns())
        events = EventLog(self.output, time.time_ns)
        supervisor = Supervisor(environment or {})
        self.runner = Runner(self._build, self.store, self.links, self.inbox, clock, events, supervisor)
        self._thread = threading.Thread(target=self.runner.run)

    def _build(self) -> Works:
        self.builds += 1
        if self.radio.closed:
            self.radio = ScriptedRadio(self)
        return Works(self.radio.handle, self.radio)

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        assert now_ns > 0
        self.messages.append(message)
        return self.answers.get(message, [])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.runner.stop()
        self._thread.join()

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.output.getvalue().splitlines()
        return [
            {key: value for key, value in event.items() if key not in ("t_ns", "event")}
            for event in map(json.loads, lines)
            if event["event"] == kind
        ]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    if stage._thread.is_alive():
        stage.stop()
    stage.inbox.close()


def test_effects_are_carried_out_in_their_order_each_with_what_follows_from_it(stage: Stage) -> None:
    stage.answers[FromPeer("server", b"go")] = [
        Transmit(b"first"),
        SendToPeer("server", b"reply"),
        Transmit(b"second"),
        Spent(Operation.COMMIT, 2),
    ]
    stage.start()
    stage.inbox.post(FromPeer("server", b"go"), lambda: stage.log.append("taken"))
    until(lambda: "taken" in stage.log)
    assert stage.log == ["transmit first", "transmit second", "taken"]
    assert stage.links.sent == [("server", b"reply")]
    stage.radio.hand.send(b"!!")
    until(lambda: stage.log.count("transmit answer") == 2)
    stage.stop()
    (status,) = stage.events("status")
    assert status["spent"] == {"commit": 2, "radio_read": 10, "radio_write": 11 + 2 * 6}
    assert stage.radio.closed


def test_everything_that_happens_is_told(stage: Stage) -> None:
    stage.answers[PeerUp("server")] = [
        ReadingStored(7, 1, 2, repeat=False),
        ReadingStored(7, 1, 2, repeat=True),
        BlockStored(b"\x0a" * 32, b"\x0b" * 32, 3, 4, own=True),
        IssuerFrozen(b"\x0c" * 32, 5),
        Rejected("bad_tag", "x" * 1000),
    ]
    stage.start()
    stage.inbox.post(PeerUp("server"))
    stage.inbox.post(PeerDown("server"))
    stage.inbox.post(PeerUp("other"))
    until(lambda: PeerUp("other") in stage.messages)
    stage.stop()
    assert stage.events("reading_stored") == [
        {"uno_id": 7, "boot_epoch": 1, "counter": 2, "repeat": repeat} for repeat in (False, True)
    ]
    assert stage.events("block_stored") == [
        {"block": "0a" * 32, "issuer": "0b" * 32, "seq": 3, "readings": 4, "own": True}
    ]
    assert stage.events("issuer_frozen") == [{"issuer": "0c" * 32, "seq": 5}]
    (rejected,) = stage.events("rejected")
    assert (rejected["reason"], len(rejected["detail"])) == ("bad_tag", 400)
    assert stage.events("peer_down") == [{"peer": "server"}]
    (status,) = stage.events("status")
    assert status["peers_up"] == ["other"]
    assert status["rejected"] == {"bad_tag": 1}
    assert status["stored"] == {"readings": 1, "repeats": 1, "own_blocks": 1}
    assert (status["pending"], status["blocks"]) == (0, 0)
    assert status["radio"] == {"up": True, "line_repeats": 2}
    assert status["cpu_ns"] > 0
    assert status["rss_bytes"] > 1_000_000


def test_a_peer_that_does_not_take_calls_is_told_when_the_cause_changes(stage: Stage) -> None:
    def after_two_ticks() -> list[dict[str, Any]]:
        # Between them there is at least one whole turn.
        seen = stage.messages.count(Tick())
        until(lambda: stage.messages.count(Tick()) >= seen + 2)
        return stage.events("peer_refused")

    no_answer, stranger = ({"peer": "server", "detail": cause} for cause in ("no answer", "not admitted"))
    stage.start()
    stage.links.refusals["server"] = "no answer"
    assert after_two_ticks() == [no_answer]
    stage.links.refusals["server"] = "not admitted"
    assert after_two_ticks() == [no_answer, stranger]
    stage.links.refusals.clear()
    after_two_ticks()
    stage.links.refusals["server"] = "not admitted"
    assert after_two_ticks() == [no_answer, stranger, stranger]


def test_pending_readings_set_aside_are_told_and_counted(stage: Stage) -> None:
    for counter in range(2):
        stage.store.add_pending(*reading(1, counter))
    stage.store._connection.execute("UPDATE pending SET leaf = x'00' WHERE counter = 0")
    stage.store.pending(10)
    stage.start()
    until(lambda: stage.events("pending_damaged"))
    stage.stop()
    (told,) = stage.events("pending_damaged")
    assert told["count"] == 1
    assert "ledger verify" in told["detail"]
    (status,) = stage.events("status")
    assert (status["pending"], status["pending_damaged"]) == (1, 1)


def test_a_wish_to_be_woken_is_kept_long_before_the_next_spare_tick(stage: Stage) -> None:
    stage.start()
    until(lambda: Tick() in stage.messages)
    stage.answers[Tick()] = [WakeAt(0)]
    ticks = stage.messages.count(Tick())
    until(lambda: stage.messages.count(Tick()) >= ticks + 50)
    assert stage.keep_alives < 50


def test_a_clock_that_is_set_back_makes_the_machine_anew_and_its_peers_known_to_it(stage: Stage) -> None:
    first = stage.radio
    stage.start()
    stage.inbox.post(PeerUp("server"))
    until(lambda: PeerUp("server") in stage.messages)
    stage.real_ns = lambda: 1_600_000_000_000_000_000
    stage.inbox.wake()
    until(lambda: stage.builds == 2)
    until(lambda: stage.messages.count(PeerUp("server")) == 2)
    stage.real_ns = time.time_ns
    stage.inbox.wake()
    seen = stage.messages.count(Tick())
    until(lambda: stage.messages.count(Tick()) > seen)
    stage.stop()
    assert stage.builds == 2
    assert first.closed
    assert stage.events("clock_set_back") == [{}]


def test_a_radio_that_comes_and_goes_is_told_when_it_does(stage: Stage) -> None:
    stage.radio.fault = "not there"
    stage.start()
    until(lambda: stage.keep_alives >= 2)
    stage.radio.fault = None
    until(lambda: stage.keep_alives >= 4)
    stage.stop()
    assert stage.events("radio_down") == [{"detail": "not there"}]
    assert stage.events("radio_up") == [{}]


def test_systemd_hears_of_start_life_and_end() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # Linux chooses an abstract name
        listening.settimeout(30)
        name = "@" + listening.getsockname()[1:].decode()
        stage = Stage({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "40000"})
        stage.start()
        words = [listening.recv(100) for _ in range(5)]
        stage.stop()
        while words[-1] != b"STOPPING=1":
            words.append(listening.recv(100))
    assert words.count(b"READY=1") == 1
    assert words.count(b"WATCHDOG=1") >= 3
    stage.inbox.close()
