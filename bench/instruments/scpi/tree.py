"""The commands an instrument knows, found by the long or the short form of every word.

A command is written as in a manual: ``[:SOURce<n>]:VOLTage[:LEVel]``. Capitals are the short form, brackets
hold what may be left out, and <n> stands where a number may follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.instruments.scpi.error import ScpiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.instruments.scpi.syntax import Unit

_WORD: Final = re.compile(r"(\[)?:([A-Z]+)([a-z]*)(<n>)?(\])?")


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler is told: the parameters, and the number after each word that may have one."""

    suffixes: tuple[int | None, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command's pattern."""

    short: str
    long: str
    is_numbered: bool
    is_optional: bool


@dataclass(slots=True)
class _Node:
    children: list[tuple[Word, _Node]] = field(default_factory=list)
    command: Callable[[Call], None] | None = None
    query: Callable[[Call], str] | None = None


class CommandTree:
    """Commands and queries by header."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(
        self,
        pattern: str,
        command: Callable[[Call], None] | None = None,
        query: Callable[[Call], str] | None = None,
    ) -> None:
        """Make a header known. Raises ValueError for a pattern that is none."""
        for words in _variants(words_of(pattern)):
            node = self._root
            for word in words:
                node = _child(node, word)
            node.command = command or node.command
            node.query = query or node.query

    def answer(self, unit: Unit) -> str | None:
        """Carry a unit out; the answer of a query, None of a command. Raises ScpiError."""
        node = self._root
        suffixes: list[int | None] = []
        for mnemonic in unit.path:
            word, node = _found(node, mnemonic.word)
            if word.is_numbered:
                suffixes.append(mnemonic.suffix)
            elif mnemonic.suffix is not None:
                raise ScpiError(-113)
        call = Call(tuple(suffixes), unit.parameters)
        if unit.is_query and node.query is not None:
            return node.query(call)
        if not unit.is_query and node.command is not None:
            node.command(call)
            return None
        raise ScpiError(-113)


def words_of(pattern: str) -> tuple[Word, ...]:
    """Read a command's pattern. Raises ValueError."""
    words = []
    end = 0
    for match in _WORD.finditer(pattern):
        opening, short, rest, number, closing = match.groups()
        if match.start() != end or (opening is None) != (closing is None):
            break
        words.append(Word(short, short + rest.upper(), number is not None, opening is not None))
        end = match.end()
    if end != len(pattern) or not words:
        raise ValueError(f"found {pattern!r}, expected a pattern like [:SOURce<n>]:VOLTage[:LEVel]")
    return tuple(words)


def _variants(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """The pattern with and without each word that may be left out."""
    if not words:
        yield ()
        return
    for rest in _variants(words[1:]):
        yield (words[0], *rest)
        if words[0].is_optional:
            yield rest


def _found(node: _Node, text: str) -> tuple[Word, _Node]:
    for word, child in node.children:
        if text in (word.short, word.long):
            return word, child
    raise ScpiError(-113)


def _child(node: _Node, word: Word) -> _Node:
    for known, child in node.children:
        if known.short == word.short:
            if (known.long, known.is_numbered) != (word.long, word.is_numbered):
                raise ValueError(f"the words {known.long} and {word.long} cannot be told apart")
            return child
    child = _Node()
    node.children.append((word, child))
    return child
