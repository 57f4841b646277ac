import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.model import SCHEMA_PATH
from reports.schema import violations

SCHEMA: dict[str, Any] = json.loads(SCHEMA_PATH.read_text("utf-8"))
SAMPLE: dict[str, Any] = json.loads(SCHEMA_PATH.with_name("sample.json").read_text("utf-8"))
ORACLE = jsonschema.Draft202012Validator(SCHEMA)

SCALARS: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def places(data: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children: list[tuple[str | int, object]] = []
    if isinstance(data, dict):
        children = list(data.items())
    elif isinstance(data, list):
        children = list(enumerate(data[:1]))
    return [place, *(deeper for key, value in children for deeper in places(value, (*place, key)))]


def shortened(data: object) -> object:
    if isinstance(data, dict):
        return {key: shortened(value) for key, value in data.items()}
    return [shortened(item) for item in data[:1]] if isinstance(data, list) else data


SMALL = shortened(SAMPLE)


@st.composite
def changed_samples(draw: st.DrawFn) -> object:
    """The sample with one value replaced, one key removed, or one key added, anywhere."""
    place = draw(st.sampled_from(places(SMALL)))
    if not place:
        return draw(VALUES)
    sample: Any = json.loads(json.dumps(SMALL))
    parent = sample
    for key in place[:-1]:
        parent = parent[key]
    change = draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "replace" or not isinstance(parent, dict):
        parent[place[-1]] = draw(VALUES)
    elif change == "remove":
        del parent[place[-1]]
    else:
        parent[draw(st.text(max_size=4))] = draw(VALUES)
    return sample


@settings(deadline=None, max_examples=300)
@given(changed_samples())
def test_agrees_with_the_jsonschema_package(data: object) -> None:
    assert (not list(violations(data, SCHEMA))) == ORACLE.is_valid(data)


def test_the_whole_sample_is_valid() -> None:
    assert list(violations(SAMPLE, SCHEMA)) == []


@pytest.mark.parametrize(
    ("data", "schema", "message"),
    [
        (True, {"type": "integer"}, "x: expected integer, found true"),
        (-1, {"type": "integer", "minimum": 0}, "x: expected 0 or more, found -1"),
        ([1, "a"], {"items": {"type": "number"}}, 'x[1]: expected number, found "a"'),
        (
            {"a": 1},
            {"properties": {"b": {}}, "additionalProperties": False},
            "x: unknown key 'a'; known are b",
        ),
        ("q", {"enum": ["a", "b"]}, 'x: expected one of a, b, found "q"'),
        ("q", {"pattern": "^a"}, 'x: expected text that matches ^a, found "q"'),
    ],
)
def test_messages_name_place_expected_and_found(data: object, schema: dict[str, Any], message: str) -> None:
    assert list(violations(data, schema, "x")) == [message]


def test_a_schema_beyond_the_reader_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="uniqueItems"):
        list(violations([], {"uniqueItems": True}))
