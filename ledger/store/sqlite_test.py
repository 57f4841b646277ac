from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Block, FraudProof
from ledger.encoding import encode
from ledger.fleet import KEYS, PUBLIC, REGISTRY, reading
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store import StoreError, schema
from ledger.store.sqlite import MEMORY, SqliteStore
from ledger.verify import verify

if TYPE_CHECKING:
    from pathlib import Path


def filled(path: Path, blocks: int = 3) -> SqliteStore:
    store = SqliteStore(path, durability="off")
    node = Node(KEYS["east"], REGISTRY, store)
    for counter in range(blocks):
        store.add_pending(*reading(2, counter))
        store.add_pending(*reading(1, counter))
        node.seal_block(counter)
    return store


def test_durability_is_what_was_asked_for(tmp_path: Path) -> None:
    for durability, level in (("full", 2), ("off", 0)):
        store = SqliteStore(tmp_path / f"{durability}.db", durability)  # type: ignore[arg-type]  # both are valid
        connection = store._connection
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == level
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        store.close()
    assert SqliteStore(tmp_path / "default.db")._connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_pending_readings_survive_and_move_into_the_block_in_one_transaction(tmp_path: Path) -> None:
    path = tmp_path / "east.db"
    store = SqliteStore(path)
    item, frame = reading(1, 0)
    assert store.has_reading(*item.key) is None
    store.add_pending(item, frame)
    # Not closed: what is on the disk now is what a power cut would leave.
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    after = SqliteStore(copy)
    assert after.pending(10) == [item]
    assert after.has_reading(*item.key) == item.frame_hash
    Node(KEYS["east"], REGISTRY, after).seal_block(1)
    assert (after.pending_count(), list(after.readings())) == (0, [item])
    assert after.has_reading(*item.key) == item.frame_hash


def test_add_pending_refuses_what_it_must_not_keep(tmp_path: Path) -> None:
    store = filled(tmp_path / "east.db")
    with pytest.raises(StoreError, match="stored already"):
        store.add_pending(*reading(1, 0))
    with pytest.raises(StoreError, match="frame hash"):
        store.add_pending(reading(1, 99)[0], b"another frame")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE pending SET frame = x'00' WHERE counter = 0",
        "UPDATE pending SET leaf = x'00' WHERE counter = 0",
        "UPDATE pending SET uno_id = 9 WHERE counter = 0",
    ],
)
def test_a_damaged_pending_reading_is_set_aside_counted_and_told_and_the_rest_is_sealed(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "east.db"
    store = SqliteStore(path)
    for counter in range(3):
        store.add_pending(*reading(1, counter))
    store._connection.execute(damage)
    assert [item.counter for item in store.pending(1)] == [1]
    assert [item.counter for item in store.pending(10)] == [1, 2]
    assert (store.pending_count(), store.damaged_pending_count()) == (2, 1)
    node = Node(KEYS["east"], REGISTRY, store)
    node.seal_block(1)
    assert [item.counter for item in store.readings()] == [1, 2]
    assert node.seal_block(2) == []
    assert (store.pending_count(), store.damaged_pending_count()) == (0, 1)
    store.close()
    (finding,) = verify(path).findings
    assert "pending reading" in str(finding)


def test_a_repeat_of_a_frame_takes_the_place_of_its_damaged_reading(tmp_path: Path) -> None:
    path = tmp_path / "east.db"
    store = SqliteStore(path)
    for counter in range(2):
        store.add_pending(*reading(1, counter))
    store._connection.execute("UPDATE pending SET leaf = x'00' WHERE counter = 0")
    assert len(store.pending(10)) == 1
    item, frame = reading(1, 0)
    assert store.has_reading(*item.key) is None
    store.add_pending(item, frame)
    assert store.has_reading(*item.key) == item.frame_hash
    assert sorted(item.counter for item in store.pending(10)) == [0, 1]
    assert (store.pending_count(), store.damaged_pending_count()) == (2, 0)
    store.put_registry(REGISTRY)
    store.close()
    assert verify(path).clean


def test_readings_come_in_order_and_by_meter_and_issuer(tmp_path: Path) -> None:
    store = filled(tmp_path / "east.db")
    assert [r.key for r in store.readings()] == [(u, 1, c) for u in (1, 2) for c in range(3)]
    assert [r.key for r in store.readings(uno_id=2)] == [(2, 1, c) for c in range(3)]
    assert len(list(store.readings(issuer=PUBLIC["east"]))) == 6
    assert list(store.readings(issuer=PUBLIC["west"])) == []


def test_blocks_after_a_frontier(tmp_path: Path) -> None:
    store = filled(tmp_path / "east.db", blocks=5)
    everything = store.blocks_after({}, 10**6)
    assert [block.seq for block in everything] == [0, 1, 2, 3, 4]
    assert store.blocks_after({PUBLIC["east"]: 2}, 10**6) == everything[3:]
    assert store.blocks_after(store.frontier(), 10**6) == []
    limit = len(everything[0].raw) + len(everything[1].raw)
    assert store.blocks_after({}, limit) == everything[:2]
    assert store.blocks_after({}, 1) == everything[:1]
    assert store.blocks_after({}, 10**6, {everything[0].hash}) == everything[1:]
    for block in everything:
        found = store.block(block.hash)
        assert found is not None
        assert found.raw == block.raw
    assert store.block(bytes(32)) is None


def test_reindex_brings_back_what_was_derived(tmp_path: Path) -> None:
    path = tmp_path / "east.db"
    store = filled(path)
    before = (store.heads(), store.tips(), list(store.readings()))
    for table in schema.DERIVED_TABLES:
        store._connection.execute(f"DELETE FROM {table}")
    assert not verify(path).clean
    assert store.reindex() == 3
    assert (store.heads(), store.tips(), list(store.readings())) == before
    assert verify(path).clean


def test_reindex_names_the_block_that_hinders_it_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "east.db"
    store = filled(path)
    first, second = (block.hash.hex() for block in store.blocks_after({}, 10**6)[:2])
    connection = store._connection
    raw = connection.execute("SELECT raw FROM block WHERE id = 1").fetchone()[0]
    bad_leaf = encode([Block.decode(raw).signed.raw, [b"no reading"]])
    for damage, values, message in (
        ("UPDATE block SET raw = ? WHERE id = 1", (b"no block",), f"block {first} is damaged"),
        ("UPDATE block SET raw = ? WHERE id = 1", (bad_leaf,), f"block {first} is damaged"),
        ("DELETE FROM block WHERE id = 1", (), f"block {second} is damaged: its parent {first} is missing"),
    ):
        connection.execute(damage, values)
        with pytest.raises(StoreError, match=f"{path}: {message}.*restore it from a peer"):
            store.reindex()
        assert connection.execute("SELECT count(*) FROM reading").fetchone()[0] == 6


def test_the_registry_may_only_grow(tmp_path: Path) -> None:
    store = filled(tmp_path / "east.db")
    newer = Registry(REGISTRY.network, 2, {**REGISTRY.issuers, bytes(range(32)): Issuer("new")})
    store.put_registry(newer)
    kept = store.registry()
    assert kept is not None
    assert kept.issuers == newer.issuers
    with pytest.raises(StoreError, match="higher epoch"):
        store.put_registry(REGISTRY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"time,p_w\n0,1\n" * 100, "not a ledger database"),
        (b"SQLite format 3\x00" + bytes(4080), "damaged|not a ledger"),
    ],
)
def test_a_file_that_is_no_ledger(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message) as caught:
        SqliteStore(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_other_databases_and_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photo (id INTEGER)")
    with pytest.raises(StoreError, match="not a ledger database"):
        SqliteStore(path)
    store = filled(tmp_path / "east.db")
    store._connection.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match="schema version 99, but this program knows 1"):
        SqliteStore(tmp_path / "east.db")
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path / "no folder" / "x.db")
    with pytest.raises(StoreError):
        SqliteStore(tmp_path / "none.db", read_only=True)


