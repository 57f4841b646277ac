"""Check data against a JSON Schema, with messages that name the place."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match


def violations(data: object, schema: Mapping[str, Any], place: str = "result") -> Iterator[str]:
    """Everything in which the data departs from the schema, each as one sentence for a user."""
    for error in Draft202012Validator(schema).iter_errors(data):
        # Where one of several forms was asked for, what the nearest of them lacks says more than "none fits".
        nearest = best_match([error])
        yield f"{place}{nearest.json_path.removeprefix('$')}: {_reason(nearest)}"


def _reason(error: ValidationError) -> str:
    # The package shows the value whole and as Python has it.
    return error.message.replace(repr(error.instance), shown(error.instance), 1)


def shown(data: object) -> str:
    """A value as JSON, cut to what fits a message."""
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
