"""The gateway: radio frames in, acknowledgements out, batches into blocks. No input or output of its own.

An acknowledgement tells an Uno to forget the frame. It is therefore returned only after the store has said
that the reading is durable; a store that fails, or a crash at any point, leads to no acknowledgement and so
to a repeat by the Uno. The gateway itself never sends anything twice of its own accord.

Sealing waits for a `Tick`, so that no acknowledgement waits for a signature; a full batch asks for one at
once.
"""

from __future__ import annotations

import collections
import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from ledger.block import MAX_BATCH, Reading, frame_hash
from ledger.effects import (
    BlockStored,
    Effect,
    NodeEffect,
    Operation,
    ReadingStored,
    Rejected,
    Spent,
    Transmit,
    WakeAt,
)
from ledger.frame import FrameError, FrameId, data_frame_id, open_frame, seal_ack
from ledger.messages import FrameReceived, Message, NodeMessage, Tick
from ledger.spending import BLAKE2B_BLOCK_BYTES
from ledger.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MeterKeys(Protocol):
    """Which meters belong to this gateway (`ledger.registry.Registry`)."""

    def meter_key(self, uno_id: int) -> bytes | None:
        """The Ascon key of a meter, None for a stranger."""


class ReadingStore(Protocol):
    """What the gateway needs of the store (`ledger.store.Store`). Everything may raise StoreError."""

    def has_reading(self, uno_id: int, boot_epoch: int, counter: int) -> bytes | None:
        """The hash of the frame that brought this reading, None when there is no such reading."""

    def add_pending(self, reading: Reading, frame: bytes) -> None:
        """Stores a reading, durable when it returns."""

    def pending(self, limit: int) -> list[Reading]:
        """Readings that are in no block yet."""


class BlockNode(Protocol):
    """What the gateway needs of its node (`ledger.node.Node`)."""

    def handle(self, message: NodeMessage, now_ns: int) -> Sequence[NodeEffect]:
        """Handles what concerns peers and time."""

    def seal_block(self, now_ns: int) -> Sequence[NodeEffect]:
        """Makes a block of pending readings."""


@dataclass(frozen=True, slots=True)
class BatchRule:
    """A batch is sealed when it holds `readings` readings, or when its oldest one has waited `age_ns`."""

    readings: int = 64
    age_ns: int = 60_000_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.readings <= MAX_BATCH:
            raise ValueError(f"a batch holds 1 to {MAX_BATCH} readings, not {self.readings}")
        if self.age_ns < 0:
            raise ValueError(f"the age of a batch must not be negative, it is {self.age_ns} ns")


class Refusal(enum.StrEnum):
    """Why the gateway itself refuses a frame, beside the reasons of `ledger.frame.Reason`."""

    UNKNOWN_METER = "unknown_meter"
    NONCE_REUSED = "nonce_reused"
    """Authentic, but other content with this boot epoch and counter is stored: meter or key is broken."""
    STORE_FAILED = "store_failed"
    """Not stored, so not acknowledged: the Uno keeps the frame and repeats it."""


SHORTEST_RETRY_NS = 1_000_000_000

RECEIVED = "received"
STORED = "stored"
REPEAT = "repeat"


