"""`bench uno timing` and `bench uno speed`: what the emulated chip takes, and what it takes to emulate it."""

import json
import sys
from typing import Annotated, Any, Never

import typer
from rich.console import Console
from rich.table import Table

from bench.uno.build import BuildError
from bench.uno.proof.speed import SpeedError, SpeedRow, host
from bench.uno.proof.speed import measure as measure_speed
from bench.uno.proof.timing import TimingError, TimingRow
from bench.uno.proof.timing import measure as measure_timing

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def timing(as_json: JsonOption = False) -> None:
    """Measure each operation of the chip against the datasheet. Exits with 1 when one differs."""
    try:
        rows = measure_timing()
    except TimingError as error:
        _fail(error)
    if as_json:
        print(json.dumps([_timing_fields(row) for row in rows], indent=2))
    else:
        Console().print(_timing_table(rows))
    differing = [row.operation for row in rows if row.measured_cycles != row.datasheet_cycles]
    if differing:
        _fail(f"{len(differing)} of {len(rows)} operations differ from the datasheet, first: {differing[0]}")


def speed(as_json: JsonOption = False) -> None:
    """Measure the pace of firmware on this host: interpreted, translated, and on simavr where installed."""
    try:
        rows = measure_speed()
    except (BuildError, SpeedError) as error:
        _fail(error)
    if as_json:
        print(json.dumps({"host": host(), "rows": [_speed_fields(row) for row in rows]}, indent=2))
    else:
        Console().print(_speed_table(rows))


def _fail(reason: Exception | str) -> Never:
    sys.stdout.flush()
    print(f"bench: {reason}", file=sys.stderr, flush=True)
    raise typer.Exit(1) from None


def _timing_fields(row: TimingRow) -> dict[str, str | int]:
    return {
        "operation": row.operation,
        "datasheet_cycles": row.datasheet_cycles,
        "measured_cycles": row.measured_cycles,
        "source": row.source,
    }


def _timing_table(rows: list[TimingRow]) -> Table:
    table = Table("operation", title="cycles of 16 MHz, by the datasheet and as measured on the core")
    table.add_column("datasheet", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("source")
    for row in rows:
        style = None if row.measured_cycles == row.datasheet_cycles else "red"
        table.add_row(
            row.operation, str(row.datasheet_cycles), str(row.measured_cycles), row.source, style=style
        )
    return table


def _speed_fields(row: SpeedRow) -> dict[str, Any]:
    return {
        "workload": row.workload,
        "engine": row.engine.value,
        "simulated_mhz": row.simulated_mhz,
        "times_real_time": row.times_real_time,
        "ratio_to_simavr": row.ratio_to_simavr,
        "cycles": row.cycles,
        "cpu_ns": row.cpu_ns,
        "result": row.result,
        "note": row.note,
    }


def _speed_table(rows: list[SpeedRow]) -> Table:
    notes = [f"{row.workload}, {row.engine}: {row.note}" for row in rows if row.note]
    table = Table(title=f"simulated MHz on {host()}", caption="\n".join(notes), caption_justify="left")
    for heading in ("workload", "engine"):
        table.add_column(heading, no_wrap=True)
    table.add_column("MHz", justify="right", no_wrap=True)
    for heading in ("x real time", "x simavr"):
        table.add_column(heading, justify="right")
    for row in rows:
        first_of_workload = row.engine is rows[0].engine
        if first_of_workload:
            table.add_section()
        table.add_row(
            row.workload if first_of_workload else "",
            row.engine.value,
            _rounded(row.simulated_mhz, 0),
            _rounded(row.times_real_time, 0),
            _rounded(row.ratio_to_simavr, 1),
        )
    return table


def _rounded(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
