"""The work that is measured: the ledger's own code paths on made-up input, the same in every run.

A gateway and a server hold their blocks in real store files. Frames come in and are acknowledged; blocks of
several sizes are sealed by the one and admitted by the other, over the messages that they would send each
other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nacl.bindings import crypto_sign
from nacl.signing import SigningKey

from ledger import merkle
from ledger.block import SIGNATURE_DOMAIN, Block, Reading, frame_hash
from ledger.effects import BlockStored, SendToPeer
from ledger.frame import FrameId, Snapshot, Status, open_frame, seal_ack, seal_frame
from ledger.gateway.gateway import BatchRule, Gateway
from ledger.measure.timing import Task
from ledger.messages import FrameReceived, FromPeer, PeerUp
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ledger.effects import Effect

BLOCK_SIZES: Final = (1, 16, 64)
"""Readings in a block; the last is what a gateway seals under load, and the one that costs are derived
from.
"""

FRAMES_PER_BATCH: Final = 32
PULSE_COUNTERS: Final = 4

_NETWORK: Final = b"a measured network"[:16]
_METER_KEY: Final = bytes(range(16))
_UNOS: Final = 8
_SECOND_NS: Final = 1_000_000_000
_FIRST_NS: Final = 1_700_000_000 * _SECOND_NS
_KEYS: Final = {name: SigningKey(name.encode().ljust(32, b"\x2a")) for name in ("gateway", "server")}
_REGISTRY: Final = Registry(
    _NETWORK,
    0,
    {bytes(key.verify_key): Issuer(name) for name, key in _KEYS.items()},
    dict.fromkeys(range(_UNOS), _METER_KEY),
)
_NEVER: Final = BatchRule(readings=256, age_ns=365 * 86_400 * _SECOND_NS)
_SEAL_ABOVE: Final = 128


class Meters:
    """Frames of Unos with four pulse inputs, no two the same."""

    def __init__(self) -> None:
        self._next = 0

    def frame(self) -> tuple[FrameId, bytes, bytes]:
        """Return the next frame: its identity, plaintext and bytes on air."""
        counter, uno_id = divmod(self._next, _UNOS)
        self._next += 1
        frame_id = FrameId(uno_id, 1, counter)
        pulses = tuple(1000 * (channel + 1) + counter for channel in range(PULSE_COUNTERS))
        plaintext = Snapshot(Status.POWER_ON, 0, 0, (), pulses).encode()
        return frame_id, plaintext, seal_frame(_METER_KEY, frame_id, plaintext)

    def reading(self) -> tuple[Reading, bytes]:
        """Return the next frame as its gateway understands it, and the frame itself.

        Its ciphertext is not a real one, for nothing looks into it any more.
        """
        counter, uno_id = divmod(self._next, _UNOS)
        self._next += 1
        header = FrameId(uno_id, 1, counter)
        frame = b"%05d%010d".ljust(48, b".") % (uno_id, counter)
        pulses = tuple(1000 * (channel + 1) + counter for channel in range(PULSE_COUNTERS))
        plaintext = Snapshot(Status.POWER_ON, 0, 0, (), pulses).encode()
        received_ns = _FIRST_NS + self._next * _SECOND_NS
        return (
            Reading(header.uno_id, 1, counter, received_ns, -9_000, plaintext, frame_hash(frame)),
            frame,
        )


class FrameIntake:
    """A gateway that takes in frames on a store of its own, with durable commits."""

    def __init__(self, folder: Path) -> None:
        self._meters = Meters()
        self._store = SqliteStore(folder / "frames.db", "full")
        self._node = Node(_KEYS["gateway"], _REGISTRY, self._store)
        self._gateway = Gateway(self._node, _REGISTRY, self._store, _NEVER)
        self._now_ns = _FIRST_NS
        self._last: list[bytes] = []

    def stored(self) -> Callable[[], Sequence[Effect]]:
        """Make ready to receive new frames: each is opened, stored and acknowledged."""
        if self._store.pending_count() > _SEAL_ABOVE:
            self._node.seal_block(self._now_ns)
        self._last = [self._meters.frame()[2] for _ in range(FRAMES_PER_BATCH)]
        return self._received(self._last)

    def repeated(self) -> Callable[[], Sequence[Effect]]:
        """Make ready to receive again the frames that were stored last."""
        return self._received(self._last)

    def _received(self, frames: Sequence[bytes]) -> Callable[[], Sequence[Effect]]:
        messages = [FrameReceived(frame, -9_000, 500) for frame in frames]
        self._now_ns += _SECOND_NS
        now_ns = self._now_ns

        def run() -> Sequence[Effect]:
            handle = self._gateway.handle
            effects: list[Effect] = []
            for message in messages:
                effects += handle(message, now_ns)
            return effects

        return run

    def commit_many(self, commits: int) -> None:
        """Store frames, one durable commit each."""
        for _ in range(commits):
            self._store.add_pending(*self._meters.reading())

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


class Exchange:
    """A gateway that seals blocks and a server that admits them, joined by a link that loses nothing."""

    def __init__(self, folder: Path) -> None:
        self._meters = Meters()
        self._now_ns = _FIRST_NS
        self._stores = {name: SqliteStore(folder / f"{name}.db", "full") for name in _KEYS}
        # Filling up is not measured and need not wait for the card.
        self._filler = SqliteStore(folder / "gateway.db", "off")
        self._nodes = {name: Node(key, _REGISTRY, self._stores[name]) for name, key in _KEYS.items()}
        self._wires: list[tuple[str, bytes]] = []
        for name in self._nodes:
            self._take(name, self._nodes[name].handle(PeerUp(_other(name)), self._now_ns))
        self._settle()

    def _take(self, name: str, effects: Sequence[Effect]) -> None:
        self._wires += [
            (_other(name), effect.payload) for effect in effects if isinstance(effect, SendToPeer)
        ]

    def _settle(self) -> None:
        """Deliver all that is under way, and what follows from it."""
        while self._wires:
            target, payload = self._wires.pop(0)
            message = FromPeer(_other(target), payload)
            self._take(target, self._nodes[target].handle(message, self._now_ns))

    def _filled(self, readings: int) -> None:
        self._settle()
        self._now_ns += _SECOND_NS
        for _ in range(readings):
            self._filler.add_pending(*self._meters.reading())

    def sealed(self, readings: int) -> Callable[[], Sequence[Effect]]:
        """Make ready to seal a block of so many readings, store it, and word the message that spreads it."""
        self._filled(readings)

        def run() -> Sequence[Effect]:
            effects = self._nodes["gateway"].seal_block(self._now_ns)
            self._take("gateway", effects)
            return effects

        return run

    def admitted(self, readings: int) -> Callable[[], Sequence[Effect]]:
        """Make ready to check and store such a block at the server, and answer."""
        self._filled(readings)
        self._take("gateway", self._nodes["gateway"].seal_block(self._now_ns))
        return self._one_message("server")

    def answered(self, readings: int) -> Callable[[], Sequence[Effect]]:
        """Make ready to take the server's answer at the gateway."""
        self.admitted(readings)()
        return self._one_message("gateway")

    def _one_message(self, name: str) -> Callable[[], Sequence[Effect]]:
        ((target, payload),) = self._wires
        assert target == name, f"the message under way is for {name}"
        self._wires.clear()
        message = FromPeer(_other(name), payload)

        def run() -> Sequence[Effect]:
            effects = self._nodes[name].handle(message, self._now_ns)
            self._take(name, effects)
            return effects

        return run

    def last_block(self) -> Block:
        """Return the block that the gateway sealed last."""
        tip = self._stores["gateway"].tips()[bytes(_KEYS["gateway"].verify_key)][-1]
        block = self._stores["gateway"].block(tip.hash)
        assert block is not None, "a tip is a block"
        return block

    def close(self) -> None:
        """Let go of the stores."""
        for store in (*self._stores.values(), self._filler):
            store.close()