class Gateway:
    """The state machine of one gateway. Give it a `Tick` after construction: readings may wait from before.

    `counts` holds `received`, `stored`, `repeat` and one entry per reason of refusal; the first is the sum of
    the others. Raises StoreError when the store cannot even be read at the start.
    """

    def __init__(
        self, node: BlockNode, registry: MeterKeys, store: ReadingStore, batch: BatchRule | None = None
    ) -> None:
        self._node = node
        self._registry = registry
        self._store = store
        self._batch = batch or BatchRule()
        self._counts: collections.Counter[str] = collections.Counter()
        self._node_wake_ns: int | None = None
        self._announced_ns: int | None = None
        self._seal_due_ns: int | None = None
        # What was left from before is sealed at the first tick, whatever its age.
        self._pending = len(store.pending(self._batch.readings))
        if self._pending:
            self._seal_due_ns = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """How many frames came in, and what became of them."""
        return MappingProxyType(self._counts)

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        """Takes what happened at `now_ns`; returns what follows, in the order to be carried out."""
        effects: list[Effect]
        match message:
            case FrameReceived():
                effects = self._receive(message, now_ns)
            case Tick():
                self._announced_ns = None
                effects = [*self._ask_node(message, now_ns), *self._seal(now_ns)]
            case _:
                effects = list(self._ask_node(message, now_ns))
        return self._with_one_wake(effects)

    def _receive(self, message: FrameReceived, now_ns: int) -> list[Effect]:
        self._counts[RECEIVED] += 1
        effects: list[Effect] = []
        try:
            outcome = self._admit(message, now_ns, effects)
        except FrameError as error:
            outcome = self._refuse(error.reason, str(error), effects)
        except StoreError as error:
            outcome = self._refuse(Refusal.STORE_FAILED, f"frame not acknowledged: {error}", effects)
            # It may have been stored all the same: then it waits in the store without being counted here.
            self._expect_seal(now_ns + self._retry_ns)
        self._counts[outcome] += 1
        return effects

    def _admit(self, message: FrameReceived, now_ns: int, effects: list[Effect]) -> str:
        payload = message.payload
        frame_id = data_frame_id(payload)
        key = self._registry.meter_key(frame_id.uno_id)
        if key is None:
            return self._refuse(
                Refusal.UNKNOWN_METER, f"Uno {frame_id.uno_id} is not in the registry", effects
            )
        identity = (frame_id.uno_id, frame_id.boot_epoch, frame_id.counter)
        payload_hash = frame_hash(payload)
        effects.append(Spent(Operation.BLAKE2B, -(-len(payload) // BLAKE2B_BLOCK_BYTES)))
        known_hash = self._store.has_reading(*identity)
        if known_hash == payload_hash:
            effects.append(ReadingStored(*identity, repeat=True))
            self._acknowledge(key, frame_id, effects)
            return REPEAT
        effects.append(Spent(Operation.ASCON_OPEN, 1))
        frame = open_frame(key, payload)
        if known_hash is not None:
            return self._refuse(
                Refusal.NONCE_REUSED, f"{frame_id} is stored already with other content", effects
            )
        reading = Reading(*identity, now_ns, message.rssi_cdbm, frame.plaintext, payload_hash)
        self._store.add_pending(reading, payload)
        effects += (Spent(Operation.COMMIT, 1), ReadingStored(*identity, repeat=False))
        self._acknowledge(key, frame_id, effects)
        self._pending += 1
        full = self._pending >= self._batch.readings
        self._expect_seal(now_ns if full else now_ns + self._batch.age_ns)
        return STORED

    @property
    def _retry_ns(self) -> int:
        """How long to leave a store or node alone that has failed: asking again at once mends nothing."""
        return max(self._batch.age_ns, SHORTEST_RETRY_NS)

    def _expect_seal(self, due_ns: int) -> None:
        if self._seal_due_ns is None or due_ns < self._seal_due_ns:
            self._seal_due_ns = due_ns

    def _acknowledge(self, key: bytes, frame_id: FrameId, effects: list[Effect]) -> None:
        acknowledgement = seal_ack(key, frame_id)
        effects += (Spent(Operation.ASCON_TAG, 1), Transmit(acknowledgement))

    def _refuse(self, reason: str, detail: str, effects: list[Effect]) -> str:
        effects.append(Rejected(reason, detail))
        return reason

    def _seal(self, now_ns: int) -> list[Effect]:
        if self._seal_due_ns is None or now_ns < self._seal_due_ns:
            return []
        effects: list[Effect] = []
        sealed = failed = False
        try:
            if self._store.pending(1):
                effects += self._node.seal_block(now_ns)
                sealed = any(isinstance(effect, BlockStored) and effect.own for effect in effects)
            self._count_pending(now_ns)
        except StoreError as error:
            failed = True
            what = "a block was sealed, but the store fails" if sealed else "no block sealed"
            effects.append(Rejected(Refusal.STORE_FAILED, f"{what}: {error}"))
        if failed or (not sealed and self._pending):
            self._seal_due_ns = now_ns + self._retry_ns
        return effects

    def _count_pending(self, now_ns: int) -> None:
        waiting = self._store.pending(self._batch.readings)
        self._pending = len(waiting)
        self._seal_due_ns = None
        if self._pending == self._batch.readings:
            self._expect_seal(now_ns)
        elif waiting:
            # A clock that ran ahead and was set back must not hold readings up for longer than the rule says.
            oldest_ns = min(now_ns, *(reading.received_ns for reading in waiting))
            self._expect_seal(max(oldest_ns + self._batch.age_ns, now_ns))

    def _ask_node(self, message: NodeMessage, now_ns: int) -> Sequence[NodeEffect]:
        if self._node_wake_ns is not None and self._node_wake_ns <= now_ns and isinstance(message, Tick):
            self._node_wake_ns = None
        return self._node.handle(message, now_ns)

    def _with_one_wake(self, effects: list[Effect]) -> list[Effect]:
        """Node and gateway share one alarm clock: the earlier wish is announced, and only when it changed."""
        for effect in effects:
            if isinstance(effect, WakeAt):
                self._node_wake_ns = effect.t_ns
        merged: list[Effect] = [effect for effect in effects if not isinstance(effect, WakeAt)]
        wishes = [wish for wish in (self._node_wake_ns, self._seal_due_ns) if wish is not None]
        if wishes and min(wishes) != self._announced_ns:
            self._announced_ns = min(wishes)
            merged.append(WakeAt(self._announced_ns))
        return merged
