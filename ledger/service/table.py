"""Strict reading of a TOML table: every key is asked for, typed and bounded, and strange keys are errors."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAX_FILE_BYTES: Final = 1024 * 1024
_NS_PER_S: Final = 1_000_000_000
_ABSENT: Final = object()

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file and key, what was found, and the mend."""


class Table:
    """One table of a file. ``prefix`` is how its keys are called in messages, like ``radio.``."""

    def __init__(self, file: Path, values: dict[str, Any], prefix: str = "") -> None:
        self.file: Final = file
        self._values = values
        self._prefix = prefix
        self._asked: set[str] = set()

    @classmethod
    def read(cls, file: Path) -> Table:
        """Read a whole file. Raises ConfigError."""
        try:
            with file.open("rb") as stream:
                raw = stream.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}; give the path of a configuration file") from None
        if len(raw) > _MAX_FILE_BYTES:
            raise ConfigError(f"{file}: over {_MAX_FILE_BYTES} bytes; give the path of a configuration file")
        try:
            # Decimals, so that 0.1 s is that many nanoseconds.
            return cls(file, tomllib.loads(raw.decode(), parse_float=Decimal))
        except ValueError as error:
            raise ConfigError(f"{file}: is not TOML: {error}; mend it there") from None

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def close(self) -> None:
        """Refuse keys that nobody asked for. Raises ConfigError."""
        for key in sorted(self._values.keys() - self._asked):
            known = ", ".join(sorted(self._asked))
            raise ConfigError(
                f"{self.file}: key {self._prefix}{key} is not known here; remove it, or write one of: {known}"
            )

    def text(self, key: str, parse: Callable[[str], T], expected: str) -> T:
        """Return what ``parse`` makes of a text; its ValueError means that ``expected`` was not met."""
        value = self._get(key)
        try:
            if type(value) is str:
                return parse(value)
        except ValueError:
            pass
        raise self._refusal(key, value, expected)

    def path(self, key: str) -> Path:
        """Return a path, relative ones from the folder of the file."""

        def parse(text: str) -> Path:
            if not text or "\0" in text:
                raise ValueError
            return self.file.parent / text

        return self.text(key, parse, "the path of a file")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number of ``low..high``; the key may be left out if it has a default."""
        number = self.optional_integer(key, low, high)
        if number is None:
            if default is None:
                raise self._refusal(key, _ABSENT, f"a whole number of {low} to {high}")
            return default
        return number

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """Return a whole number of ``low..high``, or None if the key is left out."""
        value = self._get(key)
        if value is _ABSENT:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self._refusal(key, value, f"a whole number of {low} to {high}")
        return value

    def seconds(self, key: str, longest_s: int, default_ns: int) -> int:
        """Return in nanoseconds a duration given in seconds, whole or not."""
        value = self._get(key)
        if value is _ABSENT:
            return default_ns
        is_number = type(value) is int or (type(value) is Decimal and value.is_finite())
        if not is_number or not 0 <= value <= longest_s:
            raise self._refusal(key, value, f"a number of seconds from 0 to {longest_s}")
        return int(value * _NS_PER_S)

    def table(self, key: str, *, required: bool) -> Table:
        """Return a table below this one; an empty one if it is left out and not required."""
        value = self._get(key)
        if value is _ABSENT and not required:
            value = {}
        if type(value) is not dict:
            raise self._refusal(key, value, f"a table, headed [{self._prefix}{key}]")
        return Table(self.file, value, f"{self._prefix}{key}.")

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array, none if it is left out."""
        value = self._get(key)
        if value is _ABSENT:
            return []
        if type(value) is not list or any(type(entry) is not dict for entry in value):
            raise self._refusal(key, value, f"tables, each headed [[{self._prefix}{key}]]")
        return [
            Table(self.file, entry, f"{self._prefix}{key} {number}: ")
            for number, entry in enumerate(value, 1)
        ]

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        return self._values.get(key, _ABSENT)

    def _refusal(self, key: str, found: Any, expected: str) -> ConfigError:
        if found is _ABSENT:
            return ConfigError(f"{self.file}: key {self._prefix}{key} is missing; it must be {expected}")
        shown = str(found) if isinstance(found, Decimal) else repr(found)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return ConfigError(f"{self.file}: key {self._prefix}{key} is {shown}; it must be {expected}")
