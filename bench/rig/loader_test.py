from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.rig.loader import load_rig
from bench.rig.model import TABLES, Login
from bench.rig.problem import RigError

RIGS = Path(__file__).parents[2] / "rigs"

RIG = """
[rig]
name = "test"

[[branch]]
name = "east"
data = "house.csv"
sensors = { kind = "s0", per_uno = 4 }
pi = { calibration = "pi.toml" }
"""


def written(folder: Path, text: str | bytes = RIG) -> Path:
    path = folder / "rig.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "house.csv").write_text("time_local,p_w\n")
    (folder / "pi.toml").write_bytes((RIGS / "calibration" / "pi3b-published.toml").read_bytes())
    return path


@pytest.mark.parametrize("path", sorted(RIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_rig_of_the_project_loads(path: Path) -> None:
    assert load_rig(path).branches


def document(name: str) -> dict[str, Any]:
    return tomllib.loads((RIGS / name).read_text(encoding="utf-8"))


def test_the_mixed_rig_is_the_emulated_one_with_another_pi() -> None:
    emulated, mixed = document("emulated.toml"), document("mixed.toml")
    assert mixed["branch"][0].pop("pi") != emulated["branch"][0].pop("pi")
    assert mixed.pop("rig") != emulated.pop("rig")
    # A real Pi has a supply of its own.
    assert emulated["instruments"]["supply"].pop()["feeds"] == ["east/pi"]
    assert mixed == emulated


NOT_OF_A_LAB = {
    "branch.sensors": {"columns", "units"},  # of the data set
    "branch.uno": {"count", "clock_ppm"},
    "branch.radio": {"path_loss_db"},
    "branch.radio.burst": {"outage_enter", "outage_leave"},
    "branch.pi": {"card_writes_per_s", "bench_line"},  # of an emulated Pi and of a mixed rig
}
"""Keys that real hardware has no use for."""


@pytest.mark.parametrize("table", TABLES)
def test_the_lab_shows_every_key_that_a_lab_may_need(table: str) -> None:
    lab = (RIGS / "lab.toml").read_text(encoding="utf-8")
    needed = set(TABLES[table].model_fields) - NOT_OF_A_LAB.get(table, set())
    assert {key for key in needed if not re.search(rf"\b{key}\b( = |[].])", lab)} == set()


def test_examples_are_nobodys() -> None:
    """Names are of RFC 2606, addresses of RFC 5737, and host keys have no private half that anybody knows."""
    logins: list[Login] = []
    for name in ("lab.toml", "mixed.toml"):
        rig = load_rig(RIGS / name)
        logins += [branch.pi.login for branch in rig.branches if branch.pi.login is not None]
        logins += [rig.server.login] if rig.server.login is not None else []
        for host in re.findall(r"\d+\.\d+\.\d+\.\d+", (RIGS / name).read_text(encoding="utf-8")):
            assert ipaddress.ip_address(host) in ipaddress.ip_network("192.0.2.0/24")
    assert len(logins) == 3
    for login in logins:
        assert login.host.endswith(".example")
        kind, encoded = login.host_key.split()
        octets = hashlib.sha256(login.host.encode()).digest()
        assert base64.b64decode(encoded) == b"\0\0\0\x0b" + kind.encode() + b"\0\0\0\x20" + octets


def test_paths_are_relative_to_the_rig_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.chdir("/")
    [branch] = load_rig(path).branches
    assert branch.data == tmp_path.resolve() / "house.csv"
    assert branch.pi.calibration == tmp_path.resolve() / "pi.toml"


def test_a_missing_file_is_named_with_the_path_tried(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = tmp_path.resolve() / "house.csv"
    data.unlink()
    with pytest.raises(RigError) as caught:
        load_rig(path)
    assert str(caught.value) == (f'{path}: branch.east.data: found "house.csv", but there is no file {data}')


def test_a_faulty_calibration_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "pi.toml").write_text("board = 3\n")
    with pytest.raises(RigError, match=r"pi\.toml: .*\n  board: found 3, expected a text in quotes"):
        load_rig(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[rig\n", "at line 1"),
        (RIG + "\nname = \n", "at line 11"),
        (b"[rig]\nname = '\xff'\n", "is no UTF-8 text (byte 14)"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RigError) as caught:
        load_rig(path)
    assert str(caught.value).startswith(f"{path}: is no ")
    assert expected in str(caught.value)


def test_a_rig_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="no such rig file"):
        load_rig(tmp_path / "none.toml")
    with pytest.raises(RigError, match="cannot be read: Is a directory"):
        load_rig(tmp_path)
