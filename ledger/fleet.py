"""A fleet of nodes for tests: real stores on files, links that may lose, repeat, reorder and be cut."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from ledger.block import Block, FraudProof, Reading, frame_hash
from ledger.effects import SendToPeer
from ledger.messages import FromPeer, PeerDown, PeerUp, Tick
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store import StoreError
from ledger.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ledger.effects import NodeEffect
    from ledger.messages import NodeMessage

NETWORK = b"test network 16B"
SECOND_NS = 1_000_000_000
KEYS = {name: SigningKey(name.encode().ljust(32, b"\x01")) for name in ("east", "west", "north", "server")}
# The same key on two machines: a gateway that was put up again from an old copy of its card.
KEYS["twin"] = KEYS["north"]
PUBLIC = {name: bytes(key.verify_key) for name, key in KEYS.items()}
REGISTRY = Registry(NETWORK, 1, {PUBLIC[name]: Issuer(name) for name in KEYS})


class PowerCut(Exception):  # noqa: N818  # not an error of the program: the moment at which it stops
    """The machine stops at this point of its program."""


class FailingStore(SqliteStore):
    """A store that fails once, before or after a transaction, when armed."""

    fails_before: bool = False
    cut_after: bool = False

    def _failing(self, write: Callable[[], None]) -> None:
        if self.fails_before:
            self.fails_before = False
            raise StoreError("the disk is full")
        write()
        if self.cut_after:
            self.cut_after = False
            raise PowerCut

    def put_own_block(self, block: Block) -> None:
        """Keep a block, or fail."""
        self._failing(lambda: super(FailingStore, self).put_own_block(block))

    def put_blocks(self, blocks: Sequence[Block], proofs: Sequence[FraudProof] = ()) -> None:
        """Keep blocks, or fail."""
        self._failing(lambda: super(FailingStore, self).put_blocks(blocks, proofs))


def reading(uno_id: int, counter: int, received_ns: int = 5) -> tuple[Reading, bytes]:
    """Return a reading and its frame."""
    frame = b"frame %d %d" % (uno_id, counter)
    plaintext = counter.to_bytes(21, "big")
    return Reading(uno_id, 1, counter, received_ns, -9000, plaintext, frame_hash(frame)), frame


class Fleet:
    """Nodes on real SQLite files, joined by links that a test may cut."""

    def __init__(self, folder: Path, names: Iterable[str], seed: int = 0, loss: float = 0.0) -> None:
        self.folder = folder
        self.now_ns = SECOND_NS
        self.loss = loss
        self.random = random.Random(seed)
        self.stores: dict[str, FailingStore] = {}
        self.nodes: dict[str, Node] = {}
        self.links: set[frozenset[str]] = set()
        self.wires: list[tuple[str, str, bytes]] = []
        self.effects: dict[str, list[NodeEffect]] = {name: [] for name in names}
        self.sent_bytes = 0
        for name in self.effects:
            self._start(name)

    def _start(self, name: str) -> None:
        self.stores[name] = FailingStore(self.folder / f"{name}.db", durability="off")
        self.nodes[name] = Node(KEYS[name], REGISTRY, self.stores[name])

    def crash(self, name: str) -> None:
        """Stop a node and start it again on its store; what it had sent and not delivered is lost."""
        self.wires = [wire for wire in self.wires if name not in wire[:2]]
        self.stores[name].close()
        self._start(name)
        for link in sorted(self.links, key=sorted):
            if name in link:
                (other,) = link - {name}
                self._tell(name, PeerUp(other))

    def join(self, one: str, other: str) -> None:
        """Bring a link up."""
        if frozenset((one, other)) in self.links:
            return
        self.links.add(frozenset((one, other)))
        for name, peer in ((one, other), (other, one)):
            self._tell(name, PeerUp(peer))

    def cut(self, one: str, other: str) -> None:
        """Take a link down, with all that is on it."""
        if frozenset((one, other)) not in self.links:
            return
        self.links.discard(frozenset((one, other)))
        self.wires = [wire for wire in self.wires if {one, other} != set(wire[:2])]
        for name, peer in ((one, other), (other, one)):
            self._tell(name, PeerDown(peer))

    def write(self, name: str, *readings: tuple[Reading, bytes]) -> None:
        """Make readings pending at a node and seal them."""
        for item, frame in readings:
            if self.stores[name].has_reading(*item.key) is None:
                self.stores[name].add_pending(item, frame)
        self._do(name, lambda node: node.seal_block(self.now_ns))

    def _tell(self, name: str, message: NodeMessage) -> None:
        self._do(name, lambda node: node.handle(message, self.now_ns))

    def _do(self, name: str, action: Callable[[Node], list[NodeEffect]]) -> None:
        try:
            effects = action(self.nodes[name])
        except PowerCut:
            self.crash(name)
            return
        except StoreError:
            return
        self.effects[name] += effects
        for effect in effects:
            if isinstance(effect, SendToPeer) and frozenset((name, effect.peer)) in self.links:
                self.sent_bytes += len(effect.payload)
                self.wires.append((name, effect.peer, effect.payload))

    def deliver(self, steps: int = 20_000) -> int:
        """Deliver messages until there are none or so many are done; return how many are left."""
        for _ in range(steps):
            if not self.wires:
                break
            source, target, payload = self.wires.pop(
                self.random.randrange(len(self.wires)) if self.loss else 0
            )
            chance = self.random.random()
            if chance < self.loss:
                continue
            if chance > 1 - self.loss / 2:
                self.wires.append((source, target, payload))
            self._tell(target, FromPeer(source, payload))
        return len(self.wires)

    def run(self, seconds: int) -> None:
        """Let time pass, with every tick that the nodes ask for."""
        until_ns = self.now_ns + seconds * SECOND_NS
        while True:
            assert not self.deliver(), "the nodes do not stop talking"
            due = [wake for node in self.nodes.values() if (wake := node.wake_ns) is not None]
            if not due or min(due) > until_ns:
                break
            self.now_ns = max(self.now_ns, min(due))
            for name in self.nodes:
                self._tell(name, Tick())
        self.now_ns = until_ns

    def state(self, name: str) -> tuple[object, ...]:
        """Return what must be the same on all nodes in the end."""
        store = self.stores[name]
        blocks = sorted(block.hash for block in store.blocks())
        return store.heads(), list(store.readings()), store.tips(), store.frozen(), blocks

    def close(self) -> None:
        """Close all stores."""
        for store in self.stores.values():
            store.close()
