"""Audit of a ledger database from its raw bytes alone.

Nothing that the store derived is trusted: each block is decoded, hashed and checked again, chains and heads
are followed, and the derived tables are built anew in a temporary database and compared row by row. Blocks
are read one at a time, so an audit needs little memory.
"""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ledger.block import KEY_BYTES, Block, BlockError, FraudProof, Reading, frame_hash
from ledger.registry import Registry, RegistryError
from ledger.store import StoreError, index, schema
from ledger.store.sqlite import SqliteStore, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``block_hash``, ``issuer`` and ``seq`` are given where it is about a block."""

    what: str
    block_hash: bytes | None = None
    issuer: bytes | None = None
    seq: int | None = None

    def __str__(self) -> str:
        if self.block_hash is None:
            return self.what
        issuer = self.issuer.hex()[:12] if self.issuer else "unknown"
        return f"block {self.block_hash.hex()} (issuer {issuer}, seq {self.seq}): {self.what}"


@dataclass
class Audit:
    """The result of an audit: what was looked at, and what is wrong with it."""

    blocks: int = 0
    readings: int = 0
    pending: int = 0
    issuers: int = 0
    frozen: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(path: Path) -> Audit:
    """Audit the database at ``path``, without changing it. Damage gives findings, never an exception."""
    audit = Audit()
    try:
        connection = _connected(path, "mode=ro")
    except sqlite3.Error as error:
        audit.findings.append(Finding(f"the file cannot be opened: {error}"))
        return audit
    try:
        if not _may_be_read(connection) and not _is_in_use(path):
            # SQLite cannot write beside it, as it does even to read; nobody else has it open either.
            connection.close()
            connection = _connected(path, "mode=ro&immutable=1")
        # One snapshot for all that is read: a node may go on writing meanwhile.
        connection.execute("BEGIN")
        _Auditor(connection, audit).run()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Single tables that cannot be read are met where they are read; this is the file as a whole. Python
        # cannot even decode SQLite's message when that quotes a damaged schema.
        audit.findings.append(Finding(f"the database file is damaged: {error}"))
    finally:
        connection.close()
    return audit


def _connected(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)


def _may_be_read(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
    except (sqlite3.Error, UnicodeDecodeError):
        # Damage: that is for the audit to tell.
        pass
    return True


def _is_in_use(path: Path) -> bool:
    return any(path.with_name(f"{path.name}{suffix}").exists() for suffix in ("-wal", "-journal"))


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    hash: Any
    issuer: Any
    seq: Any
    raw: Any


class _Auditor:
    def __init__(self, connection: sqlite3.Connection, audit: Audit) -> None:
        self._connection = connection
        self._audit = audit
        self._rebuilt = _empty()
        self._places: dict[bytes, tuple[bytes, int]] = {}
        self._epochs: dict[bytes, int] = {}
        self._hashes: dict[int, bytes] = {}

    def run(self) -> None:
        if not self._check_file():
            return
        registry = self._check_registry()
        self._rebuilt.execute("BEGIN")
        self._check_issuers()
        for row in self._block_rows():
            self._audit.blocks += 1
            block = self._checked(row, registry)
            if block is not None:
                self._follow(row, block)
        forks = self._check_proofs(registry)
        self._check_forks(forks)
        self._check_pending()
        self._check_schema()
        if self._audit.clean:
            # Derived rows can be compared only if what they derive from is whole.
            self._check_derived()
        self._audit.issuers = len({issuer for issuer, _ in self._places.values()})
        self._audit.frozen = len({issuer for issuer, _ in forks})

    def _wrong(self, what: str, row: _Row | None = None, block_hash: bytes | None = None) -> None:
        if row is not None:
            key = row.hash if isinstance(row.hash, bytes) else b""
            issuer = row.issuer if isinstance(row.issuer, bytes) else None
            seq = row.seq if isinstance(row.seq, int) else None
            self._audit.findings.append(Finding(what, key, issuer, seq))
        elif block_hash is not None:
            self._audit.findings.append(Finding(what, block_hash, *self._places[block_hash]))
        else:
            self._audit.findings.append(Finding(what))

    def _check_file(self) -> bool:
        application_id = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if application_id != schema.APPLICATION_ID:
            self._wrong("this is not a ledger database, or its header is damaged (application id)")
            return (
                self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'block'").fetchone()
                is not None
            )
        if version != schema.VERSION:
            self._wrong(f"schema version {version}, but this program knows {schema.VERSION}")
        try:
            problems = [row[0] for row in self._connection.execute("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            problems = [str(error)]
        if problems != ["ok"]:
            for problem in problems:
                self._wrong(f"SQLite: {problem}")
        return True

    def _check_registry(self) -> Registry | None:
        registry = None
        try:
            rows = self._connection.execute(
                "SELECT epoch, raw, digest FROM registry ORDER BY epoch"
            ).fetchall()
        except sqlite3.Error as error:
            self._wrong(f"the table of registries cannot be read: {error}")
            return None
        for epoch, raw, expected in rows:
            try:
                if not isinstance(raw, bytes) or digest(raw) != expected:
                    raise RegistryError("its checksum does not fit")
                kept = Registry.from_public_part(raw)
                if kept.epoch != epoch:
                    raise RegistryError("its epoch is not that of its row")
            except RegistryError as error:
                self._wrong(f"registry of epoch {epoch}: {error}")
            else:
                registry = kept
        if registry is None:
            self._wrong(
                "there is no whole registry in the database: signatures and issuers cannot be checked"
            )
        return registry

    def _block_rows(self) -> Iterator[_Row]:
        """Yield the rows of blocks, one query each: a damaged page hides no more than its own rows."""
        for block_id in self._block_ids():
            try:
                found = self._connection.execute(
                    "SELECT id, hash, (SELECT public_key FROM issuer WHERE issuer.id = block.issuer),"
                    " seq, raw FROM block NOT INDEXED WHERE id = ?",
                    (block_id,),
                ).fetchone()
            except sqlite3.Error as error:
                self._unreadable(block_id, str(error))
                continue
            if found is None:
                self._unreadable(block_id, "its row is missing")
            else:
                yield _Row(*found)

    def _unreadable(self, block_id: int, what: str) -> None:
        """Name a block whose row cannot be read by what the indexes still say about it."""
        try:
            found = self._connection.execute(
                "SELECT hash FROM block INDEXED BY sqlite_autoindex_block_1 WHERE rowid = ?", (block_id,)
            ).fetchone()
        except sqlite3.Error:
            found = None
        known = found[0] if found and isinstance(found[0], bytes) else None
        self._audit.findings.append(Finding(f"row {block_id} of the blocks cannot be read: {what}", known))

    def _block_ids(self) -> list[int]:
        ids: set[int] = set()
        queries = (
            "SELECT id FROM block NOT INDEXED",
            "SELECT id FROM block INDEXED BY block_by_place",
            "SELECT block FROM reading",
        )
        for query in queries:
            try:
                for (block_id,) in self._connection.execute(query):
                    ids.add(block_id)
            except sqlite3.Error as error:
                self._wrong(f"the blocks cannot all be listed: {error}")
        return sorted(block_id for block_id in ids if isinstance(block_id, int))

    def _check_issuers(self) -> None:
        issuers = self._connection.execute("SELECT id, public_key FROM issuer").fetchall()
        for issuer_id, public_key in issuers:
            if not isinstance(public_key, bytes) or len(public_key) != KEY_BYTES:
                self._wrong(
                    f"issuer {issuer_id} in the list of issuers has no public key of {KEY_BYTES} bytes"
                )
                continue
            self._rebuilt.execute("INSERT OR IGNORE INTO issuer VALUES (?, ?)", (issuer_id, public_key))
            if not self._connection.execute("SELECT 1 FROM block WHERE issuer = ?", (issuer_id,)).fetchone():
                self._wrong(f"issuer {public_key.hex()[:12]} is listed, but has no block")

    def _checked(self, row: _Row, registry: Registry | None) -> Block | None:
        """Return the row's block if all that it shows by itself is right."""
        if not isinstance(row.raw, bytes):
            self._wrong("the raw block is not a byte string", row)
            return None
        try:
            block = Block.decode(row.raw)
            block.check_batch()
        except BlockError as error:
            self._wrong(str(error), row)
            return None
        wrongs = []
        if row.hash != block.hash:
            wrongs.append(f"its bytes hash to {block.hash.hex()}")
        if row.issuer != block.issuer:
            wrongs.append(f"its bytes say issuer {block.issuer.hex()}")
        if row.seq != block.seq:
            wrongs.append(f"its bytes say seq {block.seq}")
        if registry is not None:
            if not registry.may_issue(block.issuer, block.header.registry_epoch):
                wrongs.append("its issuer may not write: the registry does not have it")
            elif not block.signed.signature_holds(registry.network):
                wrongs.append("the signature is not the issuer's")
        for wrong in wrongs:
            self._wrong(wrong, row)
        return None if wrongs else block

    def _follow(self, row: _Row, block: Block) -> None:
        """Check how a block stands among those before it, and derive anew what it adds."""
        sound = True
        for parent in block.header.parents:
            if parent not in self._places:
                self._wrong(f"its parent {parent.hex()} is missing, bad, or stands after it", row)
                sound = False
        if block.seq > 0 and self._places.get(block.header.prev, (block.issuer, block.seq - 1)) != (
            block.issuer,
            block.seq - 1,
        ):
            self._wrong("its prev is not its issuer's block before", row)
        if any(self._places.get(head, (b"", 0))[0] == block.issuer for head in block.header.heads):
            self._wrong("one of its heads is its issuer's own block", row)
        epoch = block.header.registry_epoch
        newest = max((self._epochs.get(parent, 0) for parent in block.header.parents), default=0)
        if newest > epoch:
            self._wrong(f"sealed under registry epoch {epoch}, but builds on a block of epoch {newest}", row)
        self._audit.readings += len(block.leaves)
        self._places[block.hash] = (block.issuer, block.seq)
        self._epochs[block.hash] = epoch
        self._hashes[row.id] = block.hash
        if sound and self._audit.clean:
            self._rebuilt.execute(
                "INSERT INTO block SELECT ?, ?, id, ?, x'' FROM issuer WHERE public_key = ?",
                (row.id, block.hash, block.seq, block.issuer),
            )
            index.add_block(self._rebuilt, row.id, block)

    def _check_proofs(self, registry: Registry | None) -> set[tuple[bytes, int]]:
        forks = set()
        for issuer, seq, first, second in self._connection.execute("SELECT * FROM fraud"):
            try:
                _require_bytes(issuer, first, second)
                proof = FraudProof.decode(first, second)
                if (proof.issuer, proof.seq) != (issuer, seq):
                    raise BlockError("issuer or seq is not that of its row")
                if registry is not None and not proof.holds(registry.network):
                    raise BlockError("a signature is not the issuer's")
            except BlockError as error:
                name = issuer.hex()[:12] if isinstance(issuer, bytes) else "unknown"
                self._wrong(f"fraud proof against issuer {name} at seq {seq}: {error}")
            else:
                forks.add((proof.issuer, proof.seq))
        return forks

    def _check_forks(self, forks: set[tuple[bytes, int]]) -> None:
        lowest: dict[bytes, int] = {}
        for issuer, seq in forks:
            lowest[issuer] = min(seq, lowest.get(issuer, seq))
        first_at: dict[tuple[bytes, int], bytes] = {}
        for block_hash, place in self._places.items():
            rival = first_at.setdefault(place, block_hash)
            issuer, seq = place
            if rival != block_hash and lowest.get(issuer, seq + 1) > seq:
                self._wrong(
                    f"block {rival.hex()} has the same issuer and seq, and no fraud proof is kept",
                    block_hash=block_hash,
                )

    def _check_pending(self) -> None:
        rows = self._connection.execute(
            "SELECT uno_id, boot_epoch, counter, leaf, frame, digest FROM pending ORDER BY id"
        )
        for *key, leaf, frame, expected in rows:
            self._audit.pending += 1
            name = "pending reading {}/{}/{}".format(*key)
            try:
                _require_bytes(leaf, frame)
                reading = Reading.decode(leaf)
            except BlockError as error:
                self._wrong(f"{name}: {error}")
                continue
            if digest(leaf, frame) != expected:
                self._wrong(f"{name}: its checksum does not fit")
            elif list(reading.key) != key or reading.frame_hash != frame_hash(frame):
                self._wrong(f"{name}: it disagrees with its row or frame")
            elif self._is_in_block(reading, leaf):
                self._wrong(f"{name}: a block has it already")

    def _is_in_block(self, reading: Reading, leaf: bytes) -> bool:
        # Only an identical copy means that sealing was torn: another gateway may have sealed the same frame.
        rows = self._connection.execute(
            "SELECT substr(raw, offset + 1, length) FROM reading JOIN block ON block.id = reading.block"
            " WHERE (uno_id, boot_epoch, counter) = (?, ?, ?)",
            reading.key,
        )
        return any(row[0] == leaf for row in rows)

    def _check_schema(self) -> None:
        expected = _tables_of(_empty())
        found = _tables_of(self._connection)
        for name in sorted(expected.keys() | found.keys(), key=str):
            if name not in found:
                self._wrong(f"table or index {name} is missing")
            elif name not in expected:
                self._wrong(f"table or index {name} does not belong into a ledger")
            elif expected[name] != found[name]:
                self._wrong(f"table or index {name} is not as it was made")

    def _check_derived(self) -> None:
        proofs = self._connection.execute("SELECT * FROM fraud")
        self._rebuilt.executemany("INSERT INTO fraud VALUES (?, ?, ?, ?)", proofs)
        index.settle_anew(self._rebuilt)
        for table in schema.DERIVED_TABLES:
            query = f"SELECT * FROM {table} ORDER BY {_ORDER[table]}"
            for row, state in _differences(self._rebuilt.execute(query), self._connection.execute(query)):
                block_hash = self._hashes.get(row[_BLOCK_COLUMN[table]])
                self._wrong(
                    f"the derived table {table!r} {state} {row}; `ledger reindex` mends it",
                    block_hash=block_hash,
                )


