from __future__ import annotations

from pathlib import Path

import pytest

from bench.rig.loader import load_rig
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
