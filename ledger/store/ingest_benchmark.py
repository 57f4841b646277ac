"""How fast this host signs, stores, audits and merges blocks. Prints one JSON object.

Run ``python -m ledger.store.ingest_benchmark``. The figures are those of the host it runs on, commits waiting
for its disk; they say nothing about a Raspberry Pi, which is calibrated by the bench.
"""

from __future__ import annotations

import json
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from nacl.signing import SigningKey

from ledger.block import Reading, frame_hash
from ledger.effects import NodeEffect, SendToPeer
from ledger.messages import FromPeer, PeerUp
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import SqliteStore
from ledger.verify import verify

if TYPE_CHECKING:
    from ledger.store.sqlite import Durability

KEYS = [SigningKey(bytes([number]) * 32) for number in (1, 2)]
REGISTRY = Registry(b"benchmark ledger", 0, {bytes(key.verify_key): Issuer("gateway") for key in KEYS})
PLAINTEXT_BYTES = 21
"""Four pulse inputs and no AC channel."""


def _reading(uno_id: int, counter: int) -> tuple[Reading, bytes]:
    frame = b"%05d%010d" % (uno_id, counter)
    received_ns = 1_700_000_000_000_000_000 + counter
    plaintext = counter.to_bytes(PLAINTEXT_BYTES, "big")
    return Reading(uno_id, 1, counter, received_ns, -9_000, plaintext, frame_hash(frame)), frame


def _write(node: Node, store: SqliteStore, uno_id: int, readings: int, batch: int) -> float:
    """Take in and seal readings; return the seconds that it took."""
    prepared = [_reading(uno_id, counter) for counter in range(readings)]
    start_s = time.perf_counter()
    for number, (item, frame) in enumerate(prepared, start=1):
        store.add_pending(item, frame)
        if number % batch == 0:
            node.seal_block(number)
    node.seal_block(readings)
    return time.perf_counter() - start_s


def ingest(folder: Path, readings: int, batch: int, durability: Durability) -> dict[str, Any]:
    """Measure writing and auditing one issuer's blocks."""
    path = folder / f"ingest-{batch}-{durability}.db"
    store = SqliteStore(path, durability)
    elapsed_s = _write(Node(KEYS[0], REGISTRY, store), store, 1, readings, batch)
    raw_bytes = sum(share.raw_bytes for share in store.issuer_shares())
    store.close()
    start_s = time.perf_counter()
    audit = verify(path)
    verify_s = time.perf_counter() - start_s
    if not audit.clean:
        raise RuntimeError(f"the audit found: {audit.findings[0]}")
    return {
        "batch": batch,
        "durability": durability,
        "readings": readings,
        "signed_readings_per_s": round(readings / elapsed_s),
        "audited_readings_per_s": round(readings / verify_s),
        "audited_blocks_per_s": round(audit.blocks / verify_s),
        "raw_bytes_per_reading": round(raw_bytes / readings, 1),
        "file_bytes_per_reading": round(path.stat().st_size / readings, 1),
    }


def merge(folder: Path, readings: int, batch: int, durability: Durability) -> dict[str, Any]:
    """Measure the joining of two nodes that wrote while cut off from each other."""
    stores = [SqliteStore(folder / f"merge-{batch}-{side}.db", durability) for side in (0, 1)]
    nodes = [Node(key, REGISTRY, store) for key, store in zip(KEYS, stores, strict=True)]
    for side in (0, 1):
        _write(nodes[side], stores[side], side + 1, readings, batch)
    start_s = time.perf_counter()
    wires = [(side, effect) for side in (0, 1) for effect in nodes[side].handle(PeerUp("peer"), 0)]
    sent_bytes = messages = 0
    while wires:
        side, effect = wires.pop(0)
        if isinstance(effect, SendToPeer):
            messages += 1
            sent_bytes += len(effect.payload)
            answers: list[NodeEffect] = nodes[1 - side].handle(FromPeer("peer", effect.payload), 0)
            wires += [(1 - side, answer) for answer in answers]
    elapsed_s = time.perf_counter() - start_s
    if stores[0].heads() != stores[1].heads():
        raise RuntimeError("the nodes did not end with the same heads")
    for store in stores:
        store.close()
    return {
        "batch": batch,
        "durability": durability,
        "readings_each_side": readings,
        "merge_s": round(elapsed_s, 3),
        "merged_blocks_per_s": round(2 * -(-readings // batch) / elapsed_s),
        "messages": messages,
        "sent_bytes": sent_bytes,
        "sent_bytes_per_reading": round(sent_bytes / (2 * readings), 1),
    }


def main(
    readings: Annotated[int, typer.Option(help="Readings per measurement.", min=64)] = 6_400,
    folder: Annotated[
        Path | None, typer.Option(help="Where to put the databases; its disk is measured.")
    ] = None,
) -> None:
    """Measure, and print one JSON object."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        result = {
            "host": "real",
            "machine": platform.machine(),
            "python": platform.python_version(),
            "ingest": [
                ingest(place, readings, batch, durability)
                for durability in ("full", "off")
                for batch in (1, 64)
            ],
            "merge": [merge(place, readings, batch, "full") for batch in (1, 64)],
            "peak_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
    typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
