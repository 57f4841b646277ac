from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import NO_PREVIOUS, seal
from ledger.fleet import KEYS, NETWORK, PUBLIC, REGISTRY, Fleet, reading
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import SqliteStore
from ledger.verify import _Auditor, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ledger.block import Block


@cache
def database() -> bytes:
    """The file of a server with blocks of two gateways, a fork, and blocks on several pages."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), ["east", "north", "twin", "server"])
        for counter in range(3):
            fleet.write("east", *[reading(uno_id, counter) for uno_id in range(1, 100)])
            fleet.write("north", reading(100, counter))
            fleet.write("twin", reading(101, counter))
            for name in ("east", "north", "twin"):
                fleet.join(name, "server")
            fleet.run(1)
        fleet.stores["server"].add_pending(*reading(200, 0))
        assert fleet.stores["server"].frozen()
        fleet.close()
        assert verify(Path(folder) / "server.db").clean
        return (Path(folder) / "server.db").read_bytes()


def rows_of(path: Path) -> dict[int, Any] | None:
    """What SQLite itself reads of each block: the oracle for what a flipped bit has changed.

    None if the file as a whole cannot be read, because its header or its list of tables is hit.
    """
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    rows: dict[int, Any] = {}
    try:
        connection.execute("SELECT hash, seq, raw, public_key FROM block, issuer LIMIT 0")
        for block_id in range(1, 20):
            try:
                rows[block_id] = connection.execute(
                    "SELECT hash, (SELECT public_key FROM issuer WHERE id = block.issuer), seq, raw"
                    " FROM block NOT INDEXED WHERE id = ?",
                    (block_id,),
                ).fetchone()
            except sqlite3.DatabaseError as error:
                rows[block_id] = str(error)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    finally:
        connection.close()
    return rows


@given(place=st.integers(0, len(database()) - 1), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_anywhere_in_the_file(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        path.write_bytes(database())
        whole = rows_of(path)
        assert whole is not None
        content = bytearray(database())
        content[place] ^= 1 << bit
        path.write_bytes(content)
        audit = verify(path)
        rows = rows_of(path)
        if rows is None:
            assert not audit.clean
            return
        named = {finding.block_hash for finding in audit.findings}
        for block_id, row in whole.items():
            if row is not None and rows[block_id] != row:
                now = rows[block_id][0] if isinstance(rows[block_id], tuple) else None
                assert {row[0], now} & (named - {None})


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_changed_column_of_a_block_is_named(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        path.write_bytes(database())
        connection = sqlite3.connect(path, isolation_level=None)
        rows = connection.execute(
            "SELECT block.id, hash, raw, seq, public_key FROM block JOIN issuer ON issuer.id = issuer"
        ).fetchall()
        block_id, block_hash, raw, seq, issuer = data.draw(st.sampled_from(rows))
        column = data.draw(st.sampled_from(["hash", "raw", "seq", "public_key"]))
        if column in ("hash", "raw"):
            value = bytearray(block_hash if column == "hash" else raw)
            value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            connection.execute(f"UPDATE block SET {column} = ? WHERE id = ?", (bytes(value), block_id))
            expected = {bytes(value) if column == "hash" else block_hash}
        elif column == "seq":
            connection.execute("UPDATE block SET seq = ? WHERE id = ?", (seq ^ 1, block_id))
            expected = {block_hash}
        else:
            key = bytearray(issuer)
            key[data.draw(st.integers(0, 31))] ^= 1
            connection.execute("UPDATE issuer SET public_key = ? WHERE public_key = ?", (bytes(key), issuer))
            expected = {row[1] for row in rows if row[4] == issuer}
        connection.close()
        audit = verify(path)
        assert expected <= {finding.block_hash for finding in audit.findings}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("DELETE FROM block WHERE id = 1", "is missing"),
        ("DELETE FROM head", "derived table 'head' lacks"),
        ("INSERT OR IGNORE INTO tip VALUES (1), (2), (3)", "derived table 'tip' has a stray row"),
        ("INSERT INTO void SELECT id FROM block WHERE id NOT IN void", "'void' has a stray row"),
        ("INSERT INTO edge VALUES (1, 77)", "'edge' has a stray row"),
        ("UPDATE reading SET offset = offset + 1", "derived table 'reading'"),
        ("DELETE FROM reading WHERE counter = 1", "derived table 'reading' lacks"),
        ("INSERT INTO reading VALUES (1, 2, 3, 4, 5, 6)", "derived table 'reading' has a stray row"),
        ("DELETE FROM fraud", "no fraud proof is kept"),
        ("UPDATE fraud SET seq = 7", "not that of its row"),
        ("UPDATE registry SET digest = x'00'", "registry of epoch 1: its checksum"),
        ("DELETE FROM registry", "no whole registry"),
        ("UPDATE pending SET frame = x'00'", "pending reading 200/1/0: its checksum"),
        ("UPDATE pending SET counter = 5", "pending reading 200/1/5: it disagrees"),
        ("INSERT INTO issuer (public_key) VALUES (zeroblob(32))", "has no block"),
        ("DROP TABLE tip", "tip is missing"),
        ("DROP INDEX block_by_place", "block_by_place is missing"),
        ("CREATE TABLE extra (x)", "extra does not belong"),
        ("PRAGMA user_version = 9", "schema version 9"),
        ("PRAGMA application_id = 9", "not a ledger database"),
    ],
)
def test_what_else_is_found(tmp_path: Path, change: str, finding: str) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(database())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(change)
    connection.close()
    assert any(finding in str(found) for found in verify(path).findings), verify(path).findings


def test_an_issuer_that_left_the_registry_and_a_foreign_signature(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.db", durability="off")
    store.add_pending(*reading(1, 0))
    Node(KEYS["east"], REGISTRY, store).seal_block(1)
    (block,) = store.heads()
    other = Registry(NETWORK, 2, {PUBLIC["west"]: Issuer("west")})
    store.put_registry(other)
    store.close()
    (finding,) = verify(tmp_path / "x.db").findings
    assert finding.block_hash == block
    assert "may not write" in finding.what


def test_a_block_on_top_of_one_from_a_newer_registry_epoch(tmp_path: Path) -> None:
    issuers = {PUBLIC["east"]: Issuer("east", until_epoch=3), PUBLIC["west"]: Issuer("west")}
    newer = block_of("west", registry_epoch=5)
    backdated = block_of("east", heads=[newer.hash], registry_epoch=2)
    with closing(SqliteStore(tmp_path / "x.db", durability="off")) as store:
        store.put_registry(Registry(NETWORK, 5, issuers))
        store.put_blocks([newer, backdated])
    (finding,) = verify(tmp_path / "x.db").findings
    assert finding.block_hash == backdated.hash
    assert finding.what == "sealed under registry epoch 2, but builds on a block of epoch 5"


def block_of(name: str, *, heads: Sequence[bytes] = (), registry_epoch: int) -> Block:
    return seal(
        KEYS[name],
        NETWORK,
        seq=0,
        prev=NO_PREVIOUS,
        heads=heads,
        leaves=(),
        frontier_root=bytes(32),
        sealed_ns=1,
        registry_epoch=registry_epoch,
    )


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00", bytes(100_000)])
def test_what_is_no_database_is_a_finding(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    assert not verify(path).clean


def test_a_whole_database_where_nothing_may_be_written_is_whole() -> None:
    """In write-ahead mode, as every store is, SQLite wants to write beside it even to read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "x.db"
        path.write_bytes(database())
        path.chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            with pytest.raises(PermissionError):
                (folder / "other").touch()
            audit = verify(path)
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
        assert (audit.findings, audit.pending) == ([], 1)
        assert audit.blocks > 3


@pytest.mark.parametrize("kept", [100, 4096, 20_000, 60_000])
def test_a_cut_off_file_is_a_finding(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(database()[:kept])
    assert not verify(path).clean


def test_a_ledger_that_grows_meanwhile_is_audited_as_it_was_at_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway seals a block between the look at the blocks and the look at what is derived from them."""
    fleet = Fleet(tmp_path, ["east"])
    fleet.write("east", reading(1, 0))
    block_rows = _Auditor._block_rows

    def and_one_more(auditor: _Auditor) -> Iterator[Any]:
        yield from block_rows(auditor)
        fleet.write("east", reading(1, 1))

    monkeypatch.setattr(_Auditor, "_block_rows", and_one_more)
    audit = verify(tmp_path / "east.db")
    assert (audit.findings, audit.blocks, audit.readings) == ([], 1, 1)
    monkeypatch.undo()
    assert verify(tmp_path / "east.db").blocks == 2
    fleet.close()
