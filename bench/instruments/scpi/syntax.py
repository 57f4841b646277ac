"""Lines of SCPI taken apart: message units, headers, parameters (IEEE 488.2 chapter 7, SCPI-99 volume 1).

A line holds units separated by ';'. A header that begins without ':' continues on the level of the unit
before it; common commands (``*RST``) stand outside of that. Parameters are separated by ','; strings may
hold separators. Arbitrary blocks and expressions are not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.instruments.scpi.error import ScpiError

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_MNEMONIC: Final = 12
"""IEEE 488.2, 7.6.1.4.1."""

_MNEMONIC: Final = re.compile(r"([A-Za-z][A-Za-z_]*)(\d*)", re.ASCII)
_HEADER: Final = re.compile(r"\*?[A-Za-z0-9_:]*\??", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mnemonic:
    """One word of a header, in capitals, and its numeric suffix if it has one."""

    word: str
    suffix: int | None


@dataclass(frozen=True, slots=True)
class Unit:
    """One command or query: the words from the root, whether it asks, and its parameters as text."""

    path: tuple[Mnemonic, ...]
    is_common: bool
    is_query: bool
    parameters: tuple[str, ...]


def units_of(line: str) -> Iterator[Unit]:
    """Take a line apart, one unit after the other, as far as it can be read. Raises ScpiError there."""
    level: tuple[Mnemonic, ...] = ()
    for text in _split(line, ";"):
        if not text.strip():
            continue
        unit = _unit(text.strip(), level)
        if not unit.is_common:
            level = unit.path[:-1]
        yield unit


def _unit(text: str, level: tuple[Mnemonic, ...]) -> Unit:
    match = _HEADER.match(text)
    header = match.group() if match else ""
    rest = text[len(header) :]
    if rest and not rest[0].isspace():
        raise ScpiError(-101 if header == "" or not rest[0].isprintable() else -103)
    is_query = header.endswith("?")
    words = header.removesuffix("?")
    parameters = tuple(part.strip() for part in _split(rest, ",")) if rest.strip() else ()
    if "" in parameters:
        raise ScpiError(-102)
    if words.startswith("*"):
        return Unit((_mnemonic(words[1:]),), True, is_query, parameters)
    path = tuple(_mnemonic(word) for word in words.removeprefix(":").split(":"))
    return Unit(path if words.startswith(":") else (*level, *path), False, is_query, parameters)


def _mnemonic(text: str) -> Mnemonic:
    match = _MNEMONIC.fullmatch(text)
    if match is None:
        raise ScpiError(-102)
    if len(text) > LONGEST_MNEMONIC:
        raise ScpiError(-112)
    word, digits = match.groups()
    return Mnemonic(word.upper(), int(digits) if digits else None)


def _split(text: str, separator: str) -> Iterator[str]:
    """Split where the separator stands outside of strings. Raises ScpiError for a string without end."""
    start, quote = 0, ""
    for position, character in enumerate(text):
        if quote:
            # A doubled quote inside a string closes and opens it again, which comes to the same.
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == separator:
            yield text[start:position]
            start = position + 1
    if quote:
        raise ScpiError(-151)
    yield text[start:]
