"""The ``ledger`` command: runs a gateway or a server, audits a database and shows what is in it.

Exit status: 0 all is well, or a daemon was ended by a signal; 1 the database is damaged, or something
cannot be used; 2 the command was used wrongly.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.block import BlockError
from ledger.service import config, identity
from ledger.store import StoreError
from ledger.store.sqlite import SqliteStore
from ledger.verify import open_for_reading, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ledger.block import Block

app = typer.Typer(
    name="ledger",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Database = Annotated[
    Path,
    typer.Argument(metavar="DB", help="The database file of a node.", exists=True, dir_okay=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ConfigFile = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="The configuration (TOML).", exists=True, dir_okay=False),
]


def _fail(error: ValueError | RuntimeError) -> typer.Exit:
    typer.echo(f"{typer.style('error:', fg='red')} {error}", err=True)
    return typer.Exit(1)


@app.callback()
def help_without_command(context: typer.Context) -> None:
    """Run a node of the ledger; audit and inspect its database."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("verify")
def verify_command(database: Database, as_json: AsJson = False) -> None:
    """Audit every block from its raw bytes, and all that is derived from them."""
    audit = verify(database)
    summary = (
        f"{audit.blocks} blocks with {audit.readings} readings, {audit.pending} pending,"
        f" {audit.issuers} issuers, {audit.frozen} frozen"
    )
    if as_json:
        findings = [
            {
                "what": finding.what,
                "block": finding.block_hash.hex() if finding.block_hash is not None else None,
                "issuer": finding.issuer.hex() if finding.issuer is not None else None,
                "seq": finding.seq,
            }
            for finding in audit.findings
        ]
        typer.echo(
            json.dumps(
                {
                    "clean": audit.clean,
                    "blocks": audit.blocks,
                    "readings": audit.readings,
                    "pending": audit.pending,
                    "issuers": audit.issuers,
                    "frozen": audit.frozen,
                    "findings": findings,
                }
            )
        )
    elif audit.clean:
        typer.echo(f"{database}: {typer.style('whole', fg='green')} ({summary})")
    else:
        for finding in audit.findings:
            typer.echo(f"{typer.style('bad:', fg='red')} {finding}")
        damaged = typer.style("damaged", fg="red")
        typer.echo(f"{database}: {damaged}, {len(audit.findings)} findings ({summary})")
    if not audit.clean:
        raise typer.Exit(1)


