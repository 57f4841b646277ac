from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.block import MAX_HEADS, NO_PREVIOUS, Block, Reading, frame_hash, seal
from ledger.dag import MAX_BRANCHES, MAX_WAITING_BLOCKS, Admission, Dag
from ledger.registry import Issuer, Registry
from ledger.spending import Spending
from ledger.store.sqlite import MEMORY, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence

NETWORK = b"test network 16B"
KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 5)]
PUBLIC = [bytes(key.verify_key) for key in KEYS]
STRANGER = SigningKey(b"\x09" * 32)
REGISTRY = Registry(NETWORK, 0, {key: Issuer(f"issuer {number}") for number, key in enumerate(PUBLIC)})


def leaf(uno_id: int, counter: int, received_ns: int = 0) -> bytes:
    frame = b"%d/%d" % (uno_id, counter)
    return Reading(uno_id, 1, counter, received_ns, -9000, b"plain", frame_hash(frame)).encode()


def block_of(
    key: SigningKey,
    previous: Block | None = None,
    heads: Sequence[bytes] = (),
    leaves: Sequence[bytes] = (),
    *,
    registry_epoch: int = 0,
    network: bytes = NETWORK,
    sealed_ns: int = 7,
) -> Block:
    return seal(
        key,
        network,
        seq=0 if previous is None else previous.seq + 1,
        prev=NO_PREVIOUS if previous is None else previous.hash,
        heads=heads,
        leaves=leaves,
        frontier_root=bytes(32),
        sealed_ns=sealed_ns,
        registry_epoch=registry_epoch,
    )


class Replica:
    def __init__(self, registry: Registry = REGISTRY) -> None:
        self.store = SqliteStore(MEMORY, durability="off")
        self.dag = Dag(registry, self.store, Spending())

    def admit(self, *blocks: Block) -> Admission:
        return self.dag.admit([block.raw for block in blocks])

    def state(self) -> tuple[object, ...]:
        store = self.store
        return store.heads(), list(store.readings()), store.frozen(), store.tips(), store.reading_counts()


