"""Check data against a JSON Schema, with messages that name the place.

Covers the keywords that `capacity.schema.json` uses and refuses a schema with any other, so that
reading a result needs no further package. The tests hold it against the `jsonschema` package.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


def violations(data: object, schema: Mapping[str, Any], place: str = "result") -> Iterator[str]:
    """Everything in which the data departs from the schema, each as one sentence for a user."""
    yield from _check(data, schema, place, schema)


def _check(data: object, schema: Mapping[str, Any], place: str, root: Mapping[str, Any]) -> Iterator[str]:
    for keyword, rule in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        if keyword == "$ref":
            yield from _check(data, root["$defs"][rule.removeprefix("#/$defs/")], place, root)
        elif keyword == "anyOf":
            found = [list(_check(data, choice, place, root)) for choice in rule]
            if all(found):
                yield from found[0]
        elif keyword == "type":
            names = [rule] if isinstance(rule, str) else rule
            if not any(_is_of_type(data, name) for name in names):
                yield f"{place}: expected {' or '.join(names)}, found {shown(data)}"
        elif keyword == "const":
            if data != rule or type(data) is not type(rule):
                yield f"{place}: expected {shown(rule)}, found {shown(data)}"
        elif keyword == "enum":
            if data not in rule:
                yield f"{place}: expected one of {', '.join(map(str, rule))}, found {shown(data)}"
        elif keyword == "pattern":
            if isinstance(data, str) and re.search(rule, data) is None:
                yield f"{place}: expected text that matches {rule}, found {shown(data)}"
        elif keyword == "minimum":
            if _is_of_type(data, "number") and data < rule:
                yield f"{place}: expected {rule} or more, found {shown(data)}"
        elif keyword == "items":
            if isinstance(data, list):
                for index, item in enumerate(data):
                    yield from _check(item, rule, f"{place}[{index}]", root)
        elif keyword == "required":
            if isinstance(data, dict):
                yield from (f"{place}: key {key!r} is missing" for key in rule if key not in data)
        elif keyword == "properties":
            if isinstance(data, dict):
                for key in rule:
                    if key in data:
                        yield from _check(data[key], rule[key], f"{place}.{key}", root)
        elif keyword == "additionalProperties":
            yield from _check_additional(data, schema, place, root)
        else:
            raise NotImplementedError(f"the schema keyword {keyword!r} is not known to this reader")


def _check_additional(
    data: object, schema: Mapping[str, Any], place: str, root: Mapping[str, Any]
) -> Iterator[str]:
    if not isinstance(data, dict):
        return
    known, rule = schema.get("properties", {}), schema["additionalProperties"]
    for key in data:
        if key in known:
            continue
        if rule is False:
            yield f"{place}: unknown key {key!r}; known are {', '.join(known)}"
        else:
            yield from _check(data[key], rule, f"{place}.{key}", root)


def _is_of_type(data: object, name: str) -> bool:
    # To JSON Schema a whole float is an integer, and a boolean is no number.
    if isinstance(data, bool):
        return name == "boolean"
    if name == "integer" and isinstance(data, float):
        return data.is_integer()
    return isinstance(data, _TYPES[name])


def shown(data: object) -> str:
    """A value as JSON, cut to what fits a message."""
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