def _other(name: str) -> str:
    return "server" if name == "gateway" else "gateway"


def simple_tasks(block: Block) -> list[Task]:
    """Return the tasks that need no store; `block` is signed by this workload's gateway.

    They are named as :class:`ledger.effects.Operation` names them.
    """
    meters = Meters()
    frames = [meters.frame() for _ in range(8)]
    payloads = [payload for _, _, payload in frames]
    identities = [frame_id for frame_id, _, _ in frames]
    signing_key = _KEYS["gateway"]
    secret = signing_key.encode() + bytes(signing_key.verify_key)
    messages = [SIGNATURE_DOMAIN + _NETWORK + block.signed.header_raw] * 16
    leaves = block.leaves

    def open_all() -> Sequence[Effect]:
        for payload in payloads:
            open_frame(_METER_KEY, payload)
        return ()

    def tag_all() -> Sequence[Effect]:
        for frame_id in identities:
            seal_ack(_METER_KEY, frame_id)
        return ()

    def sign_all() -> Sequence[Effect]:
        for message in messages:
            crypto_sign(message, secret)
        return ()

    def verify_all() -> Sequence[Effect]:
        signed = block.signed
        for _ in messages:
            if not signed.signature_holds(_NETWORK):
                raise AssertionError("the measured block is signed by the measured key")
        return ()

    def hash_all() -> Sequence[Effect]:
        merkle.root(leaves)
        merkle.root(leaves)
        return ()

    # A tree over n leaves takes n hashes of leaves and n - 1 of nodes.
    hashes = 2 * (2 * len(leaves) - 1)
    return [
        Task("ascon_open", len(payloads), lambda: open_all),
        Task("ascon_tag", len(identities), lambda: tag_all),
        Task("ed25519_sign", len(messages), lambda: sign_all),
        Task("ed25519_verify", len(messages), lambda: verify_all),
        Task("blake2b", hashes, lambda: hash_all),
    ]


def store_tasks(intake: FrameIntake, exchange: Exchange) -> list[Task]:
    """Return the tasks on store files: whole frames, and whole blocks of each size on both sides."""
    tasks = [
        Task("frame_stored", FRAMES_PER_BATCH, intake.stored),
        Task("frame_repeated", FRAMES_PER_BATCH, intake.repeated),
    ]
    for size in BLOCK_SIZES:
        repeats = 2 if size < BLOCK_SIZES[-1] else 1
        for verb, prepare in (
            ("sealed", exchange.sealed),
            ("admitted", exchange.admitted),
            ("answered", exchange.answered),
        ):
            tasks.append(Task(f"block_{size}_{verb}", 1, _bound(prepare, size), repeats))
    return tasks


def _bound(
    prepare: Callable[[int], Callable[[], Sequence[Effect]]], size: int
) -> Callable[[], Callable[[], Sequence[Effect]]]:
    return lambda: prepare(size)


def first_block(exchange: Exchange) -> Block:
    """Seal one block of the largest size and return it."""
    effects = exchange.sealed(BLOCK_SIZES[-1])()
    assert any(isinstance(effect, BlockStored) and effect.own for effect in effects), "nothing was sealed"
    return exchange.last_block()
