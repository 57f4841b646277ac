import copy
import json
from typing import Any

import pytest

from reports.model import SCHEMA_PATH
from reports.schema import violations

SCHEMA: dict[str, Any] = json.loads(SCHEMA_PATH.read_text("utf-8"))
SAMPLE: dict[str, Any] = json.loads(SCHEMA_PATH.with_name("sample.json").read_text("utf-8"))


def test_the_whole_sample_is_valid() -> None:
    assert list(violations(SAMPLE, SCHEMA)) == []


@pytest.mark.parametrize(
    ("data", "schema", "messages"),
    [
        (True, {"type": "integer"}, ["x: true is not of type 'integer'"]),
        (-1, {"minimum": 0}, ["x: -1 is less than the minimum of 0"]),
        ([1, "a"], {"items": {"type": "number"}}, ["x[1]: \"a\" is not of type 'number'"]),
        (
            {"a": 1},
            {"required": ["b"], "properties": {"a": {"type": "null"}}},
            ["x: 'b' is a required property", "x.a: 1 is not of type 'null'"],
        ),
        ("q", {"enum": ["a", "b"]}, ["x: \"q\" is not one of ['a', 'b']"]),
        ("long " * 20, {"type": "null"}, [f"x: \"{('long ' * 20)[:36]}... is not of type 'null'"]),
    ],
)
def test_messages_name_place_expected_and_found(
    data: object, schema: dict[str, Any], messages: list[str]
) -> None:
    assert list(violations(data, schema, "x")) == messages


def test_in_a_part_that_may_be_absent_the_place_within_is_named() -> None:
    assert SCHEMA["$defs"]["Trial"]["properties"]["latency"]["anyOf"]
    changed = copy.deepcopy(SAMPLE)
    changed["trials"][3]["latency"]["count"] = -1
    assert list(violations(changed, SCHEMA)) == [
        "result.trials[3].latency.count: -1 is less than the minimum of 0"
    ]
