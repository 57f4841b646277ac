"""The store on SQLite: one file, write-ahead log, one transaction for each call that writes."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ledger.block import Block, BlockError, FraudProof, Reading, frame_hash
from ledger.registry import Registry, RegistryError
from ledger.store import index, schema
from ledger.store.interface import ReadingCounts, StoredBlock, StoreError, Tip

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

Durability = Literal["full", "off"]

MEMORY = Path(":memory:")
"""The path of a store that lives no longer than its process."""

DIGEST_BYTES = 16
BUSY_TIMEOUT_S = 5.0

_MENDS = {
    "SQLITE_FULL": "the disk is full: free some space and go on, nothing acknowledged is lost",
    "SQLITE_BUSY": "another program holds the database: let it finish or stop it, then try again",
    "SQLITE_LOCKED": "another program holds the database: let it finish or stop it, then try again",
    "SQLITE_NOTADB": "this is not a ledger database: give the path of one, or of a file that does not exist",
    "SQLITE_CORRUPT": "the file is damaged: run `ledger verify`, then restore it or sync from a peer",
    "SQLITE_READONLY": "the database cannot be written: check the owner and mode of the file and its folder",
    "SQLITE_CANTOPEN": "the database cannot be opened: check that its folder exists and may be written",
    "SQLITE_IOERR": "the disk fails: check the card and its connection, then run `ledger verify`",
}


def digest(*parts: bytes) -> bytes:
    """Return the checksum by which rows are guarded that no signature guards."""
    return hashlib.blake2b(b"".join(parts), digest_size=DIGEST_BYTES).digest()


_PENDING_COLUMNS = "CAST(leaf AS BLOB), CAST(frame AS BLOB), digest"
"""A flipped bit can change the type of a value under SQLite's eyes; text that is none cannot even be read."""


def _whole_reading(leaf: object, frame: object, expected: object) -> Reading | None:
    """Return the reading of a pending row, None if the row is damaged."""
    if not isinstance(leaf, bytes) or not isinstance(frame, bytes) or digest(leaf, frame) != expected:
        return None
    try:
        return Reading.decode(leaf)
    except BlockError:
        return None


@dataclass(frozen=True, slots=True)
class IssuerShare:
    """What one issuer has written: readings are counted as often as they stand in blocks."""

    issuer: bytes
    blocks: int
    raw_bytes: int
    top_seq: int
    readings: int


