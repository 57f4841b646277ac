"""What is in a database, as tables for a person."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_console = Console(highlight=False)


def print_summary(document: dict[str, Any]) -> None:
    """Show what `ledger inspect --json` tells of a database."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("network", f"{document['network']} (registry epoch {document['registry_epoch']})")
    facts.add_row("blocks", f"{document['blocks']:,} ({document['raw_bytes']:,} bytes raw)")
    facts.add_row("file", f"{document['file_bytes']:,} bytes")
    facts.add_row(
        "readings",
        f"{document['readings']:,} (copies {document['duplicates']:,},"
        f" contradictions {document['conflicts']:,}, void {document['void_readings']:,},"
        f" pending {document['pending']:,})",
    )
    _console.print(facts)
    issuers = Table(title="Issuers", title_justify="left")
    for heading in ("name", "public key"):
        issuers.add_column(heading, no_wrap=True)
    for heading in ("blocks", "top seq", "readings", "bytes"):
        issuers.add_column(heading, justify="right")
    issuers.add_column("state")
    for issuer in document["issuers"]:
        fork = issuer["frozen_at"]
        issuers.add_row(
            escape(issuer["name"]),
            issuer["public_key"][:12],
            f"{issuer['blocks']:,}",
            f"{issuer['top_seq']:,}",
            f"{issuer['readings']:,}",
            f"{issuer['raw_bytes']:,}",
            "good" if fork is None else f"[red]frozen at {fork}[/red]",
        )
    _console.print(issuers)
    _console.print("Heads")
    for head in document["heads"]:
        _console.print(f"  {head}", soft_wrap=True)


def print_block(document: dict[str, Any]) -> None:
    """Show what `ledger inspect --block --json` tells of a block."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in document.items():
        if name == "heads":
            facts.add_row(name, "\n".join(value) or "none")
        elif name != "readings":
            facts.add_row(name, "none" if value is None else str(value))
    _console.print(facts)
    readings = Table(title="Readings", title_justify="left")
    for heading in ("uno", "boot", "counter", "received ns", "RSSI dBm"):
        readings.add_column(heading, justify="right")
    readings.add_column("plaintext", overflow="fold")
    for reading in document["readings"]:
        readings.add_row(
            str(reading["uno_id"]),
            str(reading["boot_epoch"]),
            str(reading["counter"]),
            str(reading["received_ns"]),
            f"{reading['rssi_cdbm'] / 100:.2f}",
            reading["plaintext"],
        )
    _console.print(readings)