def _require_bytes(*values: object) -> None:
    # A flipped bit can change the type of a value under SQLite's eyes, strict table or not.
    if not all(isinstance(value, bytes) for value in values):
        raise BlockError("a value in its row is not a byte string")


def _differences(
    wanted: Iterable[tuple[int, ...]], found: Iterable[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the rows of two sorted sequences that only one of them has, and what that means."""
    merged = heapq.merge(((row, 0) for row in wanted), ((row, 1) for row in found))
    for row, sides in itertools.groupby(merged, key=lambda pair: pair[0]):
        have = {side for _, side in sides}
        if have == {0}:
            yield row, "lacks a row"
        elif have == {1}:
            yield row, "has a stray row"


_ORDER = {
    "edge": "parent, child",
    "tip": "block",
    "head": "block",
    "void": "block",
    "reading": "uno_id, boot_epoch, counter, block, offset, length",
}

_BLOCK_COLUMN = {"edge": 1, "tip": 0, "head": 0, "void": 0, "reading": 3}


def _empty() -> sqlite3.Connection:
    # An empty path is SQLite's temporary database: in memory while small, then in a file of its own.
    connection = sqlite3.connect("", isolation_level=None)
    connection.executescript(schema.KEPT + schema.DERIVED)
    return connection


def _tables_of(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'")
    return {name: " ".join((sql or "").split()) for name, sql in rows}


def open_for_reading(path: Path) -> SqliteStore:
    """Open a database that must exist, without changing it. Raises StoreError."""
    if not path.exists():
        raise StoreError(f"{path}: no such file: give the path of a ledger database")
    return SqliteStore(path, read_only=True)
