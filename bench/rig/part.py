"""What every table of a rig file is made of: a frozen model, and refusals in plain sentences."""

from __future__ import annotations

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from bench.rig.problem import nearest, show


class Part(BaseModel):
    """One table of a rig file: frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def problem(message: str) -> PydanticCustomError:
    """What a validator raises: a sentence for a person."""
    return PydanticCustomError("rig", "{message}", {"message": message})


def choice(noun: str, words: dict[str, str]) -> BeforeValidator:
    """A word out of several; those with a reason are known and refused with it."""
    available = " or ".join(f'"{word}"' for word, refusal in words.items() if not refusal)

    def check(value: object) -> object:
        if not isinstance(value, str):
            raise problem(f"found {show(value)}, expected a {noun}: {available}")
        if value not in words:
            close = nearest(value, words)
            hint = f'; did you mean "{close}"?' if close else ""
            raise problem(f"found {show(value)}, expected a {noun}: {available}{hint}")
        if words[value]:
            raise problem(f"found {show(value)}, but {words[value]}; available: {available}")
        return value

    return BeforeValidator(check)
