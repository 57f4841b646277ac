"""The gateway over a real store: what it acknowledges is stored once, through crashes and restarts."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from nacl.signing import SigningKey

from ledger import block, frame
from ledger.effects import BlockStored, Effect, Operation, ReadingStored, Rejected, Spent, Transmit, WakeAt
from ledger.gateway.gateway import BatchRule, Gateway, Refusal
from ledger.messages import FrameReceived, FromPeer, Tick
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store import StoreError
from ledger.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.block import Reading
    from ledger.effects import NodeEffect
    from ledger.messages import NodeMessage

SECOND_NS = 1_000_000_000
NETWORK = bytes(16)
KEYS = {1: bytes(range(16)), 2: bytes(range(16, 32)), 700: bytes(range(32, 48))}
STRANGER = 9
SIGNING_KEY = SigningKey(bytes(32))
REGISTRY = Registry(NETWORK, 0, {bytes(SIGNING_KEY.verify_key): Issuer("gateway")}, KEYS)
BATCH = BatchRule(readings=4, age_ns=10 * SECOND_NS)


class ScriptedNode:
    """Gives its answers, once, and remembers what it was given."""

    def __init__(self, answers: list[NodeEffect]) -> None:
        self.answers = answers
        self.messages: list[NodeMessage] = []

    def handle(self, message: NodeMessage, now_ns: int) -> list[NodeEffect]:
        assert now_ns > 0
        self.messages.append(message)
        answers, self.answers = self.answers, []
        return answers

    def seal_block(self, now_ns: int) -> list[NodeEffect]:
        raise AssertionError(f"sealing was asked for at {now_ns} ns")


class CrashError(Exception):
    """The power is cut: nothing of what was being done is ever told."""


Fault = Literal["none", "fails", "fails late", "crashes before", "crashes after"]


def fault_after(quiet_calls: int, fault: Fault) -> Iterator[Fault]:
    for _ in range(quiet_calls):
        yield "none"
    yield fault


class FaultyStore(SqliteStore):
    """A real store whose next calls fail or crash as planned, before or after the work is done."""

    def __init__(self, path: Path) -> None:
        self.plan: Iterator[Fault] = iter(())
        super().__init__(path, "off")

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        quiet: Fault = "none"
        fault = next(self.plan, quiet)
        if fault == "fails":
            raise StoreError("the disk is full")
        if fault == "crashes before":
            raise CrashError
        yield
        if fault == "fails late":
            raise StoreError("the disk fails")
        if fault == "crashes after":
            raise CrashError

    def has_reading(self, uno_id: int, boot_epoch: int, counter: int) -> bytes | None:
        with self._faults():
            return super().has_reading(uno_id, boot_epoch, counter)

    def add_pending(self, reading: Reading, payload: bytes) -> None:
        with self._faults():
            super().add_pending(reading, payload)

    def pending(self, limit: int) -> list[Reading]:
        with self._faults():
            return super().pending(limit)

    def put_own_block(self, sealed: block.Block) -> None:
        with self._faults():
            super().put_own_block(sealed)

    def stored(self) -> Counter[tuple[int, int, int]]:
        """Every copy of every reading, pending or in a block."""
        copies = Counter(reading.key for reading in super().pending(1_000_000))
        for stored in self.blocks():
            copies.update(reading.key for reading in block.Block.decode(stored.raw).readings)
        return copies

    def stored_hash(self, key: tuple[int, int, int]) -> bytes | None:
        return super().has_reading(*key)


class Branch:
    """A gateway on a store that outlives it, and what the Unos have heard from it."""

    def __init__(self, folder: Path, batch: BatchRule = BATCH) -> None:
        self.path = folder / "ledger.sqlite"
        self.batch = batch
        self.now_ns = SECOND_NS
        self.wake_ns: int | None = None
        self.acknowledged: set[tuple[int, int, int]] = set()
        self.start()

    def start(self) -> None:
        self.store = FaultyStore(self.path)
        self.gateway = Gateway(Node(SIGNING_KEY, REGISTRY, self.store), REGISTRY, self.store, self.batch)

    def restart(self) -> None:
        self.store.plan = iter(())
        self.store.close()
        self.wake_ns = None
        self.start()
        self.tick()

    def take(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Transmit):
                uno_id = int.from_bytes(effect.payload[1:3], "big")
                heard = frame.open_ack(KEYS[uno_id], effect.payload)
                self.acknowledged.add((heard.uno_id, heard.boot_epoch, heard.counter))
            if isinstance(effect, WakeAt):
                self.wake_ns = effect.t_ns
        return effects

    def receive(self, payload: bytes) -> list[Effect]:
        return self.take(self.gateway.handle(FrameReceived(payload, -9_000, 500), self.now_ns))

    def tick(self) -> list[Effect]:
        self.wake_ns = None
        return self.take(self.gateway.handle(Tick(), self.now_ns))


def plaintext(energy: int = 0, counters: int = 2) -> bytes:
    return frame.Snapshot(frame.Status(0), 0, 0, (), (energy,) * counters).encode()


def sealed(uno_id: int, counter: int, *, boot_epoch: int = 0, energy: int = 0) -> bytes:
    key = KEYS.get(uno_id, bytes(16))
    return frame.seal_frame(key, frame.FrameId(uno_id, boot_epoch, counter), plaintext(energy))


def reasons(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Rejected)]


def acks(effects: list[Effect]) -> list[bytes]:
    return [effect.payload for effect in effects if isinstance(effect, Transmit)]


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    return Branch(tmp_path)


def test_a_frame_is_stored_charged_and_then_acknowledged(branch: Branch) -> None:
    payload = sealed(1, 5, boot_epoch=3, energy=77)
    effects = branch.receive(payload)
    assert effects == [
        Spent(Operation.BLAKE2B, 1),
        Spent(Operation.ASCON_OPEN, 1),
        Spent(Operation.COMMIT, 1),
        ReadingStored(1, 3, 5, repeat=False),
        Spent(Operation.ASCON_TAG, 1),
        Transmit(frame.seal_ack(KEYS[1], frame.FrameId(1, 3, 5))),
        WakeAt(branch.now_ns + BATCH.age_ns),
    ]
    (reading,) = branch.store.pending(10)
    assert reading == block.Reading(1, 3, 5, branch.now_ns, -9_000, plaintext(77), block.frame_hash(payload))


def test_a_repeat_is_acknowledged_again_and_not_stored_again(branch: Branch) -> None:
    first = branch.receive(sealed(1, 0))
    again = branch.receive(sealed(1, 0))
    assert acks(again) == acks(first)
    assert ReadingStored(1, 0, 0, repeat=True) in again
    assert branch.store.stored() == {(1, 0, 0): 1}
    assert branch.gateway.counts == {"received": 2, "stored": 1, "repeat": 1}


def test_a_repeat_of_what_is_in_a_block_is_acknowledged(branch: Branch) -> None:
    branch.receive(sealed(1, 0))
    branch.now_ns += BATCH.age_ns
    branch.tick()
    assert branch.store.pending_count() == 0
    assert len(acks(branch.receive(sealed(1, 0)))) == 1
    assert branch.store.stored() == {(1, 0, 0): 1}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "truncated"),
        (sealed(1, 1)[:20], "truncated"),
        (sealed(1, 1) + bytes(200), "overlong"),
        (b"\x77" + sealed(1, 1)[1:], "unknown_kind"),
        (frame.seal_ack(KEYS[1], frame.FrameId(1, 0, 1)), "other_kind"),
        (sealed(STRANGER, 1), "unknown_meter"),
        (sealed(1, 1)[:-1] + b"\x00", "bad_tag"),
        (
            frame.seal_frame(KEYS[1], frame.FrameId(1, 0, 1), plaintext()[:1] + b"\x0f" + plaintext()[2:]),
            "bad_composition",
        ),
        (sealed(1, 0, energy=99), "nonce_reused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_has_its_reason_and_no_acknowledgement(branch: Branch, payload: bytes, reason: str) -> None:
    branch.receive(sealed(1, 0))
    effects = branch.receive(payload)
    assert reasons(effects) == [reason]
    assert acks(effects) == []
    assert branch.gateway.counts == {"received": 2, "stored": 1, reason: 1}
    assert branch.store.stored() == {(1, 0, 0): 1}


def test_a_full_disk_is_named_counted_and_survived(branch: Branch) -> None:
    branch.store.plan = fault_after(1, "fails")
    effects = branch.receive(sealed(1, 0))
    assert reasons(effects) == [Refusal.STORE_FAILED]
    assert acks(effects) == []
    assert any("disk is full" in effect.detail for effect in effects if isinstance(effect, Rejected))
    assert len(acks(branch.receive(sealed(1, 0)))) == 1
    assert branch.gateway.counts == {"received": 2, "stored": 1, "store_failed": 1}


def test_a_full_batch_is_sealed_at_the_tick_it_asks_for(branch: Branch) -> None:
    for counter in range(BATCH.readings):
        branch.receive(sealed(1, counter))
    assert branch.wake_ns == branch.now_ns
    assert any(isinstance(effect, BlockStored) and effect.readings == 4 for effect in branch.tick())
    assert branch.store.pending_count() == 0


def test_an_aged_batch_is_sealed_and_not_before(branch: Branch) -> None:
    branch.receive(sealed(1, 0))
    due_ns = branch.now_ns + BATCH.age_ns
    assert branch.wake_ns == due_ns
    branch.now_ns = due_ns - 1
    assert not any(isinstance(effect, BlockStored) for effect in branch.tick())
    branch.now_ns = due_ns
    assert any(isinstance(effect, BlockStored) and effect.readings == 1 for effect in branch.tick())


def test_an_early_tick_asks_again_for_the_same_time(branch: Branch) -> None:
    branch.receive(sealed(1, 0))
    assert branch.tick() == [WakeAt(branch.now_ns + BATCH.age_ns)]


def test_a_store_that_cannot_seal_is_asked_again_later_and_not_at_once(branch: Branch) -> None:
    branch.receive(sealed(1, 0))
    branch.now_ns += BATCH.age_ns
    branch.store.plan = fault_after(2, "fails")
    effects = branch.tick()
    assert reasons(effects) == [Refusal.STORE_FAILED]
    assert effects[-1] == WakeAt(branch.now_ns + BATCH.age_ns)
    branch.now_ns += BATCH.age_ns
    assert any(isinstance(effect, BlockStored) for effect in branch.tick())


def test_a_gateway_with_a_damaged_pending_reading_starts_and_seals_the_others(branch: Branch) -> None:
    for counter in range(2):
        branch.receive(sealed(1, counter))
    branch.store._connection.execute("UPDATE pending SET frame = x'00' WHERE counter = 0")
    branch.restart()
    assert [reading.counter for reading in branch.store.readings()] == [1]
    assert len(acks(branch.receive(sealed(1, 2)))) == 1
    branch.now_ns += BATCH.age_ns
    branch.tick()
    assert [reading.counter for reading in branch.store.readings()] == [1, 2]
    assert branch.wake_ns is None
    assert branch.store.damaged_pending_count() == 1


def test_a_card_that_fails_while_nothing_waits_is_asked_again_later(branch: Branch) -> None:
    """The reading that may have been stored was not, and the next look fails as well."""
    branch.store.plan = iter(("none", "fails"))
    branch.receive(sealed(1, 0))
    branch.now_ns += BATCH.age_ns
    branch.store.plan = fault_after(0, "fails")
    effects = branch.tick()
    assert reasons(effects) == [Refusal.STORE_FAILED]
    assert effects[-1] == WakeAt(branch.now_ns + BATCH.age_ns)
    branch.now_ns += BATCH.age_ns
    assert branch.tick() == []


def test_without_a_batch_age_a_full_disk_is_tried_once_a_second(tmp_path: Path) -> None:
    branch = Branch(tmp_path, BatchRule(age_ns=0))
    branch.store.plan = fault_after(1, "fails")
    branch.receive(sealed(1, 0))
    assert branch.wake_ns == branch.now_ns + SECOND_NS
    branch.receive(sealed(1, 0))
    assert branch.wake_ns == branch.now_ns
    branch.store.plan = fault_after(2, "fails")
    assert reasons(branch.tick()) == [Refusal.STORE_FAILED]
    assert branch.wake_ns == branch.now_ns + SECOND_NS


def test_a_reading_stored_in_spite_of_an_error_is_sealed_too(branch: Branch) -> None:
    branch.store.plan = fault_after(1, "fails late")
    branch.receive(sealed(1, 0))
    assert branch.acknowledged == set()
    assert branch.wake_ns is not None
    branch.now_ns = branch.wake_ns
    branch.tick()
    assert branch.store.pending_count() == 0
    assert branch.store.stored() == {(1, 0, 0): 1}


def test_readings_left_from_before_a_restart_are_sealed(branch: Branch) -> None:
    branch.receive(sealed(1, 0))
    branch.restart()
    assert branch.store.pending_count() == 0
    assert branch.store.stored() == {(1, 0, 0): 1}


def test_the_earlier_of_two_wishes_to_be_woken_counts(branch: Branch) -> None:
    received_ns = branch.now_ns
    node = ScriptedNode([WakeAt(received_ns + 3)])
    branch.gateway = Gateway(node, REGISTRY, branch.store, BATCH)
    from_server = FromPeer("server", b"x")
    assert branch.gateway.handle(from_server, received_ns) == [WakeAt(received_ns + 3)]
    assert not any(isinstance(effect, WakeAt) for effect in branch.receive(sealed(1, 0)))
    branch.now_ns += 3
    assert branch.tick() == [WakeAt(received_ns + BATCH.age_ns)]
    assert node.messages == [from_server, Tick()]


def test_a_node_that_may_not_write_is_not_asked_again_at_once(branch: Branch) -> None:
    stranger = Node(SigningKey(bytes(31) + b"1"), REGISTRY, branch.store)
    branch.gateway = Gateway(stranger, REGISTRY, branch.store, BATCH)
    branch.receive(sealed(1, 0))
    branch.now_ns += BATCH.age_ns
    effects = branch.tick()
    assert reasons(effects) == ["not_enrolled"]
    assert effects[-1] == WakeAt(branch.now_ns + BATCH.age_ns)


def test_an_impossible_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 256"):
        BatchRule(readings=0)
    with pytest.raises(ValueError, match="negative"):
        BatchRule(age_ns=-1)


@pytest.mark.parametrize("fault", ["fails", "fails late", "crashes before", "crashes after"])
def test_persist_before_send_whichever_store_call_is_hit(tmp_path: Path, fault: Fault) -> None:
    """Each store call of a script in turn is hit; what was acknowledged is stored exactly once every time."""
    script = [
        sealed(1, 0),
        sealed(2, 0),
        sealed(1, 0),
        sealed(700, 0),
        sealed(1, 1),
        sealed(2, 1),
        sealed(1, 2),
    ]
    for hit in itertools.count():
        folder = tmp_path / str(hit)
        folder.mkdir()
        branch = Branch(folder)
        plan = branch.store.plan = fault_after(hit, fault)
        for payload in script:
            try:
                branch.receive(payload)
                if branch.wake_ns == branch.now_ns:
                    branch.tick()
            except CrashError:
                branch.restart()
            assert branch.acknowledged <= branch.store.stored().keys()
        assert set(branch.store.stored().values()) == {1}
        was_hit = next(plan, None) is None
        branch.store.close()
        if not was_hit:
            assert hit > len(script)
            return


class GatewayMachine(RuleBasedStateMachine):
    """Random frames, repeats, strangers, noise, store faults, crashes and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.branch = Branch(Path(self.folder.name))
        self.sent: dict[tuple[int, int, int], bytes] = {}
        self.received = 0
        self.faulty = False

    def teardown(self) -> None:
        self.branch.store.close()
        self.folder.cleanup()

    @initialize()
    def first_tick(self) -> None:
        self.branch.tick()

    def receive(self, payload: bytes) -> list[Effect] | None:
        """None when the gateway crashed on it; it has been restarted then."""
        self.received += 1
        try:
            return self.branch.receive(payload)
        except CrashError:
            self.after_crash()
            return None

    def after_crash(self) -> None:
        self.branch.restart()
        self.received = 0
        self.faulty = False

    def valid(self, key: tuple[int, int, int], payload: bytes) -> None:
        effects = self.receive(payload)
        if effects is None:
            return
        if self.faulty:
            assert set(reasons(effects)) <= {Refusal.STORE_FAILED}
            assert bool(acks(effects)) != bool(reasons(effects))
        else:
            assert reasons(effects) == []
            assert key in self.branch.acknowledged

    @rule(
        uno_id=st.sampled_from(sorted(KEYS)),
        boot_epoch=st.integers(0, 1),
        counter=st.integers(0, 12),
        energy=st.integers(0, 1),
    )
    def frame_arrives(self, uno_id: int, boot_epoch: int, counter: int, energy: int) -> None:
        key = (uno_id, boot_epoch, counter)
        payload = sealed(uno_id, counter, boot_epoch=boot_epoch, energy=energy)
        known = self.sent.setdefault(key, payload)
        if known == payload:
            self.valid(key, payload)
            return
        effects = self.receive(payload)
        if effects is not None and key in self.branch.store.stored() and not self.faulty:
            stored_hash = self.branch.store.stored_hash(key)
            if stored_hash != block.frame_hash(payload):
                assert reasons(effects) == [Refusal.NONCE_REUSED]
                assert acks(effects) == []
            else:
                self.sent[key] = payload

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def frame_is_repeated(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.sent)))
        stored_hash = self.branch.store.stored_hash(key)
        if stored_hash in (None, block.frame_hash(self.sent[key])):
            self.valid(key, self.sent[key])

    @rule(counter=st.integers(0, 3))
    def stranger_sends(self, counter: int) -> None:
        effects = self.receive(sealed(STRANGER, counter))
        assert effects is not None
        assert reasons(effects) == [Refusal.UNKNOWN_METER]

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def frame_is_damaged(self, data: st.DataObject) -> None:
        payload = self.sent[data.draw(st.sampled_from(sorted(self.sent)))]
        if data.draw(st.booleans()):
            damaged = payload[: data.draw(st.integers(0, len(payload) - 1))]
        else:
            bit = data.draw(st.integers(0, 8 * len(payload) - 1))
            damaged = (int.from_bytes(payload, "big") ^ 1 << bit).to_bytes(len(payload), "big")
        effects = self.receive(damaged)
        if effects is not None:
            assert len(reasons(effects)) == 1
            assert acks(effects) == []

    @rule(payload=st.binary(max_size=120))
    def noise_arrives(self, payload: bytes) -> None:
        effects = self.receive(payload)
        if effects is not None:
            assert len(reasons(effects)) == 1
            assert acks(effects) == []

    @rule(step_ns=st.integers(0, 2 * BATCH.age_ns))
    def time_passes(self, step_ns: int) -> None:
        self.branch.now_ns += step_ns
        if self.branch.wake_ns is not None and self.branch.wake_ns <= self.branch.now_ns:
            try:
                self.branch.tick()
            except CrashError:
                self.after_crash()

    @rule(
        quiet_calls=st.integers(0, 5),
        fault=st.sampled_from(["fails", "fails late", "crashes before", "crashes after"]),
    )
    def fault_is_planned(self, quiet_calls: int, fault: Fault) -> None:
        self.branch.store.plan = fault_after(quiet_calls, fault)
        self.faulty = True

    @rule()
    def store_heals(self) -> None:
        self.branch.store.plan = iter(())
        self.faulty = False

    @rule()
    def gateway_restarts(self) -> None:
        self.after_crash()

    @invariant()
    def acknowledged_is_stored_once(self) -> None:
        stored = self.branch.store.stored()
        assert self.branch.acknowledged <= stored.keys()
        assert set(stored.values()) <= {1}
        assert stored.keys() <= self.sent.keys()

    @invariant()
    def counts_add_up(self) -> None:
        counts = dict(self.branch.gateway.counts)
        assert counts.pop("received", 0) == self.received == sum(counts.values())

    @invariant()
    def a_pending_reading_will_be_sealed(self) -> None:
        if self.branch.store.pending_count():
            assert self.branch.wake_ns is not None
            assert self.branch.wake_ns <= self.branch.now_ns + BATCH.age_ns


TestGatewayMachine = GatewayMachine.TestCase
TestGatewayMachine.settings = settings(max_examples=60, stateful_step_count=40)
