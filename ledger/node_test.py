from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from nacl.signing import SigningKey

from ledger.block import MAX_BATCH, MAX_PLAINTEXT_BYTES, NO_PREVIOUS, Reading, frame_hash, seal
from ledger.dag import MAX_BRANCHES
from ledger.effects import BlockStored, IssuerFrozen, Operation, Rejected, SendToPeer, Spent, WakeAt
from ledger.encoding import Value, decode, encode
from ledger.fleet import KEYS, NETWORK, PUBLIC, REGISTRY, SECOND_NS, Fleet, reading
from ledger.messages import FromPeer, PeerUp
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store import StoreError
from ledger.store.sqlite import SqliteStore
from ledger.sync import MAX_MESSAGE_BYTES, OFFER_PERIOD_NS, Kind
from ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAYS = ("east", "west", "north", "twin")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def keys_of(fleet: Fleet, name: str) -> list[tuple[int, int, int]]:
    return [item.key for item in fleet.stores[name].readings()]


def test_two_gateways_write_at_once_cut_off_and_joined_again(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "west"])
    fleet.join("east", "west")
    fleet.write("east", reading(1, 0))
    fleet.write("west", reading(2, 0))
    fleet.run(1)
    fleet.cut("east", "west")
    for counter in range(1, 20):
        fleet.write("east", reading(1, counter))
        fleet.write("west", reading(2, counter))
    assert fleet.state("east") != fleet.state("west")
    fleet.join("east", "west")
    fleet.run(1)
    assert fleet.state("east") == fleet.state("west")
    assert len(fleet.stores["east"].heads()) == 2
    assert keys_of(fleet, "east") == [(uno, 1, counter) for uno in (1, 2) for counter in range(20)]
    fleet.write("east", reading(1, 20))
    fleet.run(1)
    (head,) = fleet.stores["west"].heads()
    assert fleet.stores["west"].place(head) == (PUBLIC["east"], 20)
    fleet.close()


def test_a_month_cut_off_costs_nothing_but_time(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "server"])
    for counter in range(50):
        fleet.write("east", *[reading(uno, counter) for uno in range(1, 40)])
        fleet.now_ns += 31 * 86_400 * SECOND_NS // 50
    raw_bytes = sum(share.raw_bytes for share in fleet.stores["east"].issuer_shares())
    fleet.join("east", "server")
    fleet.run(1)
    assert fleet.state("east") == fleet.state("server")
    assert len(keys_of(fleet, "server")) == 50 * 39
    assert raw_bytes < fleet.sent_bytes < raw_bytes * 1.05
    for name in fleet.nodes:
        sizes = [len(e.payload) for e in fleet.effects[name] if isinstance(e, SendToPeer)]
        assert max(sizes) <= MAX_MESSAGE_BYTES
    fleet.close()


def test_what_is_lost_on_the_way_is_offered_again(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "west", "server"], seed=3, loss=0.5)
    fleet.join("east", "server")
    fleet.join("west", "server")
    for counter in range(30):
        fleet.write("east", reading(1, counter))
        fleet.write("west", reading(1, counter), reading(2, counter))
        fleet.run(2)
    fleet.run(60 * OFFER_PERIOD_NS // SECOND_NS)
    assert fleet.state("east") == fleet.state("server") == fleet.state("west")
    assert len(keys_of(fleet, "server")) == 60
    fleet.close()


def test_peers_in_step_exchange_little(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "server"])
    fleet.join("east", "server")
    fleet.write("east", reading(1, 0))
    fleet.run(5)
    fleet.sent_bytes = 0
    fleet.run(3600)
    offers = 2 * 3600 * SECOND_NS // OFFER_PERIOD_NS
    assert fleet.sent_bytes <= offers * 40
    fleet.close()


