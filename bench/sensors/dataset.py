"""Data sets: a CSV with a time column and any number of power, energy, or voltage and current columns.

The file: UTF-8 (a byte order mark is fine), optionally gzip-compressed, one header line, fields divided by
comma, semicolon or tab, quoted or not, decimal points. The time column is the one called time*, timestamp*,
date* or t, else the first; a column `date` beside a column `time` is joined with it. A column's unit is its
suffix (`p_w`, `load_kw`, `sub1_wh`, `v_cv`, `i_da`, also `Load (kW)`) unless the caller maps it. Blank, `?`,
`NaN`, `NA`, `null` are gaps.

What the rows mean: a value belongs to the time from its row to the next row that has a value in the same
column. A power, a voltage or a current holds over that time; an energy is spread evenly over it. So a gap
prolongs the value before it, and creates no energy. Before a column's first value there is nothing (0). The
last row lasts for the median step of the file. Time counts from the first row. Negative power or energy is
export.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import statistics
import zlib
from array import array
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.sensors.quantity import (
    IGNORED,
    SUFFIXES,
    Quantity,
    Unit,
    UnitError,
    has_unit,
    unit_named,
    unit_of_column,
)
from bench.sensors.timestamp import TimestampError, timestamp_reader
from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

MAX_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
MAX_CELLS = 20_000_000
MAX_SPAN_NS = 100 * 366 * 86_400 * NS_PER_S
PICOJOULES_PER_MWH = 3_600 * NS_PER_S
"""1 mW for 1 ns is 1 pJ: the energy unit in which every sum here is exact."""

_GAPS = frozenset({"", "?", "nan", "na", "n/a", "null", "none", "-"})
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_TIME_NAME = re.compile(r"(time|timestamp|date).*|t|ts", re.IGNORECASE)


class DatasetError(ValueError):
    """A data set that cannot be used; the message names the file, and line and column where there is one."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One measured column: `values[k]`, in `quantity.value`, holds from `starts_ns[k]` to the next start."""

    name: str
    quantity: Quantity
    starts_ns: NDArray[np.int64]
    values: NDArray[np.int64]
    span_ns: int
    gaps: int = 0

    def row_at(self, t_ns: int) -> int:
        """Index of the row that holds `t_ns` after the first row; the data repeats after `span_ns`."""
        return int(np.searchsorted(self.starts_ns, t_ns % self.span_ns, side="right")) - 1

    def value_at(self, t_ns: int) -> int:
        """The value that holds at `t_ns`, in `quantity.value`."""
        return int(self.values[self.row_at(t_ns)])

    def row_ns(self, row: int) -> int:
        """How long a row lasts."""
        stop_ns = self.span_ns if row + 1 == len(self.starts_ns) else int(self.starts_ns[row + 1])
        return stop_ns - int(self.starts_ns[row])

    def row_energy_pj(self, row: int) -> int:
        """Energy of a row in pJ, exact; negative is export. Apparent power counts as if it were active."""
        if self.quantity is Quantity.ENERGY:
            return int(self.values[row]) * PICOJOULES_PER_MWH
        if self.quantity in (Quantity.POWER, Quantity.APPARENT):
            return int(self.values[row]) * self.row_ns(row)
        raise DatasetError(f"column {self.name!r} is in {self.quantity.value} and carries no energy")

    def power_mw(self, t_ns: int) -> int:
        """Power at `t_ns` in mW: as measured, or a row's energy over its duration, rounded down."""
        row = self.row_at(t_ns)
        return self.row_energy_pj(row) // self.row_ns(row)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """What a CSV holds: measured columns on one axis of time, and notes for the reader of the report."""

    path: Path
    sha256: str
    first_time: str
    starts_ns: NDArray[np.int64]
    step_ns: int
    span_ns: int
    columns: tuple[Column, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of rows, blank ones too."""
        return len(self.starts_ns)

    def column(self, name: str) -> Column:
        """Give the column of that name. Raises DatasetError naming the columns there are."""
        for column in self.columns:
            if column.name == name:
                return column
        raise DatasetError(
            f"{self.path}: no column {name!r}; there are {', '.join(c.name for c in self.columns)}"
        )

    def power_mw(self, column: str, t_ns: int) -> int:
        """Power of a column at `t_ns` after the first row, in mW; see Column.power_mw."""
        return self.column(column).power_mw(t_ns)

    def repeats(self, duration_ns: int) -> int:
        """How often the data starts over in a trial that long: 0 when it is long enough."""
        return max(0, -(-duration_ns // self.span_ns) - 1)


class _LineReader(Protocol):
    def readline(self, size: int, /) -> bytes: ...


class _Source:
    """The lines of the file, counted, bounded and decoded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        self.digest = hashlib.sha256()

    def error(self, message: str, column: str | None = None, line: int | None = None) -> DatasetError:
        """Say where, too: in this line unless another is given (0: the file as a whole)."""
        number = self.line if line is None else line
        place = f"{self.path}, line {number}" if number else str(self.path)
        if column is not None:
            place += f", column {column!r}"
        # What was found is quoted from a file that may hold anything; a terminal gets only what prints.
        text = "".join(character if character.isprintable() else "?" for character in f"{place}: {message}")
        return DatasetError(text)

    def lines(self) -> Iterator[str]:
        try:
            size = self.path.stat().st_size
            if not self.path.is_file():
                raise self.error("not a file; name a CSV")
            if size > MAX_BYTES:
                raise self.error(f"larger than {MAX_BYTES // 1024**2} MiB; cut the file")
            with self.path.open("rb") as file:
                while block := file.read(1 << 20):
                    self.digest.update(block)
                file.seek(0)
                compressed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                if compressed:
                    with gzip.open(file) as unpacked:
                        yield from self._decoded(unpacked)
                else:
                    yield from self._decoded(file)
        except FileNotFoundError:
            raise self.error("no such file; name a CSV, or see rigs/datasets/ for the samples") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as reason:
            raise self.error(f"the gzip data is damaged or cut short ({reason})") from None
        except OSError as reason:
            raise self.error(f"cannot be read ({reason.strerror or reason})") from None

    def _decoded(self, file: _LineReader) -> Iterator[str]:
        total = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            self.line += 1
            total += len(raw)
            if len(raw) > MAX_LINE_BYTES:
                raise self.error(f"longer than {MAX_LINE_BYTES} bytes; is this a CSV with line ends?")
            if total > MAX_BYTES:
                raise self.error(f"more than {MAX_BYTES // 1024**2} MiB of text; cut the file")
            try:
                text = raw.decode("utf-8-sig" if self.line == 1 else "utf-8")
            except UnicodeDecodeError as reason:
                raise self.error(f"not UTF-8 text at byte {reason.start + 1}; save it as UTF-8") from None
            yield text.removesuffix("\n").removesuffix("\r") + "\n"


def load_dataset(
    path: str | Path, units: Mapping[str, str] | None = None, *, interval_s: int | None = None
) -> Dataset:
    """Read a data set; see the module's text for what is accepted.

    `units` maps a column's name to its unit (`"kW"`, `"MWh"`, `"cV"`, ...) or to "ignore"; `interval_s` is
    the step of a time column that holds slot numbers. Values finer than a milli-unit are rounded half to
    even. Raises DatasetError.
    """
    if interval_s is not None and interval_s < 1:
        raise DatasetError(
            f"interval_s: expected a whole number of seconds of at least 1, found {interval_s}"
        )
    source = _Source(Path(path))
    return _Loader(source, units or {}, interval_s).load()


class _Loader:
    def __init__(self, source: _Source, units: Mapping[str, str], interval_s: int | None) -> None:
        self._source = source
        self._units = units
        self._interval_s = interval_s
        self._notes: list[str] = []
        self._rounded = 0

    def load(self) -> Dataset:
        lines = self._source.lines()
        header_line = next((line for line in lines if line.strip()), None)
        if header_line is None:
            raise self._source.error("empty; expected a header line and rows", line=0)
        delimiter = max(",;\t", key=header_line.count)
        header = [name.strip() for name in self._fields(iter([header_line]), delimiter)]
        time_fields = self._time_fields(header)
        measured = self._measured(header, time_fields)
        times_ns, first_time, cells = self._rows(lines, delimiter, header, time_fields, measured)

        starts = np.array(times_ns, dtype=np.int64) - times_ns[0]
        starts.setflags(write=False)
        steps = np.diff(starts)
        step_ns = statistics.median_low(steps.tolist())
        span_ns = int(starts[-1]) + step_ns
        if longer := int(np.count_nonzero(steps != step_ns)):
            self._notes.append(
                f"{longer} of {len(steps)} steps differ from the median of {_seconds(step_ns)} s "
                f"(longest {_seconds(int(steps.max()))} s)"
            )
        columns = []
        for (index, unit), (rows, values) in zip(measured, cells, strict=True):
            column = _column(header[index], unit.quantity, starts, rows, values, span_ns)
            if column is None:
                self._notes.append(f"column {header[index]!r} ignored: no values")
                continue
            columns.append(column)
            if column.gaps:
                self._notes.append(f"column {column.name!r}: {column.gaps} of {len(starts)} values missing")
        if not columns:
            raise self._source.error("no column has a value", line=0)
        if self._rounded:
            self._notes.append(
                f"values finer than a thousandth of the unit were rounded ({self._rounded} different ones)"
            )
        return Dataset(
            path=self._source.path,
            sha256=self._source.digest.hexdigest(),
            first_time=first_time,
            starts_ns=starts,
            step_ns=step_ns,
            span_ns=span_ns,
            columns=tuple(columns),
            notes=tuple(self._notes),
        )

    def _fields(self, lines: Iterator[str], delimiter: str) -> list[str]:
        try:
            return next(csv.reader(lines, delimiter=delimiter, strict=True))
        except csv.Error as reason:
            raise self._source.error(f"not a well-formed CSV row ({reason})") from None

    def _time_fields(self, header: list[str]) -> tuple[int, ...]:
        """Find the field of the time, or the two of date and time."""
        if len(header) < 2:
            raise self._source.error(
                "expected a header with a time column and measured columns divided by , or ; or tab, "
                f"found {header[0][:80]!r}"
            )
        for index, name in enumerate(header):
            if name and name in header[:index]:
                raise self._source.error("two columns have this name; rename one", name)
        if any(_NUMBER.fullmatch(name) for name in header):
            raise self._source.error(
                f"expected a header line with the columns' names, found values: {', '.join(header)[:80]}"
            )
        lower = [name.casefold() for name in header]
        if "date" in lower and "time" in lower:
            return lower.index("date"), lower.index("time")
        named = (i for i, name in enumerate(header) if _TIME_NAME.fullmatch(name) and not has_unit(name))
        return (next(named, 0),)

    def _measured(self, header: list[str], time_fields: tuple[int, ...]) -> list[tuple[int, Unit]]:
        for name in self._units:
            if name not in header:
                raise self._source.error(
                    f"the rig file gives a unit to a column {name!r}; there are {', '.join(header)[:200]}"
                )
        measured: list[tuple[int, Unit]] = []
        without: list[str] = []
        for index, name in enumerate(header):
            if index in time_fields or self._units.get(name) == IGNORED:
                continue
            try:
                unit = unit_named(self._units[name]) if name in self._units else unit_of_column(name)
            except UnitError as reason:
                raise self._source.error(str(reason), name) from None
            if unit is None:
                without.append(name)
            else:
                measured.append((index, unit))
        if not measured:
            found = ", ".join(header)[:200]
            raise self._source.error(
                f"no column's name ends in a unit; found {found}; accepted are names that end in "
                f"{', '.join(SUFFIXES)} (in any case), or a unit in the rig file: "
                f'units = {{ "{(without or ["load"])[0]}" = "W" }}'
            )
        self._notes.extend(f"column {name!r} ignored: its name ends in no unit" for name in without)
        return measured

    def _rows(
        self,
        lines: Iterator[str],
        delimiter: str,
        header: list[str],
        time_fields: tuple[int, ...],
        measured: list[tuple[int, Unit]],
    ) -> tuple[array[int], str, list[tuple[array[int], array[int]]]]:
        """Read the rows: times, the first time as written, and per measured column (row numbers, values)."""
        source = self._source
        time_name = " ".join(header[field] for field in time_fields)
        times_ns: array[int] = array("q")
        cells: list[tuple[array[int], array[int]]] = [(array("q"), array("q")) for _ in measured]
        known: list[dict[str, int | None]] = [{} for _ in measured]
        max_rows = MAX_CELLS // len(measured)
        first_time = previous_time = ""
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        read_time = None
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as reason:
                raise source.error(f"not a well-formed CSV row ({reason})") from None
            if fields is None:
                break
            if not fields or (len(fields) == 1 and not fields[0].strip()):
                continue
            if len(fields) != len(header):
                raise source.error(f"expected {len(header)} fields as in the header, found {len(fields)}")
            row = len(times_ns)
            if row == max_rows:
                raise source.error(f"more than {max_rows} rows of {len(measured)} columns; cut the file")
            time = " ".join(fields[field].strip() for field in time_fields)
            try:
                if read_time is None:
                    first_time = time
                    read_time = timestamp_reader(time_name, time, self._interval_s)
                t_ns = read_time(time)
            except TimestampError as reason:
                raise source.error(str(reason), time_name) from None
            if row and t_ns <= times_ns[-1]:
                raise source.error(_not_later(time, previous_time, t_ns == times_ns[-1]), time_name)
            if row and t_ns - times_ns[0] > MAX_SPAN_NS:
                raise source.error(
                    f"more than 100 years after the first row ({first_time}); is it a wrong date?", time_name
                )
            if abs(t_ns) > 1 << 62:
                raise source.error(f"expected a time within 146 years of 1970, found {time!r}", time_name)
            times_ns.append(t_ns)
            previous_time = time
            for (index, unit), (rows, values), seen in zip(measured, cells, known, strict=True):
                text = fields[index]
                try:
                    value = seen[text]
                except KeyError:
                    value = seen[text] = self._value(text, unit, header[index])
                    if len(seen) > 100_000:
                        seen.clear()
                if value is not None:
                    rows.append(row)
                    values.append(value)
        if len(times_ns) < 2:
            raise source.error(
                f"expected at least 2 rows below the header to know the step, found {len(times_ns)}", line=0
            )
        return times_ns, first_time, cells

    def _value(self, cell: str, unit: Unit, column: str) -> int | None:
        text = cell.strip()
        if text.casefold() in _GAPS:
            return None
        if not _NUMBER.fullmatch(text):
            mend = "; write a decimal point instead of the comma" if _DECIMAL_COMMA.fullmatch(text) else ""
            raise self._source.error(
                f"expected a number in {unit.symbol} or a blank, found {text[:40]!r}{mend}", column
            )
        scaled = Decimal(text).scaleb(unit.exponent)
        if abs(scaled) > unit.quantity.limit:
            limit = f"{unit.quantity.limit} {unit.quantity.value}"
            raise self._source.error(
                f"{text[:40]} {unit.symbol} is not plausible (limit {limit}); is the unit right?", column
            )
        value = int(scaled.to_integral_value(ROUND_HALF_EVEN))
        self._rounded += value != scaled
        return value


def _not_later(time: str, previous: str, same: bool) -> str:
    if same:
        return f"time {time!r} is there twice; remove one of the rows"
    return (
        f"time {time!r} is before {previous!r} of the row before; sort the rows by time "
        "(if the clock was put back there, write the times in UTC or with an offset)"
    )


def _column(
    name: str,
    quantity: Quantity,
    starts_ns: NDArray[np.int64],
    rows: array[int],
    values: array[int],
    span_ns: int,
) -> Column | None:
    """Leave the gaps out; None without any value."""
    if not rows:
        return None
    own_starts = starts_ns[np.array(rows, dtype=np.int64)]
    own_values = np.array(values, dtype=np.int64)
    if own_starts[0] > 0:
        own_starts = np.concatenate((np.zeros(1, dtype=np.int64), own_starts))
        own_values = np.concatenate((np.zeros(1, dtype=np.int64), own_values))
    own_starts.setflags(write=False)
    own_values.setflags(write=False)
    return Column(name, quantity, own_starts, own_values, span_ns, gaps=len(starts_ns) - len(rows))


def _seconds(duration_ns: int) -> str:
    return f"{Decimal(duration_ns) / NS_PER_S:f}"
