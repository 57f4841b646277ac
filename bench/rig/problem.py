"""Turns what is wrong with a rig into sentences a person can act on."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the key it stands at, and what was found and expected there."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class RigError(ValueError):
    """A rig that cannot be used. The message lists every problem found, one a line."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            text = f"{source}: {self.problems[0]}"
        else:
            text = "\n  ".join((f"{source}: {len(self.problems)} problems", *map(str, self.problems)))
        super().__init__(text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    words = list(known)
    close = nearest(word, words)
    return f'did you mean "{close}"?' if close else f"known are {', '.join(words)}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that this one was probably meant to be."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.5)), None)


def problems_of(
    error: ValidationError, document: object, known_keys: dict[str, type[BaseModel]]
) -> list[Problem]:
    """Explain every fault that validation found in a document.

    `known_keys` gives the model that reads each table, by the table's key without branch names
    (``branch.uno``); it is where the nearest known spelling of an unknown key comes from.
    """
    return [_explain(details, document, known_keys) for details in error.errors(include_url=False)]


def _explain(details: ErrorDetails, document: object, known_keys: dict[str, type[BaseModel]]) -> Problem:
    location = details["loc"]
    key = _readable_key(location, document)
    kind = details["type"]
    context: dict[str, Any] = details.get("ctx", {})
    found = show(details["input"])
    match kind:
        case "extra_forbidden":
            table = ".".join(str(part) for part in location[:-1] if isinstance(part, str))
            model = known_keys.get(table)
            hint = did_you_mean(str(location[-1]), model.model_fields) if model else "remove it"
            return Problem(key, f"unknown key; {hint}")
        case "missing":
            return Problem(key, "missing, and there is no default")
        case "literal_error":
            return Problem(key, f"found {found}, expected {context['expected']}")
        case "int_type" | "int_from_float":
            expected = "a whole number"
        case "float_type":
            expected = "a number"
        case "string_type" | "path_type":
            expected = "a text in quotes"
        case "tuple_type" | "list_type":
            expected = "a list in square brackets"
        case "model_type" | "dict_type" | "model_attributes_type":
            expected = "a table of keys and values"
        case "greater_than_equal":
            expected = f"at least {context['ge']}"
        case "less_than_equal":
            expected = f"at most {context['le']}"
        case "greater_than":
            expected = f"more than {context['gt']}"
        case "less_than":
            expected = f"less than {context['lt']}"
        case "too_short":
            return Problem(
                key, f"found {context['actual_length']} entries, expected {context['min_length']} or more"
            )
        case _:
            return Problem(key, details["msg"])
    return Problem(key, f"found {found}, expected {expected}")


def show(value: object) -> str:
    """A value as it would stand in a TOML file, shortened when long."""
    match value:
        case bool():
            text = str(value).lower()
        case str() | PurePath():
            text = f'"{value}"'
        case dict():
            text = "a table"
        case list() | tuple():
            text = "a list"
        case _:
            text = str(value)
    return text if len(text) <= 60 else f'{text[:56]}..."'


def _readable_key(location: Sequence[int | str], document: object) -> str:
    """``branch.east.uno.count``: a list's entry goes by its name, or by its place when it has none."""
    words: list[str] = []
    here = document
    for part in location:
        if isinstance(part, str):
            words.append(part)
            here = here.get(part) if isinstance(here, dict) else None
            continue
        if isinstance(here, dict):
            continue  # a table standing where a list of one is meant
        here = here[part] if isinstance(here, list | tuple) and part < len(here) else None
        name = here.get("name") if isinstance(here, dict) else None
        if isinstance(name, str) and name:
            words.append(name)
        elif words:
            words[-1] += f"[{part + 1}]"
    return ".".join(words)