@pytest.mark.parametrize("length", [1, 120])
def test_a_gateway_put_up_again_from_an_old_copy_is_frozen_everywhere(folder: Path, length: int) -> None:
    fleet = Fleet(folder, ["north", "twin", "east", "server"])
    for name in ("north", "twin"):
        # Both continue from the same first blocks, as a copied card would.
        fleet.stores[name].put_blocks([])
    for counter in range(5):
        fleet.write("north", reading(3, counter))
    fleet.join("north", "twin")
    fleet.run(1)
    fleet.cut("north", "twin")
    fleet.join("north", "server")
    fleet.join("twin", "east")
    for counter in range(5, 5 + length):
        fleet.write("north", reading(3, counter))
        fleet.write("twin", reading(3, counter + 1000))
        fleet.run(1)
    merged_by_east = keys_of(fleet, "east")
    fleet.write("east", reading(1, 0))
    fleet.run(1)
    fleet.join("east", "server")
    fleet.run(120)
    states = [fleet.state(name) for name in fleet.nodes]
    assert all(state == states[0] for state in states)
    assert fleet.stores["server"].frozen() == {PUBLIC["north"]: 5}
    # East had built on the twin's branch: that stays. Nobody had built on the other.
    assert keys_of(fleet, "server") == sorted([*merged_by_east, (1, 1, 0)])
    assert fleet.stores["server"].reading_counts().void == length
    for name in fleet.nodes:
        assert IssuerFrozen(PUBLIC["north"], 5) in fleet.effects[name]
    fleet.write("north", reading(3, 9999))
    refused = [effect for effect in fleet.effects["north"] if isinstance(effect, Rejected)]
    assert refused[-1].reason == "own_key_frozen"
    assert fleet.stores["north"].pending_count() == 1
    fleet.close()
    assert all(verify(folder / f"{name}.db").clean for name in fleet.nodes)


def test_a_proof_alone_freezes_a_node_that_lacks_the_blocks(folder: Path) -> None:
    fleet = Fleet(folder, ["north", "twin", "east", "server"])
    fleet.write("north", reading(3, 0))
    fleet.write("twin", reading(3, 1))
    fleet.join("north", "east")
    fleet.join("twin", "east")
    fleet.run(1)
    proof = fleet.stores["east"].fraud_proof(PUBLIC["north"])
    assert proof is not None
    message = encode([1, int(Kind.FRAUD), [[proof.first.raw, proof.second.raw]]])
    effects = fleet.nodes["server"].handle(FromPeer("someone", message), fleet.now_ns)
    assert IssuerFrozen(PUBLIC["north"], 0) in effects
    assert fleet.stores["server"].frozen() == {PUBLIC["north"]: 0}
    fleet.close()