@dataclass(frozen=True)
class World:
    """Blocks, parents first, of which issuer 0 may have signed several with one seq."""

    blocks: list[Block]

    def expected_forks(self) -> dict[bytes, int]:
        places: dict[tuple[bytes, int], set[bytes]] = {}
        for block in self.blocks:
            places.setdefault((block.issuer, block.seq), set()).add(block.hash)
        forks: dict[bytes, int] = {}
        for (issuer, seq), hashes in places.items():
            if len(hashes) > 1:
                forks[issuer] = min(seq, forks.get(issuer, seq))
        return forks

    def counting(self) -> dict[bytes, Block]:
        """What counts, by the definition: the past of all that was written in good standing."""
        forks = self.expected_forks()
        by_hash = {block.hash: block for block in self.blocks}
        todo = [b.hash for b in self.blocks if b.seq < forks.get(b.issuer, b.seq + 1)]
        counting: dict[bytes, Block] = {}
        while todo:
            block = by_hash[todo.pop()]
            if block.hash not in counting:
                counting[block.hash] = block
                todo += block.header.parents
        return counting

    def expected_heads(self) -> list[bytes]:
        counting = self.counting()
        built_on = {parent for block in counting.values() for parent in block.header.parents}
        return sorted(counting.keys() - built_on)

    def expected_readings(self) -> list[Reading]:
        chosen: dict[tuple[int, int, int], tuple[bytes, Reading]] = {}
        for block in self.counting().values():
            for reading in block.readings:
                have = chosen.get(reading.key)
                if have is None or block.hash < have[0]:
                    chosen[reading.key] = (block.hash, reading)
        return [chosen[key][1] for key in sorted(chosen)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    issuer_count = draw(st.integers(2, 4))
    blocks: list[Block] = []
    own: list[list[Block]] = [[] for _ in range(issuer_count)]
    for number in range(draw(st.integers(1, 14))):
        who = draw(st.integers(0, issuer_count - 1))
        mine = own[who]
        previous = mine[-1] if mine else None
        if who == 0 and mine and draw(st.booleans()):
            previous = draw(st.sampled_from([None, *mine]))
        foreign = [block.hash for block in blocks if block.issuer != PUBLIC[who]]
        heads = draw(st.lists(st.sampled_from(foreign), unique=True, max_size=3)) if foreign else []
        leaves = [leaf(draw(st.integers(1, 3)), draw(st.integers(0, 5)), received_ns=number)]
        block = block_of(KEYS[who], previous, heads, leaves, sealed_ns=number)
        blocks.append(block)
        mine.append(block)
    return World(blocks)


@given(world=worlds(), data=st.data())
@settings(max_examples=120, deadline=None)
def test_merge_does_not_depend_on_order_losses_or_repeats(world: World, data: st.DataObject) -> None:
    replica = Replica()
    deliveries = data.draw(st.lists(st.sampled_from(world.blocks), max_size=20))
    # What was lost on the way is offered again, in yet another order.
    deliveries += data.draw(st.permutations(world.blocks))
    batch_size = data.draw(st.integers(1, 5))
    for start in range(0, len(deliveries), batch_size):
        admission = replica.admit(*deliveries[start : start + batch_size])
        assert not admission.rejected
    assert replica.dag.waiting_count == 0
    assert replica.store.frozen() == world.expected_forks()
    assert replica.store.heads() == world.expected_heads()
    assert list(replica.store.readings()) == world.expected_readings()
    assert {block.hash for block in replica.store.blocks()} == {block.hash for block in world.blocks}
    in_order = Replica()
    in_order.admit(*world.blocks)
    assert in_order.state() == replica.state()
    before = replica.state()
    replica.store.reindex()
    assert replica.state() == before
    replica.store.close()
    in_order.store.close()


def refusals(admission: Admission) -> list[str]:
    return [rejected.reason for rejected in admission.rejected]


def test_age_plays_no_part() -> None:
    replica = Replica()
    old = block_of(KEYS[0], leaves=[leaf(1, 0)], sealed_ns=0)
    young = block_of(KEYS[1], heads=[], leaves=[leaf(2, 0)], sealed_ns=2**62)
    assert len(replica.admit(young, old).stored) == 2


def test_what_is_refused_and_that_nothing_of_it_is_stored() -> None:
    replica = Replica()
    first = block_of(KEYS[0], leaves=[leaf(1, 0)])
    assert refusals(replica.admit(block_of(STRANGER))) == ["stranger"]
    assert refusals(replica.admit(block_of(KEYS[0], network=b"another network!"))) == ["bad_signature"]
    assert refusals(replica.admit(block_of(KEYS[0], registry_epoch=1))) == ["registry_ahead"]
    assert refusals(replica.dag.admit([b"\xff" * 10, b"", first.raw[:-1]])) == ["malformed_block"] * 3
    altered = bytearray(first.raw)
    altered[-1] ^= 1
    assert refusals(replica.dag.admit([bytes(altered)])) == ["bad_batch"]
    assert list(replica.store.blocks()) == []
    assert not replica.admit(first).rejected
    other = block_of(KEYS[1])
    replica.admit(other)
    # A prev that is known, but is not the issuer's own block before.
    assert refusals(replica.admit(block_of(KEYS[0], other))) == ["broken_chain"]
    second = block_of(KEYS[0], first)
    replica.admit(second)
    assert refusals(replica.admit(block_of(KEYS[0], second, heads=[first.hash]))) == ["own_head"]
    assert len(list(replica.store.blocks())) == 3


def test_a_revoked_issuer_cannot_build_on_what_is_newer_than_its_revocation() -> None:
    issuers = {PUBLIC[0]: Issuer("revoked", until_epoch=3), PUBLIC[1]: Issuer("member")}
    replica = Replica(Registry(NETWORK, 5, issuers))
    first = block_of(KEYS[0], registry_epoch=2)
    newer = block_of(KEYS[1], heads=[first.hash], registry_epoch=5)
    replica.admit(first, newer)
    (rejected,) = replica.admit(block_of(KEYS[0], first, heads=[newer.hash], registry_epoch=2)).rejected
    assert rejected.reason == "backdated"
    assert rejected.detail.endswith("sealed under registry epoch 2, but builds on a block of epoch 5")
    # Nothing tells these from blocks that were long under way.
    assert len(replica.admit(block_of(KEYS[0], first, registry_epoch=2)).stored) == 1


@st.composite
def chains_under_several_epochs(draw: st.DrawFn) -> list[Block]:
    blocks: list[Block] = []
    last: dict[int, Block] = {}
    for _ in range(draw(st.integers(1, 12))):
        who = draw(st.integers(0, 2))
        foreign = [block.hash for block in blocks if block.issuer != PUBLIC[who]]
        heads = draw(st.lists(st.sampled_from(foreign), unique=True, max_size=3)) if foreign else []
        last[who] = block_of(KEYS[who], last.get(who), heads, registry_epoch=draw(st.integers(0, 2)))
        blocks.append(last[who])
    return blocks


@given(blocks=chains_under_several_epochs(), data=st.data())
@settings(deadline=None)
def test_epochs_never_fall_from_parent_to_child_however_blocks_arrive(
    blocks: list[Block], data: st.DataObject
) -> None:
    epochs: dict[bytes, int] = {}
    for block in blocks:
        parents, epoch = block.header.parents, block.header.registry_epoch
        if all(epochs.get(parent, epoch + 1) <= epoch for parent in parents):
            epochs[block.hash] = epoch
    replica = Replica(Registry(NETWORK, 2, REGISTRY.issuers))
    deliveries = data.draw(st.permutations(blocks))
    batch_size = data.draw(st.integers(1, len(blocks)))
    for start in range(0, len(deliveries), batch_size):
        assert set(refusals(replica.admit(*deliveries[start : start + batch_size]))) <= {"backdated"}
    assert {block.hash for block in replica.store.blocks()} == epochs.keys()
    replica.store.close()


@pytest.mark.parametrize("batch_size", [1, 50, 200])
def test_branches_are_bounded_however_many_come_at_once(batch_size: int) -> None:
    replica = Replica()
    roots = [block_of(KEYS[0], sealed_ns=number) for number in range(200)]
    reasons = []
    for start in range(0, len(roots), batch_size):
        reasons += refusals(replica.admit(*roots[start : start + batch_size]))
    assert reasons == ["too_many_branches"] * (len(roots) - MAX_BRANCHES)
    assert {block.hash for block in replica.store.blocks()} == {block.hash for block in roots[:MAX_BRANCHES]}
    # Another issuer's branches are its own.
    assert not replica.admit(block_of(KEYS[1], sealed_ns=1), block_of(KEYS[1], sealed_ns=2)).rejected


def test_a_branch_that_grows_is_one_branch() -> None:
    replica = Replica()
    left, right = ([block_of(KEYS[0], sealed_ns=number)] for number in (1, 2))
    for chain in (left, right):
        while len(chain) < 2 * MAX_BRANCHES:
            chain.append(block_of(KEYS[0], chain[-1], sealed_ns=chain[0].header.sealed_ns))
    half = MAX_BRANCHES
    for batch in (left[:half] + right[:half], right[half:] + left[half:]):
        assert len(replica.admit(*batch).stored) == len(batch)


def test_blocks_wait_for_parents_within_bounds() -> None:
    replica = Replica()
    chain = [block_of(KEYS[0])]
    for _ in range(MAX_WAITING_BLOCKS + 5):
        chain.append(block_of(KEYS[0], chain[-1]))
    admission = replica.admit(*chain[1:])
    assert refusals(admission) == ["waiting_full"] * 5
    assert admission.lacks_parents
    # Another issuer's room is its own.
    other = block_of(KEYS[1])
    assert not replica.admit(block_of(KEYS[1], other)).rejected
    assert len(replica.admit(chain[0]).stored) == MAX_WAITING_BLOCKS + 1
    assert replica.dag.waiting_count == 1


def test_a_fork_voids_what_nobody_in_good_standing_built_on() -> None:
    replica = Replica()
    root = block_of(KEYS[0], leaves=[leaf(1, 0)])
    left = block_of(KEYS[0], root, leaves=[leaf(1, 1)])
    right = block_of(KEYS[0], root, leaves=[leaf(1, 2)])
    beyond = block_of(KEYS[0], left, leaves=[leaf(1, 3)])
    honest = block_of(KEYS[1], heads=[left.hash], leaves=[leaf(2, 0)])
    replica.admit(root, left, beyond)
    assert replica.store.has_reading(1, 1, 3) is not None
    frozen = replica.admit(right).frozen
    assert [(event.issuer, event.seq) for event in frozen] == [(PUBLIC[0], 1)]
    assert replica.store.heads() == [root.hash]
    assert [reading.counter for reading in replica.store.readings()] == [0]
    assert replica.store.has_reading(1, 1, 3) is None
    assert replica.store.reading_counts().void == 3
    replica.admit(honest)
    assert replica.store.heads() == [honest.hash]
    assert [reading.key for reading in replica.store.readings()] == [(1, 1, 0), (1, 1, 1), (2, 1, 0)]
    assert {block.hash for block in replica.store.blocks()} == {
        block.hash for block in (root, left, right, beyond, honest)
    }
    assert not replica.store.heads_to_merge(PUBLIC[1], MAX_HEADS)


def test_a_fraud_proof_is_enough_to_freeze() -> None:
    replica = Replica()
    root = block_of(KEYS[0], leaves=[leaf(1, 0)])
    left, right = block_of(KEYS[0], root, sealed_ns=1), block_of(KEYS[0], root, sealed_ns=2)
    replica.admit(root, left)
    pair = (left.signed.raw, right.signed.raw)
    assert refusals(replica.dag.admit_proofs([(left.signed.raw, left.signed.raw)])) == ["malformed_proof"]
    foreign = block_of(KEYS[0], root, sealed_ns=2, network=b"another network!")
    assert refusals(replica.dag.admit_proofs([(left.signed.raw, foreign.signed.raw)])) == ["bad_proof"]
    assert replica.store.frozen() == {}
    assert replica.dag.admit_proofs([pair]).frozen
    assert not replica.dag.admit_proofs([pair]).frozen
    assert replica.store.heads() == [root.hash]
    proof = replica.store.fraud_proof(PUBLIC[0])
    assert proof is not None
    assert proof.holds(NETWORK)


def test_the_same_reading_from_two_gateways_is_yielded_once_and_counted() -> None:
    replica = Replica()
    one = block_of(KEYS[0], leaves=[leaf(1, 0, received_ns=1), leaf(1, 1)])
    two = block_of(KEYS[1], leaves=[leaf(1, 0, received_ns=2)])
    contradicting = Reading(1, 1, 1, 0, 0, b"other", frame_hash(b"other")).encode()
    three = block_of(KEYS[2], leaves=[contradicting])
    replica.admit(one, two, three)
    readings = list(replica.store.readings())
    assert [reading.counter for reading in readings] == [0, 1]
    assert readings[0].received_ns == (1 if one.hash < two.hash else 2)
    counts = replica.store.reading_counts()
    assert (counts.readings, counts.duplicates, counts.conflicts) == (2, 2, 1)
    assert [reading.counter for reading in replica.store.readings(issuer=PUBLIC[1])] == [0]