class SqliteStore:
    """A store in one SQLite file, created if it does not exist.

    ``durability="full"`` waits for the disk at every commit; ``"off"`` does not and is for simulations, where
    commits are charged instead. Raises StoreError when the file is no ledger, damaged, or of another version.
    """

    def __init__(self, path: Path | str, durability: Durability = "full", *, read_only: bool = False) -> None:
        self.path = Path(path)
        with self._errors():
            self._connection = self._open(read_only)
            try:
                self._check_schema(read_only)
                if not read_only:
                    self._connection.execute("PRAGMA journal_mode = WAL")
                    self._connection.execute(
                        f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'OFF'}"
                    )
                self._frozen = self._read_frozen()
                self._damaged_pending: set[int] = set()
            except BaseException:
                self._connection.close()
                raise

    def _open(self, read_only: bool) -> sqlite3.Connection:
        target = f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        if read_only and self.path.exists() and not self.path.with_name(f"{self.path.name}-wal").exists():
            # Nobody has it open: it can be read where nothing may be written, and no file is left beside it.
            target += "&immutable=1"
        if self.path == MEMORY:
            target = str(MEMORY)
        return sqlite3.connect(
            target,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            uri=target.startswith("file:"),
            # A daemon may open the store in one thread and serve it in another, one at a time.
            check_same_thread=False,
        )

    def _check_schema(self, read_only: bool) -> None:
        application_id = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        empty = not self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        if application_id == schema.APPLICATION_ID:
            if version != schema.VERSION:
                raise StoreError(
                    f"{self.path}: schema version {version}, but this program knows {schema.VERSION}:"
                    " use the version of dag-ledger that wrote it, or sync a new database from a peer"
                )
            return
        if not empty or application_id or read_only:
            raise StoreError(f"{self.path}: {_MENDS['SQLITE_NOTADB']}")
        with self._transaction():
            for statement in filter(str.strip, (schema.KEPT + schema.DERIVED).split(";")):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "") or ""
            primary = "_".join(name.split("_")[:2])
            mend = _MENDS.get(primary, f"{error}: run `ledger verify` on it")
            raise StoreError(f"{self.path}: {mend}") from error
        except UnicodeDecodeError as error:
            # SQLite's own message quotes a damaged schema.
            raise StoreError(f"{self.path}: {_MENDS['SQLITE_CORRUPT']}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the database."""
        with self._errors():
            self._connection.close()

    # Registry

    def put_registry(self, registry: Registry) -> None:
        """Keep the public part of a registry; see :class:`ledger.store.Store`."""
        if not self.lacks_registry(registry):
            return
        raw = registry.public_part()
        with self._transaction():
            self._connection.execute(
                "INSERT INTO registry (epoch, raw, digest) VALUES (?, ?, ?)",
                (registry.epoch, raw, digest(raw)),
            )

    def lacks_registry(self, registry: Registry) -> bool:
        """Tell whether a registry is to be kept yet. Raises StoreError for one that must not be."""
        kept = self.registry()
        if kept is not None:
            if kept.public_part() == registry.public_part():
                return False
            if kept.network != registry.network:
                raise StoreError(f"{self.path}: belongs to another network: give this node its own database")
            if kept.epoch >= registry.epoch:
                raise StoreError(
                    f"{self.path}: keeps registry epoch {kept.epoch}; a different registry must have a higher"
                    f" epoch than that, not {registry.epoch}"
                )
        return True

    def registry(self) -> Registry | None:
        """Return the newest registry kept."""
        with self._errors():
            row = self._connection.execute(
                "SELECT raw, digest FROM registry ORDER BY epoch DESC LIMIT 1"
            ).fetchone()
        if row is None:
            return None
        try:
            if digest(row[0]) != row[1]:
                raise RegistryError("its checksum does not fit")
            return Registry.from_public_part(row[0])
        except RegistryError as error:
            raise StoreError(f"{self.path}: the registry kept in it is damaged: {error}") from None

    # Pending readings

    def add_pending(self, reading: Reading, frame: bytes) -> None:
        """Keep a reading and its frame, durably; see :class:`ledger.store.Store`."""
        if frame_hash(frame) != reading.frame_hash:
            raise StoreError(f"reading {reading.key}: its frame hash is not that of its frame")
        if self.has_reading(*reading.key) is not None:
            raise StoreError(f"reading {reading.key} is stored already: ask has_reading first")
        leaf = reading.encode()
        with self._transaction():
            # What may stand in its place is damaged, or has_reading would have found it.
            damaged = self._pending_row(reading.key)
            if damaged is not None:
                self._connection.execute("DELETE FROM pending WHERE id = ?", (damaged[0],))
            self._connection.execute(
                "INSERT INTO pending (uno_id, boot_epoch, counter, leaf, frame, digest)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*reading.key, leaf, frame, digest(leaf, frame)),
            )
        if damaged is not None:
            self._damaged_pending.discard(damaged[0])

    def pending(self, limit: int) -> list[Reading]:
        """Return the oldest pending readings; damaged ones are set aside."""
        readings: list[Reading] = []
        with self._errors():
            rows = self._connection.execute(
                f"SELECT id, {_PENDING_COLUMNS}, uno_id, boot_epoch, counter FROM pending ORDER BY id"
            )
            for row_id, leaf, frame, expected, *key in rows:
                if len(readings) == limit:
                    break
                reading = _whole_reading(leaf, frame, expected)
                if reading is not None and list(reading.key) == key:
                    readings.append(reading)
                    self._damaged_pending.discard(row_id)
                else:
                    self._damaged_pending.add(row_id)
            rows.close()
        return readings

    def pending_count(self) -> int:
        """Return how many readings wait for a block, without those set aside."""
        with self._errors():
            kept = int(self._connection.execute("SELECT count(*) FROM pending").fetchone()[0])
        return kept - len(self._damaged_pending)

    def damaged_pending_count(self) -> int:
        """Return how many pending readings were found damaged, and so set aside."""
        return len(self._damaged_pending)

    def _pending_row(self, key: tuple[int, int, int]) -> tuple[int, object, object, object] | None:
        row: tuple[int, object, object, object] | None = self._connection.execute(
            f"SELECT id, {_PENDING_COLUMNS} FROM pending WHERE (uno_id, boot_epoch, counter) = (?, ?, ?)", key
        ).fetchone()
        return row

    def has_reading(self, uno_id: int, boot_epoch: int, counter: int) -> bytes | None:
        """Return the frame hash of a reading pending or in a block that counts, else None."""
        key = (uno_id, boot_epoch, counter)
        with self._errors():
            pending = self._pending_row(key)
            reading = None if pending is None else _whole_reading(*pending[1:])
            if reading is not None:
                return reading.frame_hash
            row = self._connection.execute(
                "SELECT substr(block.raw, offset + 1, length) FROM reading JOIN block ON block.id = block"
                " WHERE (uno_id, boot_epoch, counter) = (?, ?, ?)"
                " AND block NOT IN (SELECT block FROM void) ORDER BY block.hash LIMIT 1",
                key,
            ).fetchone()
        return None if row is None else self._reading(row[0]).frame_hash

    def _reading(self, leaf: bytes) -> Reading:
        try:
            return Reading.decode(leaf)
        except BlockError as error:
            raise StoreError(f"{self.path}: {_MENDS['SQLITE_CORRUPT']} ({error})") from None

    # Blocks

    def put_own_block(self, block: Block) -> None:
        """Keep a block and drop its readings from the pending ones, both or neither."""
        with self._transaction():
            self._insert([block], self._frozen)
            self._connection.executemany(
                "DELETE FROM pending WHERE (uno_id, boot_epoch, counter) = (?, ?, ?)",
                [reading.key for reading in block.readings],
            )

    def put_blocks(self, blocks: Sequence[Block], proofs: Sequence[FraudProof] = ()) -> None:
        """Keep blocks, parents first, and fraud proofs."""
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO fraud (issuer, seq, first, second) VALUES (?, ?, ?, ?)",
                [(proof.issuer, proof.seq, proof.first.raw, proof.second.raw) for proof in proofs],
            )
            frozen = self._read_frozen() if proofs else self._frozen
            self._insert(blocks, frozen)
        self._frozen = frozen

    def _insert(self, blocks: Sequence[Block], frozen: Mapping[bytes, int]) -> None:
        block_ids = []
        for block in blocks:
            cursor = self._connection.execute(
                "INSERT INTO block (hash, issuer, seq, raw) VALUES (?, ?, ?, ?)",
                (block.hash, self._issuer_id(block.issuer), block.seq, block.raw),
            )
            block_id = cursor.lastrowid
            assert block_id is not None, "an INSERT sets lastrowid"
            index.add_block(self._connection, block_id, block)
            block_ids.append(block_id)
        if frozen:
            index.settle(self._connection, block_ids)
        else:
            index.advance_heads(self._connection, block_ids)

    def _issuer_id(self, public_key: bytes) -> int:
        self._connection.execute("INSERT OR IGNORE INTO issuer (public_key) VALUES (?)", (public_key,))
        row = self._connection.execute("SELECT id FROM issuer WHERE public_key = ?", (public_key,)).fetchone()
        return int(row[0])

    def has_block(self, block_hash: bytes) -> bool:
        """Tell whether a block is kept."""
        with self._errors():
            return bool(
                self._connection.execute("SELECT 1 FROM block WHERE hash = ?", (block_hash,)).fetchone()
            )

    def block(self, block_hash: bytes) -> Block | None:
        """Return a block."""
        with self._errors():
            row = self._connection.execute("SELECT raw FROM block WHERE hash = ?", (block_hash,)).fetchone()
        if row is None:
            return None
        try:
            return Block.decode(row[0])
        except BlockError as error:
            raise StoreError(
                f"{self.path}: block {block_hash.hex()} is damaged: {error}; run `ledger verify`"
            ) from None

    def place(self, block_hash: bytes) -> tuple[bytes, int] | None:
        """Return a block's issuer and seq."""
        with self._errors():
            row = self._connection.execute(
                "SELECT public_key, seq FROM block JOIN issuer ON issuer.id = block.issuer WHERE hash = ?",
                (block_hash,),
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def blocks_at(self, issuer: bytes, seq: int) -> list[bytes]:
        """Return the hashes of the blocks at one place of a chain."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT hash FROM block JOIN issuer ON issuer.id = block.issuer"
                " WHERE public_key = ? AND seq = ? ORDER BY hash",
                (issuer, seq),
            ).fetchall()
        return [row[0] for row in rows]

    def frontier(self) -> dict[bytes, int]:
        """Return the highest seq known of each issuer."""
        return {issuer: tips[-1].seq for issuer, tips in self.tips().items()}

    def tips(self) -> dict[bytes, list[Tip]]:
        """Return the tips of each issuer, lowest first."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT public_key, seq, hash FROM tip JOIN block ON block.id = tip.block"
                " JOIN issuer ON issuer.id = block.issuer"
            ).fetchall()
        tips: dict[bytes, list[Tip]] = {}
        for issuer, seq, block_hash in sorted(rows):
            tips.setdefault(issuer, []).append(Tip(seq, block_hash))
        return tips

    def heads(self) -> list[bytes]:
        """Return the sorted hashes of the blocks that count and that none such builds on."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT hash FROM head JOIN block ON block.id = head.block ORDER BY hash"
            ).fetchall()
        return [row[0] for row in rows]

    def heads_to_merge(self, issuer: bytes, limit: int) -> list[bytes]:
        """Return the longest-known heads of other issuers."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT hash FROM head JOIN block ON block.id = head.block"
                " JOIN issuer ON issuer.id = block.issuer"
                " WHERE public_key != ? ORDER BY block.id LIMIT ?",
                (issuer, limit),
            ).fetchall()
        return [row[0] for row in rows]

    # Forks

    def _read_frozen(self) -> dict[bytes, int]:
        rows = self._connection.execute("SELECT issuer, min(seq) FROM fraud GROUP BY issuer").fetchall()
        return dict(rows)

    def frozen(self) -> dict[bytes, int]:
        """Return the frozen issuers, each with its lowest known fork."""
        return dict(self._frozen)

    def fraud_proof(self, issuer: bytes) -> FraudProof | None:
        """Return the proof of an issuer's lowest known fork."""
        with self._errors():
            row = self._connection.execute(
                "SELECT first, second FROM fraud WHERE issuer = ? ORDER BY seq LIMIT 1", (issuer,)
            ).fetchone()
        if row is None:
            return None
        try:
            return FraudProof.decode(*row)
        except BlockError as error:
            raise StoreError(f"{self.path}: a fraud proof is damaged: {error}") from None

    def behind(self, block_hashes: Collection[bytes], issuer: bytes, from_seq: int) -> set[bytes]:
        """Return those blocks and the issuer's blocks that they build on, down to a seq."""
        found: set[bytes] = set()
        with self._errors():
            for block_hash in block_hashes:
                cursor = block_hash
                while cursor not in found:
                    row = self._connection.execute(
                        "SELECT before.hash, block.seq FROM block JOIN issuer ON issuer.id = block.issuer"
                        " LEFT JOIN edge ON edge.child = block.id LEFT JOIN block AS before"
                        " ON before.id = edge.parent AND before.issuer = block.issuer"
                        " WHERE block.hash = ? AND public_key = ? ORDER BY before.hash IS NULL LIMIT 1",
                        (cursor, issuer),
                    ).fetchone()
                    if row is None or row[1] < from_seq:
                        break
                    found.add(cursor)
                    if row[0] is None:
                        break
                    cursor = row[0]
        return found

    def blocks_after(
        self, frontier: Mapping[bytes, int], limit_bytes: int, skip: Collection[bytes] = ()
    ) -> list[StoredBlock]:
        """Return blocks that a peer lacks, parents first; see :class:`ledger.store.Store`."""
        with self._errors():
            streams = [
                self._connection.execute(
                    "SELECT id, hash, ?, seq, raw FROM block"
                    " WHERE issuer = (SELECT id FROM issuer WHERE public_key = ?) AND seq > ?"
                    # On an unforked chain the order of seq is that of admission, and comes from the index.
                    + (" ORDER BY id" if issuer in self._frozen else " ORDER BY seq"),
                    (issuer, issuer, frontier.get(issuer, -1)),
                )
                for issuer, tip in self.frontier().items()
                if tip > frontier.get(issuer, -1)
            ]
            found: list[StoredBlock] = []
            total_bytes = 0
            # Parents were admitted before their children, so the order of ids puts them first.
            for _, block_hash, issuer, seq, raw in heapq.merge(*streams):
                if block_hash in skip:
                    continue
                total_bytes += len(raw)
                if found and total_bytes > limit_bytes:
                    break
                found.append(StoredBlock(block_hash, issuer, seq, raw))
            for stream in streams:
                stream.close()
        return found

    def blocks(self) -> Iterator[StoredBlock]:
        """Yield every block in the order of admission."""
        with self._errors():
            for row in self._connection.execute(
                "SELECT hash, public_key, seq, raw FROM block JOIN issuer ON issuer.id = block.issuer"
                " ORDER BY block.id"
            ):
                yield StoredBlock(*row)

    # Readings

    def readings(self, *, issuer: bytes | None = None, uno_id: int | None = None) -> Iterator[Reading]:
        """Yield each reading once, in order; see :class:`ledger.store.Store`."""
        where = "reading.block NOT IN (SELECT block FROM void)"
        parameters: list[int | bytes] = []
        if uno_id is not None:
            where += " AND uno_id = ?"
            parameters.append(uno_id)
        if issuer is not None:
            where += " AND block.issuer = (SELECT id FROM issuer WHERE public_key = ?)"
            parameters.append(issuer)
        with self._errors():
            rows = self._connection.execute(
                "SELECT uno_id, boot_epoch, counter, block.hash, substr(block.raw, offset + 1, length)"
                f" FROM reading CROSS JOIN block ON block.id = reading.block WHERE {where}"
                " ORDER BY uno_id, boot_epoch, counter",
                parameters,
            )
            for _, copies in itertools.groupby(rows, key=lambda row: row[:3]):
                yield self._reading(min(copies, key=lambda row: row[3])[4])

    def reading_counts(self) -> ReadingCounts:
        """Count the readings in blocks."""
        readings = duplicates = conflicts = 0
        with self._errors():
            void = self._connection.execute(
                "SELECT count(*) FROM reading WHERE block IN (SELECT block FROM void)"
            ).fetchone()[0]
            readings, copies = self._connection.execute(
                "SELECT count(*), coalesce(sum(copies), 0) FROM (SELECT count(*) AS copies FROM reading"
                " WHERE block NOT IN (SELECT block FROM void) GROUP BY uno_id, boot_epoch, counter)"
            ).fetchone()
            duplicates = copies - readings
            rows = self._connection.execute(
                "SELECT uno_id, boot_epoch, counter, substr(raw, offset + 1, length)"
                " FROM (SELECT uno_id, boot_epoch, counter FROM reading"
                "       WHERE block NOT IN (SELECT block FROM void)"
                "       GROUP BY uno_id, boot_epoch, counter HAVING count(*) > 1)"
                " JOIN reading USING (uno_id, boot_epoch, counter) JOIN block ON block.id = reading.block"
                " WHERE reading.block NOT IN (SELECT block FROM void)"
                " ORDER BY uno_id, boot_epoch, counter"
            ).fetchall()
        for _, group in itertools.groupby(rows, key=lambda row: row[:3]):
            conflicts += len({self._reading(row[3]).frame_hash for row in group}) - 1
        return ReadingCounts(readings, duplicates, conflicts, void)

    # Overview

    def issuer_shares(self) -> list[IssuerShare]:
        """Return what each issuer has written, in the order of public keys."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT public_key, count(*), sum(length(raw)), max(seq),"
                " (SELECT count(*) FROM reading JOIN block AS own ON own.id = reading.block"
                "  WHERE own.issuer = issuer.id)"
                " FROM block JOIN issuer ON issuer.id = block.issuer GROUP BY issuer.id ORDER BY public_key"
            ).fetchall()
        shares = [IssuerShare(*row) for row in rows]
        if any(type(share.top_seq) is not int for share in shares):
            raise StoreError(f"{self.path}: the seq of a block is damaged; run `ledger verify`")
        return shares

    def hashes_starting_with(self, prefix: bytes, limit: int = 2) -> list[bytes]:
        """Return the first block hashes that start with these bytes."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT hash FROM block WHERE hash >= ? AND substr(hash, 1, ?) = ? ORDER BY hash LIMIT ?",
                (prefix, len(prefix), prefix, limit),
            ).fetchall()
        return [row[0] for row in rows]

    # Upkeep

    def reindex(self) -> int:
        """Build the derived tables anew from the raw blocks; return the number of blocks."""
        with self._transaction():
            try:
                index.rebuild(self._connection, self._decoded_blocks())
            except BlockError as error:
                raise StoreError(f"{self.path}: {error}; restore it from a peer") from None
            return int(self._connection.execute("SELECT count(*) FROM block").fetchone()[0])

    def _decoded_blocks(self) -> Iterator[tuple[int, Block]]:
        for block_id, block_hash, raw in self._connection.execute(
            "SELECT id, hash, raw FROM block ORDER BY id"
        ):
            try:
                yield block_id, Block.decode(raw)
            except BlockError as error:
                raise BlockError(f"block {block_hash.hex()} is damaged: {error}") from None
