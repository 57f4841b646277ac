import json
import typing
from pathlib import Path
from typing import Any

import pytest

from reports import model
from reports.model import SCHEMA_PATH, SCHEMA_VERSION, ReportError, load, parse

SCHEMA: dict[str, Any] = json.loads(SCHEMA_PATH.read_text("utf-8"))
SAMPLE_PATH = SCHEMA_PATH.with_name("sample.json")


def test_the_types_mirror_the_schema() -> None:
    described = {"CapacityResult": SCHEMA, **SCHEMA["$defs"]}
    mirrored = {name: cls for name, cls in vars(model).items() if typing.is_typeddict(cls)}
    assert set(mirrored) == set(described)
    for name, cls in mirrored.items():
        hints = typing.get_type_hints(cls)
        assert set(hints) == set(described[name]["properties"]), name
        for key, hint in hints.items():
            assert _names(hint) == _schema_names(described[name]["properties"][key]), f"{name}.{key}"
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def _names(hint: Any) -> set[str]:
    """What a value may be, in the words of JSON Schema."""
    if args := typing.get_args(hint):
        origin = typing.get_origin(hint)
        if origin is list:
            return {f"array of {' '.join(sorted(_names(args[0])))}"}
        if origin is dict:
            return {f"object of {' '.join(sorted(_names(args[1])))}"}
        return set().union(*(_names(arg) for arg in args))
    words = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
    return {words.get(hint, getattr(hint, "__name__", ""))}


def _schema_names(rule: dict[str, Any]) -> set[str]:
    if "$ref" in rule:
        return {rule["$ref"].removeprefix("#/$defs/")}
    if "anyOf" in rule:
        return set().union(*(_schema_names(choice) for choice in rule["anyOf"]))
    if "const" in rule:
        return {"integer"}
    if isinstance(rule["type"], list):
        return set(rule["type"])
    if rule["type"] == "array":
        return {f"array of {' '.join(sorted(_schema_names(rule['items'])))}"}
    if rule["type"] == "object":
        return {f"object of {' '.join(sorted(_schema_names(rule['additionalProperties'])))}"}
    return {rule["type"]}


def test_the_sample_loads() -> None:
    assert load(SAMPLE_PATH)["rig"]["name"] == "sample village (made-up figures)"


@pytest.mark.parametrize("version", [None, 0, 2, "1", True])
def test_another_version_says_which_is_read(version: object, tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(json.dumps({**json.loads(SAMPLE_PATH.read_text("utf-8")), "schema_version": version}))
    with pytest.raises(ReportError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert f"its schema_version is {json.dumps(version)}, these reports read version 1" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[]", "schema_version is null"),
        (b'{"schema_version": 1, "seeds": NaN}', "NaN is no figure"),
        (b'{"schema_version": 1}', r"'bench_version' is a required property \(and 10 more\)"),
    ],
)
def test_a_file_that_is_no_result_says_why(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=message):
        load(path)


def test_no_file_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no such file; `make bench` writes it"):
        load(tmp_path / "capacity.json")


def test_a_wrong_value_is_named() -> None:
    data = json.loads(SAMPLE_PATH.read_text("utf-8"))
    data["trials"][2]["readings"]["altered"] = "none"
    with pytest.raises(
        ReportError, match=r'result\.trials\[2\]\.readings\.altered: "none" is not of type .integer.'
    ):
        parse(data)