@app.command()
def inspect(
    database: Database,
    block: Annotated[
        str | None, typer.Option(metavar="HASH", help="Show one block (start of its hash).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show blocks, heads, issuers, readings and sizes; or one block."""
    try:
        store = open_for_reading(database)
        try:
            document = _summary(store) if block is None else _block_details(store, block)
        finally:
            store.close()
    except StoreError as error:
        raise _fail(error) from None
    if as_json:
        typer.echo(json.dumps(document))
    elif block is None:
        _tables().print_summary(document)
    else:
        _tables().print_block(document)


@app.command()
def reindex(database: Database) -> None:
    """Build everything anew that is derived from the raw blocks."""
    try:
        store = SqliteStore(database)
        try:
            blocks = store.reindex()
        finally:
            store.close()
    except StoreError as error:
        raise _fail(error) from None
    typer.echo(f"{database}: index of {blocks} blocks built anew")


@app.command()
def gateway(file: ConfigFile) -> None:
    """Run a gateway: radio frames in, blocks to its peers. Events go to standard output, one JSON a line."""
    _serve(lambda: _daemon().run_gateway(config.load_gateway(file)))


@app.command()
def serve(file: ConfigFile) -> None:
    """Run a server, which its gateways call. Events go to standard output, one JSON a line."""
    _serve(lambda: _daemon().run_server(config.load_server(file)))


@app.command()
def check(file: ConfigFile) -> None:
    """Check a configuration, and all files that it names, without starting anything."""
    _serve(lambda: typer.echo(_daemon().check(config.load(file))))


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new file for the secret key.", dir_okay=False)],
) -> None:
    """Make a signing key, and print the public key that the operator enrols in the registry."""
    try:
        public_key = identity.write_new_key(out)
    except config.ConfigError as error:
        raise _fail(error) from None
    typer.echo(public_key.hex())


def _daemon() -> ModuleType:
    # Only now, since gRPC takes long to load on a Pi, and reads how much it may say when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return importlib.import_module("ledger.service.daemon")


def _tables() -> ModuleType:
    # Only now, since Rich takes a second to load on a Pi, and neither a gateway nor an audit needs it.
    return importlib.import_module("ledger.tables")


def _serve(work: Callable[[], None]) -> None:
    try:
        work()
    except _daemon().START_ERRORS as error:
        raise _fail(error) from None


def _summary(store: SqliteStore) -> dict[str, Any]:
    registry = store.registry()
    frozen = store.frozen()
    counts = store.reading_counts()
    issuers = []
    for share in store.issuer_shares():
        issuers.append(
            {
                "public_key": share.issuer.hex(),
                "name": registry.issuer_name(share.issuer) if registry else share.issuer.hex()[:12],
                "blocks": share.blocks,
                "readings": share.readings,
                "raw_bytes": share.raw_bytes,
                "top_seq": share.top_seq,
                "frozen_at": frozen.get(share.issuer),
            }
        )
    return {
        "database": str(store.path),
        "file_bytes": store.path.stat().st_size,
        "network": registry.network.hex() if registry else None,
        "registry_epoch": registry.epoch if registry else None,
        "blocks": sum(issuer["blocks"] for issuer in issuers),
        "raw_bytes": sum(issuer["raw_bytes"] for issuer in issuers),
        "heads": [head.hex() for head in store.heads()],
        "issuers": issuers,
        "readings": counts.readings,
        "duplicates": counts.duplicates,
        "conflicts": counts.conflicts,
        "void_readings": counts.void,
        "pending": store.pending_count(),
        "frozen": len(frozen),
    }


def _block_details(store: SqliteStore, prefix: str) -> dict[str, Any]:
    try:
        matches = store.hashes_starting_with(bytes.fromhex(prefix))
    except ValueError:
        raise typer.BadParameter(
            f"{prefix!r} is not an even number of hexadecimal digits", param_hint="--block"
        ) from None
    if len(matches) != 1:
        what = "no block has" if not matches else f"{len(matches)} or more blocks have"
        raise typer.BadParameter(f"{what} a hash that starts with {prefix}", param_hint="--block")
    block = store.block(matches[0])
    assert block is not None, "it was just listed"
    try:
        block.check_batch()
    except BlockError as error:
        raise StoreError(
            f"{store.path}: block {block.hash.hex()} is damaged: {error}; run `ledger verify`"
        ) from None
    return _block_document(block)


def _block_document(block: Block) -> dict[str, Any]:
    header = block.header
    return {
        "hash": block.hash.hex(),
        "issuer": header.issuer.hex(),
        "seq": header.seq,
        "prev": header.prev.hex() if header.seq else None,
        "heads": [head.hex() for head in header.heads],
        "root": header.root.hex(),
        "frontier_root": header.frontier_root.hex(),
        "sealed_ns": header.sealed_ns,
        "registry_epoch": header.registry_epoch,
        "signature": block.signed.signature.hex(),
        "raw_bytes": len(block.raw),
        "readings": [
            {
                "uno_id": reading.uno_id,
                "boot_epoch": reading.boot_epoch,
                "counter": reading.counter,
                "received_ns": reading.received_ns,
                "rssi_cdbm": reading.rssi_cdbm,
                "plaintext": reading.plaintext.hex(),
                "frame_hash": reading.frame_hash.hex(),
            }
            for reading in block.readings
        ],
    }


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