def test_nodes_that_keep_different_branches_come_to_rest(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "server"])
    for number, name in enumerate(fleet.nodes):
        branches: list[Value] = [
            seal(
                KEYS["north"],
                NETWORK,
                seq=0,
                prev=NO_PREVIOUS,
                heads=(),
                leaves=(),
                frontier_root=bytes(32),
                sealed_ns=number * MAX_BRANCHES + branch,
                registry_epoch=1,
            ).raw
            for branch in range(MAX_BRANCHES)
        ]
        message = encode([1, int(Kind.BLOCKS), branches])
        fleet.nodes[name].handle(FromPeer("north", message), fleet.now_ns)
        fleet.write(name, reading(number, 0))
    fleet.join("east", "server")
    assert fleet.deliver(100) == 0
    fleet.run(2 * OFFER_PERIOD_NS // SECOND_NS)
    for name in fleet.nodes:
        assert keys_of(fleet, name) == [(0, 1, 0), (1, 1, 0)]
        assert len(fleet.stores[name].tips()[PUBLIC["north"]]) == MAX_BRANCHES
    fleet.close()


def test_every_costed_operation_is_told(folder: Path) -> None:
    store = SqliteStore(folder / "east.db", durability="off")
    node = Node(KEYS["east"], REGISTRY, store)
    for counter in range(3):
        store.add_pending(*reading(1, counter))
    effects = node.seal_block(5)
    block = store.block(store.heads()[0])
    assert block is not None
    assert BlockStored(block.hash, PUBLIC["east"], 0, 3, own=True) in effects
    spent = {effect.operation: effect.count for effect in effects if isinstance(effect, Spent)}
    assert spent[Operation.ED25519_SIGN] == 1
    assert spent[Operation.COMMIT] == 1
    assert spent[Operation.BLOCK_ENCODE] == len(block.raw)
    receiver = Node(None, REGISTRY, SqliteStore(folder / "server.db", durability="off"))
    effects = receiver.handle(FromPeer("east", encode([1, int(Kind.BLOCKS), [block.raw]])), 6)
    spent = {effect.operation: effect.count for effect in effects if isinstance(effect, Spent)}
    # The signed header, three leaves of one BLAKE2b block each, two inner nodes.
    assert spent[Operation.ED25519_VERIFY] == 1
    assert spent[Operation.COMMIT] == 1
    assert spent[Operation.BLOCK_DECODE] == len(block.raw)
    assert spent[Operation.BLAKE2B] == -(-len(block.signed.raw) // 128) + 3 + 2
    assert any(isinstance(effect, WakeAt) for effect in effects)


def test_a_block_is_stored_before_it_is_sent(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "server"])
    fleet.join("east", "server")
    fleet.run(1)
    fleet.stores["east"].fails_before = True
    sent = len(fleet.effects["east"])
    fleet.write("east", reading(1, 0))
    assert len(fleet.effects["east"]) == sent
    assert fleet.stores["east"].pending_count() == 1
    fleet.write("east")
    fleet.run(1)
    assert keys_of(fleet, "server") == [(1, 1, 0)]
    # Nor does a failure at the receiver lose anything.
    fleet.stores["server"].fails_before = True
    fleet.write("east", reading(1, 1))
    fleet.run(1)
    assert keys_of(fleet, "server") == [(1, 1, 0)]
    assert [e.reason for e in fleet.effects["server"] if isinstance(e, Rejected)] == ["store"]
    fleet.run(60)
    assert keys_of(fleet, "server") == [(1, 1, 0), (1, 1, 1)]
    fleet.close()


def test_batches_are_cut_to_fit_a_block(folder: Path) -> None:
    store = SqliteStore(folder / "east.db", durability="off")
    node = Node(KEYS["east"], REGISTRY, store)
    for counter in range(MAX_BATCH + 10):
        frame = b"%d" % counter
        plaintext = bytes(MAX_PLAINTEXT_BYTES)
        store.add_pending(Reading(1, 1, counter, 2**62, -1, plaintext, frame_hash(frame)), frame)
    sealed = 0
    while store.pending_count():
        effects = node.seal_block(1)
        sealed += sum(effect.readings for effect in effects if isinstance(effect, BlockStored))
    assert sealed == MAX_BATCH + 10
    assert [item.counter for item in store.readings()] == list(range(sealed))
    assert node.seal_block(2) == []


def test_a_node_that_is_not_enrolled_does_not_write(folder: Path) -> None:
    store = SqliteStore(folder / "x.db", durability="off")
    registry = Registry(NETWORK, 1, {PUBLIC["east"]: Issuer("east", from_epoch=2)})
    store.add_pending(*reading(1, 0))
    for key in (None, KEYS["west"], KEYS["east"]):
        (effect,) = Node(key, registry, store).seal_block(1)
        assert isinstance(effect, Rejected)
        assert effect.reason == "not_enrolled"
    with pytest.raises(StoreError, match="another network"):
        Node(None, Registry(b"other network 16", 1, {}), store)
    with pytest.raises(StoreError, match="higher epoch"):
        Node(None, Registry(NETWORK, 0, {}), store)


def test_more_issuers_than_one_frontier_holds(folder: Path) -> None:
    keys = [SigningKey(number.to_bytes(32, "big")) for number in range(1, 1301)]
    registry = Registry(NETWORK, 0, {bytes(key.verify_key): Issuer(str(n)) for n, key in enumerate(keys)})
    blocks = [
        seal(
            key,
            NETWORK,
            seq=0,
            prev=NO_PREVIOUS,
            heads=(),
            leaves=[reading(number, 0)[0].encode()],
            frontier_root=bytes(32),
            sealed_ns=number,
            registry_epoch=0,
        )
        for number, key in enumerate(keys)
    ]
    stores = [SqliteStore(folder / f"{name}.db", durability="off") for name in ("left", "right")]
    stores[0].put_blocks(blocks[:700])
    stores[1].put_blocks(blocks[600:])
    nodes = [Node(None, registry, store) for store in stores]
    wires = [(side, effect) for side in (0, 1) for effect in nodes[side].handle(PeerUp("peer"), 0)]
    sent_bytes = 0
    while wires:
        side, effect = wires.pop(0)
        if isinstance(effect, SendToPeer):
            sent_bytes += len(effect.payload)
            assert len(effect.payload) <= MAX_MESSAGE_BYTES
            answer = nodes[1 - side].handle(FromPeer("peer", effect.payload), 0)
            assert not [e for e in answer if isinstance(e, Rejected)]
            wires += [(1 - side, e) for e in answer]
    assert stores[0].heads() == stores[1].heads()
    assert len(stores[0].frontier()) == 1300
    # Both start at once and ask at once: frontiers go twice each way. Blocks go once, and only where missing.
    missing_bytes = sum(len(block.raw) for block in blocks[:600] + blocks[700:])
    assert sent_bytes < missing_bytes * 1.1 + 1300 * 80 * 6


def messages_between(fleet: Fleet) -> list[bytes]:
    sent = [e.payload for effects in fleet.effects.values() for e in effects if isinstance(e, SendToPeer)]
    return [payload for number, payload in enumerate(sent) if payload not in sent[:number]]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_hostile_messages_are_counted_and_change_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        fleet = Fleet(Path(name), ["east", "west"])
        fleet.join("east", "west")
        fleet.write("east", reading(1, 0))
        fleet.write("west", reading(2, 0))
        fleet.run(1)
        before = fleet.state("east")
        genuine = messages_between(fleet)
        for _ in range(10):
            payload = bytearray(data.draw(st.sampled_from(genuine)))
            for _ in range(data.draw(st.integers(1, 3))):
                place = data.draw(st.integers(0, len(payload) - 1))
                payload[place] = data.draw(st.integers(0, 255))
            noise = data.draw(st.sampled_from([b"", bytes(payload[: len(payload) // 2]), b"\x9f" * 100]))
            for hostile in (bytes(payload), noise):
                effects = fleet.nodes["east"].handle(FromPeer("west", hostile), fleet.now_ns)
                if hostile is noise:
                    assert [e for e in effects if isinstance(e, Rejected)]
        assert fleet.state("east") == before
        fleet.write("west", reading(2, 1))
        fleet.run(120)
        assert fleet.state("east") == fleet.state("west") != before
        fleet.close()


def test_messages_that_break_a_bound_are_refused(folder: Path) -> None:
    node = Node(None, REGISTRY, SqliteStore(folder / "x.db", durability="off"))
    hostile = [
        bytes(MAX_MESSAGE_BYTES + 1),
        encode([2, 0, bytes(32)]),
        encode([1, 9, bytes(32)]),
        encode([1]),
        encode([1, int(Kind.BLOCKS), [b"x"] * 257]),
        encode([1, int(Kind.FRAUD), [[b"x", b"x"]] * 33]),
        encode([1, int(Kind.LOCATOR), bytes(32), [bytes(32)] * 129]),
        encode(
            [1, int(Kind.FRONTIER), 0, bytes(32), b"\xff" * 32, [[bytes(32), [[0, bytes(32)]] * 65, None]]]
        ),
        encode([1, int(Kind.SUMMARY), bytes(31)]),
    ]
    for payload in hostile:
        effects = node.handle(FromPeer("x", payload), 0)
        reasons = [effect.reason for effect in effects if isinstance(effect, Rejected)]
        assert reasons == ["malformed_message"], payload[:20]


def test_a_peer_cannot_fill_the_memory_with_issuers_that_nobody_knows(folder: Path) -> None:
    node = Node(None, REGISTRY, SqliteStore(folder / "x.db", durability="off"))
    known = PUBLIC["east"]
    # Single issuers: what was said of others stays.
    bounds = (b"\xff" * 32, bytes(32))
    for number in range(3):
        strangers = [(number * 500 + k).to_bytes(32, "big") for k in range(500)]
        entries: list[Value] = [[issuer, [[0, bytes(32)]], 0] for issuer in (*strangers, known)]
        messages: list[list[Value]] = [[1, int(Kind.FRONTIER), 0, *bounds, entries]]
        messages += [[1, int(Kind.LOCATOR), issuer, [bytes(32)]] for issuer in (*strangers[:10], known)]
        for message in messages:
            effects = node.handle(FromPeer("x", encode(message)), 0)
            assert not [effect for effect in effects if isinstance(effect, Rejected)]
    peer = node._sync._peers["x"]
    assert set(peer.tips) == set(peer.forks) == set(peer.located) == {known}


def test_of_an_issuer_that_left_the_registry_a_peers_tips_still_count(folder: Path) -> None:
    fleet = Fleet(folder, ["east", "server"])
    fleet.write("east", reading(1, 0))
    fleet.join("east", "server")
    fleet.run(1)
    fleet.close()
    registry = Registry(NETWORK, 2, {PUBLIC["west"]: Issuer("west")})
    node = Node(None, registry, SqliteStore(folder / "server.db", durability="off"))
    entries: list[Value] = [[PUBLIC["east"], [[0, node.store.heads()[0]]], None]]
    message = encode([1, int(Kind.FRONTIER), 0, bytes(32), b"\xff" * 32, entries])
    effects = node.handle(FromPeer("x", message), 0)
    sent = [decode(e.payload, MAX_MESSAGE_BYTES) for e in effects if isinstance(e, SendToPeer)]
    assert [message[1] for message in sent if isinstance(message, list)] == [Kind.FRONTIER]


class FleetMachine(RuleBasedStateMachine):
    """Nodes that write, crash and talk over bad links; one key is on two machines."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.fleet = Fleet(self.folder, (*GATEWAYS, "server"), seed=1, loss=0.2)
        self.counter = 0
        self.written: dict[tuple[int, int, int], str] = {}

    names = st.sampled_from((*GATEWAYS, "server"))

    @rule(name=st.sampled_from(GATEWAYS), count=st.integers(1, 3), shared=st.booleans())
    def write(self, name: str, count: int, shared: bool) -> None:
        uno_id = 100 if shared else GATEWAYS.index(name)
        readings = [reading(uno_id, self.counter + number, self.counter) for number in range(count)]
        self.counter += count if not shared else 1
        for item, _ in readings:
            self.written.setdefault(item.key, name)
        self.fleet.write(name, *readings)

    @rule(one=names, other=names)
    def join(self, one: str, other: str) -> None:
        if one != other:
            self.fleet.join(one, other)

    @rule(one=names, other=names)
    def cut(self, one: str, other: str) -> None:
        self.fleet.cut(one, other)

    @rule(name=names)
    def crash(self, name: str) -> None:
        self.fleet.crash(name)

    @rule(name=names, before=st.booleans())
    def fail_at_the_next_commit(self, name: str, before: bool) -> None:
        self.fleet.stores[name].fails_before = before
        self.fleet.stores[name].cut_after = not before

    @precondition(lambda self: self.fleet.wires)
    @rule(steps=st.integers(1, 10))
    def deliver(self, steps: int) -> None:
        self.fleet.deliver(steps)

    @rule(seconds=st.integers(1, 40))
    def run(self, seconds: int) -> None:
        self.fleet.run(seconds)

    def teardown(self) -> None:
        try:
            self.fleet.loss = 0.0
            for name in GATEWAYS:
                self.fleet.stores[name].fails_before = self.fleet.stores[name].cut_after = False
                self.fleet.join(name, "server")
                self.fleet.write(name)
            self.fleet.run(200)
            states = [self.fleet.state(name) for name in self.fleet.nodes]
            assert all(state == states[0] for state in states)
            frozen = self.fleet.stores["server"].frozen()
            assert frozen.keys() <= {PUBLIC["north"]}
            got = set(keys_of(self.fleet, "server"))
            for key, name in self.written.items():
                if not (PUBLIC[name] in frozen or key[0] == 100):
                    assert key in got
            self.fleet.close()
            for name in self.fleet.nodes:
                audit = verify(self.folder / f"{name}.db")
                assert audit.clean, audit.findings
        finally:
            shutil.rmtree(self.folder)


FleetMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_nodes_over_bad_links_end_with_the_same_dag = FleetMachine.TestCase
