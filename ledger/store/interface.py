"""What a node asks of its store.

Blocks are stored as the bytes they arrived in, parents before children, and never deleted. What an issuer
wrote from its fork on is *void* as soon as the fork is known, unless an issuer in good standing had built on
it: void blocks stay as evidence, but are neither heads nor give readings. That makes :meth:`Store.heads` and
:meth:`Store.readings` depend on which blocks and forks are known, not on the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ledger.block import Block, FraudProof, Reading
    from ledger.registry import Registry


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message names the database, the cause and the mend."""


@dataclass(frozen=True, slots=True, order=True)
class Tip:
    """The last block of an issuer's chain; a forked issuer has one for each branch."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block as it lies in the store."""

    hash: bytes
    issuer: bytes
    seq: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class ReadingCounts:
    """Readings in blocks that count: different ones, further copies of them, and copies that contradict."""

    readings: int
    duplicates: int
    conflicts: int
    void: int


class Store(Protocol):
    """A node's blocks, fraud proofs, pending readings and registry. All methods may raise StoreError.

    Every method that writes is one transaction: durable and whole when it returns, without effect when it
    raises.
    """

    def close(self) -> None:
        """Let go of the database."""

    def put_registry(self, registry: Registry) -> None:
        """Keep the public part of a registry, for audits; refuse one older than what is kept."""

    def registry(self) -> Registry | None:
        """Return the newest registry kept."""

    def add_pending(self, reading: Reading, frame: bytes) -> None:
        """Keep a reading and its radio frame until a block takes it. Once durable, it may be acknowledged.

        It takes the place of a damaged reading with its key.
        """

    def pending(self, limit: int) -> list[Reading]:
        """Return the oldest pending readings; damaged ones are set aside: kept, counted, never returned."""

    def pending_count(self) -> int:
        """Return how many readings wait for a block, without those set aside."""

    def damaged_pending_count(self) -> int:
        """Return how many pending readings were found damaged, and so set aside."""

    def has_reading(self, uno_id: int, boot_epoch: int, counter: int) -> bytes | None:
        """Return the frame hash of a reading that is pending, whole, or in a block that counts, else None."""

    def put_own_block(self, block: Block) -> None:
        """Keep a block and drop its readings from the pending ones."""

    def put_blocks(self, blocks: Sequence[Block], proofs: Sequence[FraudProof] = ()) -> None:
        """Keep blocks whose parents are known or stand before them, and fraud proofs."""

    def has_block(self, block_hash: bytes) -> bool:
        """Tell whether a block is kept."""

    def block(self, block_hash: bytes) -> Block | None:
        """Return a block."""

    def place(self, block_hash: bytes) -> tuple[bytes, int] | None:
        """Return a block's issuer and seq."""

    def blocks_at(self, issuer: bytes, seq: int) -> list[bytes]:
        """Return the hashes of the blocks at one place of a chain: more than one if it forks."""

    def frontier(self) -> dict[bytes, int]:
        """Return the highest seq known of each issuer."""

    def tips(self) -> dict[bytes, list[Tip]]:
        """Return the tips of each issuer, lowest first."""

    def heads(self) -> list[bytes]:
        """Return the hashes, sorted, of the blocks that count and that no other such block builds on."""

    def heads_to_merge(self, issuer: bytes, limit: int) -> list[bytes]:
        """Return the longest-known heads of other issuers."""

    def frozen(self) -> dict[bytes, int]:
        """Return the frozen issuers, each with the lowest seq at which it is known to have signed twice."""

    def fraud_proof(self, issuer: bytes) -> FraudProof | None:
        """Return the proof of an issuer's lowest known fork."""

    def behind(self, block_hashes: Collection[bytes], issuer: bytes, from_seq: int) -> set[bytes]:
        """Return those blocks and the issuer's blocks that they build on, down to a seq."""

    def blocks_after(
        self, frontier: Mapping[bytes, int], limit_bytes: int, skip: Collection[bytes] = ()
    ) -> list[StoredBlock]:
        """Return the blocks of each issuer above the seq given for it, but those to skip, parents first.

        An issuer that the frontier does not name is taken from its start. Ends before the limit would be
        passed, yet returns at least one block if there is any.
        """

    def readings(self, *, issuer: bytes | None = None, uno_id: int | None = None) -> Iterator[Reading]:
        """Yield each reading once, ordered by meter, boot epoch and counter.

        Of several copies, that from the block with the lowest hash is chosen.
        """

    def reading_counts(self) -> ReadingCounts:
        """Count the readings in blocks."""
