"""A node of the ledger: seals its own pending readings into blocks and exchanges blocks with its peers.

A node does no input or output but to its store; see :mod:`ledger.messages` and :mod:`ledger.effects`. All its
state that matters is in the store, so a node made anew on the same store goes on where the other was stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger import merkle
from ledger.block import MAX_BATCH, MAX_BLOCK_BYTES, MAX_HEADS, MAX_SIGNED_BYTES, NO_PREVIOUS, Block, seal
from ledger.dag import Dag
from ledger.effects import BlockStored, NodeEffect, Operation, Rejected, WakeAt
from ledger.messages import FromPeer, NodeMessage, PeerDown, PeerUp, Tick
from ledger.spending import Spending
from ledger.store import StoreError
from ledger.sync import Sync

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nacl.signing import SigningKey

    from ledger.block import Reading
    from ledger.registry import Registry
    from ledger.store import Store

_LEAF_HEAD_BYTES = 3
_BATCH_BYTES = MAX_BLOCK_BYTES - MAX_SIGNED_BYTES - 16


class Node:
    """One member of the network.

    ``signing_key`` is None for a node that only keeps and passes on blocks. Raises StoreError when the store
    belongs to another network or knows a newer registry.
    """

    def __init__(self, signing_key: SigningKey | None, registry: Registry, store: Store) -> None:
        self._signing_key = signing_key
        self._store = store
        self._spending = Spending()
        self._dag = Dag(registry, store, self._spending)
        self._sync = Sync(self._dag, store, self._spending)
        self._told_wake_ns: int | None = None
        store.put_registry(registry)

    @property
    def public_key(self) -> bytes | None:
        """The issuer that this node writes as."""
        return None if self._signing_key is None else bytes(self._signing_key.verify_key)

    @property
    def registry(self) -> Registry:
        """Who may write."""
        return self._dag.registry

    @property
    def store(self) -> Store:
        """Where the blocks are."""
        return self._store

    @property
    def waiting_count(self) -> int:
        """How many blocks wait for their parents."""
        return self._dag.waiting_count

    @property
    def wake_ns(self) -> int | None:
        """When the next ``Tick`` is wanted: what the last ``WakeAt`` said."""
        return self._sync.wake_ns

    def handle(self, message: NodeMessage, now_ns: int) -> list[NodeEffect]:
        """Take in what happened and return what follows from it.

        A store that fails gives a ``Rejected("store", ...)``: what it did not take, peers will offer again.
        """
        effects: list[NodeEffect] = []
        try:
            match message:
                case Tick():
                    effects += self._sync.tick(now_ns)
                case PeerUp(peer):
                    effects += self._sync.peer_up(peer, now_ns)
                case PeerDown(peer):
                    self._sync.peer_down(peer)
                case FromPeer(peer, payload):
                    effects += self._sync.receive(peer, payload, now_ns)
        except StoreError as error:
            effects.append(Rejected("store", str(error)))
        return effects + self._closing_effects()

    def seal_block(self, now_ns: int) -> list[NodeEffect]:
        """Put pending readings, as many as fit, into a signed block, store it and send it to the peers.

        Returns nothing when there are none. Raises StoreError; the readings are pending still.
        """
        if self._signing_key is None or not self.registry.may_issue(bytes(self._signing_key.verify_key)):
            return [Rejected("not_enrolled", "this node's key may not write: enrol it in the registry")]
        issuer = bytes(self._signing_key.verify_key)
        if issuer in self._store.frozen():
            return [
                Rejected("own_key_frozen", "this node's key signed twice at one seq: enrol it with a new key")
            ]
        leaves = _leaves_that_fit(self._store.pending(MAX_BATCH))
        if not leaves:
            return []
        tip = self._store.tips().get(issuer, [None])[-1]
        frontier = self._store.frontier()
        block = seal(
            self._signing_key,
            self.registry.network,
            seq=0 if tip is None else tip.seq + 1,
            prev=NO_PREVIOUS if tip is None else tip.hash,
            heads=self._store.heads_to_merge(issuer, MAX_HEADS),
            leaves=leaves,
            frontier_root=frontier_root(frontier),
            sealed_ns=now_ns,
            registry_epoch=self.registry.epoch,
        )
        self._store.put_own_block(block)
        self._charge_seal(block, issuers=len(frontier))
        effects: list[NodeEffect] = [
            BlockStored(block.hash, block.issuer, block.seq, len(block.leaves), own=True)
        ]
        effects += self._sync.spread(None, now_ns)
        return effects + self._closing_effects()

    def _charge_seal(self, block: Block, issuers: int) -> None:
        self._spending.charge(Operation.ED25519_SIGN)
        self._spending.charge(Operation.BLOCK_ENCODE, len(block.raw))
        self._spending.charge(Operation.COMMIT)
        self._spending.charge_blake2b(len(block.signed.raw))
        for leaf in block.leaves:
            self._spending.charge_blake2b(len(leaf) + 1)
        self._spending.charge_blake2b(65, len(block.leaves) - 1)
        self._spending.charge_blake2b(65, max(0, 2 * issuers - 1))

    def _closing_effects(self) -> list[NodeEffect]:
        effects: list[NodeEffect] = [*self._spending.effects()]
        wake_ns = self._sync.wake_ns
        if wake_ns is not None and wake_ns != self._told_wake_ns:
            effects.append(WakeAt(wake_ns))
        self._told_wake_ns = wake_ns
        return effects


def frontier_root(frontier: Mapping[bytes, int]) -> bytes:
    """Return the Merkle root over ``issuer || seq`` (8 bytes, big-endian) in the order of issuers."""
    return merkle.root([issuer + seq.to_bytes(8, "big") for issuer, seq in sorted(frontier.items())])


def _leaves_that_fit(readings: list[Reading]) -> list[bytes]:
    leaves: list[bytes] = []
    total_bytes = 0
    for reading in readings:
        leaf = reading.encode()
        total_bytes += len(leaf) + _LEAF_HEAD_BYTES
        if total_bytes > _BATCH_BYTES:
            break
        leaves.append(leaf)
    return leaves
