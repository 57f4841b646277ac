from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from ledger.cli import app
from ledger.fleet import PUBLIC, Fleet, reading
from ledger.service.identity import load_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    fleet = Fleet(tmp_path, ["east", "west"])
    fleet.join("east", "west")
    for counter in range(3):
        fleet.write("east", reading(1, counter), reading(2, counter))
    fleet.run(1)
    fleet.stores["west"].add_pending(*reading(3, 0))
    fleet.close()
    return tmp_path / "west.db"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def as_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json")[1])


def test_without_arguments_it_helps() -> None:
    code, output = run()
    assert code == 0
    assert all(
        command in output
        for command in ("gateway", "serve", "check", "keygen", "verify", "inspect", "reindex")
    )


def test_gateways_and_audits_do_without_what_draws_tables() -> None:
    loaded = "import sys, ledger.cli, ledger.service.daemon; print('rich' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"


def test_verify_whole(database: Path) -> None:
    code, output = run("verify", str(database))
    assert code == 0
    assert output.strip().endswith("whole (3 blocks with 6 readings, 1 pending, 1 issuers, 0 frozen)")
    document = as_json("verify", str(database))
    assert document["clean"]
    assert (document["blocks"], document["readings"], document["findings"]) == (3, 6, [])


def test_verify_names_the_damaged_block(database: Path) -> None:
    block = as_json("inspect", str(database), "--block", as_json("inspect", str(database))["heads"][0])
    content = database.read_bytes()
    signature = bytes.fromhex(block["signature"])
    assert content.count(signature) == 1
    database.write_bytes(content.replace(signature, bytes([signature[0] ^ 1]) + signature[1:]))
    code, output = run("verify", str(database))
    assert code == 1
    # The signature is part of what is hashed.
    assert f"block {block['hash']} (issuer {block['issuer'][:12]}, seq 2): its bytes hash to" in output
    document = as_json("verify", str(database))
    assert not document["clean"]
    assert {finding["block"] for finding in document["findings"]} == {block["hash"]}


def test_verify_tells_of_a_seq_that_is_no_number(database: Path) -> None:
    (head,) = as_json("inspect", str(database))["heads"]
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        # As a flipped bit in the head of a row does it, under the eyes of a strict table.
        strict = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'block'").fetchone()[0]
        lax = strict.replace("STRICT", "").replace("seq INTEGER", "seq BLOB")
        for sql, change in ((lax, "UPDATE block SET seq = x'0102' WHERE seq = 2"), (strict, "SELECT 1")):
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'block'", (sql,))
            connection.execute("PRAGMA writable_schema = RESET")
            connection.execute(change)
    document = as_json("verify", str(database))
    named = [finding for finding in document["findings"] if finding["block"] == head]
    assert [(finding["what"], finding["seq"]) for finding in named] == [("its bytes say seq 2", None)]
    told = (1, f"error: {database}: the seq of a block is damaged; run `ledger verify`\n")
    assert (run("inspect", str(database)), run("inspect", str(database), "--json")) == (told, told)


def test_inspect_names_the_block_that_is_damaged(database: Path) -> None:
    head = as_json("inspect", str(database))["heads"][0]
    whole = as_json("inspect", str(database), "--block", head)["readings"][-1]
    content = database.read_bytes()
    plaintext = bytes.fromhex(whole["plaintext"])
    place = content.index(plaintext + b"\x58\x20" + bytes.fromhex(whole["frame_hash"]))
    # A reading that is none any more, and one that only says something else.
    for damaged in (place + len(plaintext), place):
        changed = bytearray(content)
        changed[damaged] ^= 0x10
        database.write_bytes(changed)
        code, output = run("inspect", str(database), "--block", head)
        assert code == 1
        assert output.startswith(f"error: {database}: block {head} is damaged: the readings do not have the")
        assert output.endswith("; run `ledger verify`\n")


def test_inspect(database: Path) -> None:
    document = as_json("inspect", str(database))
    assert (document["blocks"], document["readings"], document["pending"]) == (3, 6, 1)
    (issuer,) = document["issuers"]
    assert (issuer["name"], issuer["public_key"], issuer["top_seq"]) == ("east", PUBLIC["east"].hex(), 2)
    code, output = run("inspect", str(database))
    assert code == 0
    assert document["heads"][0] in output
    code, output = run("inspect", str(database), "--block", document["heads"][0][:16])
    assert code == 0
    assert document["heads"][0] in output
    assert "-90.00" in output


def test_reindex(database: Path) -> None:
    assert run("reindex", str(database)) == (0, f"{database}: index of 3 blocks built anew\n")
    assert run("verify", str(database))[0] == 0


@pytest.mark.parametrize("command", ["verify", "inspect", "reindex"])
def test_wrong_use_exits_with_2(tmp_path: Path, command: str) -> None:
    assert run(command)[0] == 2
    code, output = run(command, str(tmp_path / "none.db"))
    assert code == 2
    assert "does not exist" in " ".join(output.split())


def test_no_such_block_is_wrong_use(database: Path) -> None:
    for prefix in ("zz", "ffffffffffff", ""):
        assert run("inspect", str(database), "--block", prefix)[0] == 2


@pytest.mark.parametrize("command", ["inspect", "reindex", "verify"])
def test_a_file_that_is_no_ledger_exits_with_1(tmp_path: Path, command: str) -> None:
    path = tmp_path / "x.db"
    path.write_text("time,p_w\n" * 500)
    code, output = run(command, str(path))
    assert code == 1
    assert "database" in output


def test_keygen_prints_the_public_key_of_what_it_writes(tmp_path: Path) -> None:
    file = tmp_path / "east.key"
    code, output = run("keygen", "--out", str(file))
    assert code == 0
    assert output == bytes(load_key(file).verify_key).hex() + "\n"
    assert file.read_text().strip() not in output
    code, output = run("keygen", "--out", str(file))
    assert code == 1
    assert "is there already; a key is never overwritten" in output
    assert run("keygen")[0] == 2


@pytest.mark.parametrize("command", ["gateway", "serve", "check"])
def test_daemons_need_a_configuration_that_is_one(tmp_path: Path, command: str) -> None:
    assert run(command)[0] == 2
    assert run(command, "--config", str(tmp_path / "none.toml"))[0] == 2
    file = tmp_path / "ledger.toml"
    file.write_text("name = ''")
    code, output = run(command, "--config", str(file))
    assert code == 1
    assert output.startswith(f"error: {file}: key name is ''; it must be a name of 1 to 64")