def test_a_full_disk_names_the_mend_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "east.db"
    store = filled(path)
    node = Node(KEYS["east"], REGISTRY, store)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    counter = 100
    message = None
    while message is None:
        try:
            store.add_pending(*reading(1, counter))
            counter += 1
        except StoreError as error:
            message = str(error)
    assert "disk is full: free some space" in message
    acknowledged = counter - 100
    assert store.pending_count() == acknowledged
    store._connection.execute("PRAGMA max_page_count = 100000")
    while store.pending_count():
        node.seal_block(1)
    assert len(list(store.readings())) == 6 + acknowledged
    store.close()
    assert verify(path).clean


def two_at_one_place() -> tuple[Block, Block]:
    blocks = []
    for counter in range(2):
        store = SqliteStore(MEMORY)
        store.add_pending(*reading(1, counter))
        Node(KEYS["east"], REGISTRY, store).seal_block(1)
        block = store.block(store.heads()[0])
        assert block is not None
        blocks.append(block)
        store.close()
    return blocks[0], blocks[1]


def test_fraud_proofs_count_once_they_are_stored() -> None:
    store = SqliteStore(MEMORY)
    one, other = two_at_one_place()
    proof = FraudProof.of(one.signed, other.signed)
    with pytest.raises(StoreError):
        store.put_blocks([one, one], [proof])
    assert (store.frozen(), list(store.blocks())) == ({}, [])
    store.put_blocks([one], [proof])
    assert (store.frozen(), store.heads()) == ({PUBLIC["east"]: 0}, [])
    store.close()
    with pytest.raises(StoreError, match="closed database"):
        store.put_blocks([other], [proof])


def test_a_locked_database_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.store.sqlite.BUSY_TIMEOUT_S", 0.01)
    store = filled(tmp_path / "east.db")
    other = sqlite3.connect(tmp_path / "east.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program holds the database"):
        store.add_pending(*reading(9, 9))
    # Readers do not mind.
    assert len(list(store.readings())) == 6
    other.execute("ROLLBACK")
    store.add_pending(*reading(9, 9))
    other.close()


def test_a_store_in_memory_is_a_store() -> None:
    store = filled(MEMORY)
    assert len(list(store.readings())) == 6


WRITER = """
import sys
from pathlib import Path
from ledger.fleet import KEYS, REGISTRY, reading
from ledger.node import Node
from ledger.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
node = Node(KEYS["east"], REGISTRY, store)
for counter in range(10_000):
    store.add_pending(*reading(1, counter))
    print(counter, flush=True)
    if counter % 3 == 2:
        node.seal_block(counter)
"""


@given(st.integers(1, 60))
@settings(max_examples=4, deadline=None)
def test_a_killed_writer_loses_nothing_that_it_acknowledged(lines: int) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "east.db"
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root)},
        ) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                last = int(writer.stdout.readline())
            writer.kill()
        store = SqliteStore(path)
        Node(KEYS["east"], REGISTRY, store).seal_block(1)
        counters = [item.counter for item in store.readings()]
        assert counters == list(range(len(counters)))
        assert counters[-1] >= last
        store.close()
        assert verify(path).clean
