"""What the SQLite store derives from its raw blocks: edges, tips, heads, void blocks, readings.

All functions work inside a transaction of the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.block import BlockError
from ledger.store import schema

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from ledger.block import Block


def add_block(connection: sqlite3.Connection, block_id: int, block: Block) -> None:
    """Derive what one block adds, except heads and void blocks (see :func:`settle`).

    Raises BlockError when a parent is missing or a leaf is malformed.
    """
    parents = [_block_id(connection, parent) for parent in block.header.parents]
    connection.executemany(
        "INSERT INTO edge (parent, child) VALUES (?, ?)", [(parent, block_id) for parent in parents]
    )
    if block.seq > 0:
        connection.execute("DELETE FROM tip WHERE block = ?", (parents[0],))
    connection.execute("INSERT INTO tip (block) VALUES (?)", (block_id,))
    connection.executemany("INSERT INTO reading VALUES (?, ?, ?, ?, ?, ?)", reading_rows(block_id, block))


def _block_id(connection: sqlite3.Connection, block_hash: bytes) -> int:
    row = connection.execute("SELECT id FROM block WHERE hash = ?", (block_hash,)).fetchone()
    if row is None:
        raise BlockError(f"its parent {block_hash.hex()} is missing")
    return int(row[0])


def reading_rows(block_id: int, block: Block) -> list[tuple[int, int, int, int, int, int]]:
    """Return a block's rows of the table of readings: key, block, place of the leaf in the raw block."""
    rows = []
    offset = len(block.raw)
    for reading, leaf in zip(reversed(block.readings), reversed(block.leaves), strict=True):
        offset -= len(leaf)
        rows.append((*reading.key, block_id, offset, len(leaf)))
        offset -= _head_bytes(len(leaf))
    return rows


def _head_bytes(length: int) -> int:
    # RFC 8949, section 3: a byte string's length stands in 1, 2 or 3 bytes before it.
    return 1 if length < 24 else 2 if length < 256 else 3


def settle(connection: sqlite3.Connection, new_ids: Sequence[int]) -> None:
    """Bring heads and void blocks up to date after blocks or fraud proofs were added."""
    void_before = {row[0] for row in connection.execute("SELECT block FROM void")}
    void = void_blocks(connection)
    if void_before != void:
        connection.execute("DELETE FROM void")
        connection.executemany("INSERT INTO void (block) VALUES (?)", [(block,) for block in sorted(void)])
    if void_before ^ void <= set(new_ids):
        advance_heads(connection, [block for block in new_ids if block not in void])
    else:
        recompute_heads(connection)


def advance_heads(connection: sqlite3.Connection, block_ids: Iterable[int]) -> None:
    """Let new blocks that count take the place of their parents among the heads."""
    for block_id in block_ids:
        connection.execute(
            "DELETE FROM head WHERE block IN (SELECT parent FROM edge WHERE child = ?)", (block_id,)
        )
        connection.execute("INSERT INTO head (block) VALUES (?)", (block_id,))


def settle_anew(connection: sqlite3.Connection) -> None:
    """Find void blocks and heads from nothing but blocks, edges and fraud proofs."""
    void = void_blocks(connection)
    connection.executemany("INSERT INTO void (block) VALUES (?)", [(block,) for block in sorted(void)])
    recompute_heads(connection)


def recompute_heads(connection: sqlite3.Connection) -> None:
    """Find the heads from nothing but edges and void blocks."""
    connection.execute("DELETE FROM head")
    connection.execute(
        "INSERT INTO head SELECT id FROM block WHERE id NOT IN (SELECT block FROM void) AND NOT EXISTS"
        " (SELECT 1 FROM edge WHERE parent = block.id AND child NOT IN (SELECT block FROM void))"
    )


def void_blocks(connection: sqlite3.Connection) -> set[int]:
    """Return the blocks of frozen issuers, from their forks on, that nobody in good standing built on."""
    forks = connection.execute(
        "SELECT issuer.id, min(fraud.seq) FROM fraud JOIN issuer ON issuer.public_key = fraud.issuer"
        " GROUP BY issuer.id"
    ).fetchall()
    void: set[int] = set()
    for issuer, seq in forks:
        void.update(
            row[0]
            for row in connection.execute("SELECT id FROM block WHERE issuer = ? AND seq >= ?", (issuer, seq))
        )
    # Children have higher ids than their parents, so from the highest down each child is decided first.
    for block in sorted(void, reverse=True):
        children = connection.execute("SELECT child FROM edge WHERE parent = ?", (block,))
        if any(child not in void for (child,) in children):
            void.remove(block)
    return void


def rebuild(connection: sqlite3.Connection, blocks: Iterable[tuple[int, Block]]) -> None:
    """Derive everything anew. ``blocks`` are all the stored ones with their ids, in the order of ids.

    Raises BlockError, which names the block.
    """
    for table in schema.DERIVED_TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in filter(str.strip, schema.DERIVED.split(";")):
        connection.execute(statement)
    for block_id, block in blocks:
        try:
            add_block(connection, block_id, block)
        except BlockError as error:
            raise BlockError(f"block {block.hash.hex()} is damaged: {error}") from None
    settle_anew(connection)
