from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from ledger.block import Reading, frame_hash
from ledger.effects import SendToPeer
from ledger.messages import FromPeer, PeerDown, PeerUp, Tick
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = b"test network 16B"
SECOND_NS = 1_000_000_000
KEYS = {name: SigningKey(name.encode().ljust(32, b"\x01")) for name in ("east", "west", "north", "server")}
PUBLIC = {name: bytes(key.verify_key) for name, key in KEYS.items()}
REGISTRY = Registry(NETWORK, 1, {PUBLIC[name]: Issuer(name) for name in KEYS})


def reading(uno_id: int, counter: int, received_ns: int = 5) -> tuple[Reading, bytes]:
    frame = b"frame %d %d" % (uno_id, counter)
    plaintext = counter.to_bytes(21, "big")
    return Reading(uno_id, 1, counter, received_ns, -9000, plaintext, frame_hash(frame)), frame


class Fleet:
    """Nodes on real SQLite files, joined by links that a test may cut and that may lose messages."""

    def __init__(self, folder: Path, names: list[str], seed: int = 0, loss: float = 0.0) -> None:
        self.folder = folder
        self.now_ns = SECOND_NS
        self.loss = loss
        self.random = random.Random(seed)
        self.stores: dict[str, SqliteStore] = {}
        self.nodes: dict[str, Node] = {}
        self.links: set[frozenset[str]] = set()
        self.wires: list[tuple[str, str, bytes]] = []
        self.effects: dict[str, list[object]] = {name: [] for name in names}
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        self.stores[name] = SqliteStore(self.folder / f"{name}.db", durability="off")
        self.nodes[name] = Node(KEYS[name], REGISTRY, self.stores[name])

    def crash(self, name: str) -> None:
        self.wires = [wire for wire in self.wires if name not in wire[:2]]
        self.stores[name].close()
        self.start(name)
        for link in self.links:
            if name in link:
                (other,) = link - {name}
                self.carry_out(name, self.nodes[name].handle(PeerUp(other), self.now_ns))

    def join(self, one: str, other: str) -> None:
        if frozenset((one, other)) in self.links:
            return
        self.links.add(frozenset((one, other)))
        for name, peer in ((one, other), (other, one)):
            self.carry_out(name, self.nodes[name].handle(PeerUp(peer), self.now_ns))

    def cut(self, one: str, other: str) -> None:
        if frozenset((one, other)) not in self.links:
            return
        self.links.discard(frozenset((one, other)))
        self.wires = [wire for wire in self.wires if {one, other} != set(wire[:2])]
        for name, peer in ((one, other), (other, one)):
            self.carry_out(name, self.nodes[name].handle(PeerDown(peer), self.now_ns))

    def write(self, name: str, *readings: tuple[Reading, bytes]) -> None:
        for item, frame in readings:
            if self.stores[name].has_reading(*item.key) is None:
                self.stores[name].add_pending(item, frame)
        self.carry_out(name, self.nodes[name].seal_block(self.now_ns))

    def carry_out(self, name: str, effects: object) -> None:
        assert isinstance(effects, list)
        self.effects[name] += effects
        for effect in effects:
            if isinstance(effect, SendToPeer) and frozenset((name, effect.peer)) in self.links:
                self.wires.append((name, effect.peer, effect.payload))

    def deliver(self, steps: int = 10_000) -> None:
        for _ in range(steps):
            if not self.wires:
                return
            place = self.random.randrange(len(self.wires)) if self.loss else 0
            source, target, payload = self.wires.pop(place)
            chance = self.random.random()
            if chance < self.loss:
                continue
            if chance > 1 - self.loss / 2:
                self.wires.append((source, target, payload))
            self.carry_out(target, self.nodes[target].handle(FromPeer(source, payload), self.now_ns))
        raise AssertionError("the nodes do not stop talking")

    def run(self, seconds: int) -> None:
        until_ns = self.now_ns + seconds * SECOND_NS
        while True:
            self.deliver()
            due = [wake for node in self.nodes.values() if (wake := node.wake_ns) is not None]
            if not due or min(due) > until_ns:
                break
            self.now_ns = max(self.now_ns, min(due))
            for name, node in self.nodes.items():
                self.carry_out(name, node.handle(Tick(), self.now_ns))
        self.now_ns = until_ns

    def state(self, name: str) -> tuple[object, ...]:
        store = self.stores[name]
        return (store.heads(), list(store.readings()), store.tips(), store.frozen())

    def close(self) -> None:
        for store in self.stores.values():
            store.close()


def test_two_gateways_write_at_once_cut_off_and_joined_again(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ["east", "west"])
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
    assert [item.key for item in fleet.stores["east"].readings()] == [
        (uno, 1, counter) for uno in (1, 2) for counter in range(20)
    ]
    fleet.write("east", reading(1, 20))
    fleet.run(1)
    (head,) = fleet.stores["west"].heads()
    assert fleet.stores["west"].place(head) == (PUBLIC["east"], 20)
