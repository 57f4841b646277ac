"""The stored result as reports see it: types that mirror `capacity.schema.json`, and the reader.

A shape is trusted only after the schema has been checked against the file; the types below then
say to the type checker what the schema says at run time, and a test keeps both equal.
"""

import json
from pathlib import Path
from typing import Any, TypedDict, cast

from reports.schema import shown, violations

SCHEMA_VERSION = 1

SCHEMA_PATH = Path(__file__).with_name("capacity.schema.json")


class ReportError(ValueError):
    """A result that cannot be reported; the message is fit for a user."""


class Rig(TypedDict):
    """The rig file, whole, so that a result can be repeated from itself."""

    name: str
    sha256: str
    text: str


class DataSet(TypedDict):
    """What the sensors played."""

    name: str
    sha256: str
    origin: str


class Label(TypedDict):
    """Where a figure comes from."""

    kind: str
    calibrated_by: str | None


class Firmware(TypedDict):
    """One firmware image."""

    profile: str
    sha256: str
    flash_bytes: int
    flash_size_bytes: int
    static_sram_bytes: int
    sram_size_bytes: int
    lowest_free_sram_bytes: int | None
    label: Label


class Calibration(TypedDict):
    """What figures are calibrated by: a measured board, an emulator's instruction clock, a datasheet."""

    name: str
    board: str
    method: str
    date: str | None
    sha256: str | None


class Readings(TypedDict):
    """Where all readings of a trial are."""

    injected: int
    in_server_ledger: int
    altered: int
    missing: int
    unaccounted: int
    missing_by_cause: dict[str, int]
    label: Label


class Percentile(TypedDict):
    """`percent` % of the readings took `seconds` or less."""

    percent: float
    seconds: float


class Latency(TypedDict):
    """Time from snapshot on the Uno to the server's ledger, over the `count` readings that arrived."""

    count: int
    percentiles: list[Percentile]
    label: Label


class Station(TypedDict):
    """One radio's time on air in a trial; `duty_limit_ppm` is what regulation allows, None for no limit."""

    name: str
    role: str
    airtime_ms: int
    duty_ppm: int
    duty_limit_ppm: int | None
    sent: int
    repeated: int


class RadioUse(TypedDict):
    """What happened on air."""

    stations: list[Station]
    retries: int
    outcomes: dict[str, int]
    label: Label


class UnoUse(TypedDict):
    """The busiest Uno: share of cycles awake."""

    awake_ppm: int
    lowest_free_sram_bytes: int | None
    label: Label


class PiUse(TypedDict):
    """The busiest Pi: share of one core that the gateway used, and its memory where that was measured."""

    busy_ppm: int
    memory_bytes: int | None
    label: Label


class ServerUse(TypedDict):
    """What reached the server: bytes over the uplink, bytes in its ledger, and those per reading."""

    uplink_bytes: int
    ledger_bytes: int
    ledger_bytes_per_reading: float
    label: Label


class Trial(TypedDict):
    """One run of the rig at one size with one seed."""

    name: str
    sensors_per_uno: int
    unos_per_pi: int
    seed: int
    virtual_s: float
    wall_s: float
    trace_sha256: str
    firmware_sha256: str
    holds: bool
    bound_by: str | None
    readings: Readings
    latency: Latency | None
    radio: RadioUse | None
    uno: UnoUse | None
    pi: PiUse | None
    server: ServerUse | None


class Confidence(TypedDict):
    """`agreed` of `seeds` fresh seeds agreed; the chance that the next one does, and its 95 % interval."""

    agreed: int
    seeds: int
    expected: float
    low: float
    high: float


class Probe(TypedDict):
    """One probe of a search, in order."""

    size: int
    seed: int
    purpose: str
    holds: bool
    bound_by: str | None
    values: dict[str, float | str | bool | None]


class Capacity(TypedDict):
    """A capacity: the pair of sizes, what bound, and how sure it is."""

    axis: str
    unit: str
    fixed: dict[str, int]
    largest_held: int | None
    smallest_failed: int | None
    bound_by: str | None
    ceiling: int
    ceiling_reason: str
    settled: bool
    moves: int
    mixed: list[int]
    held_confidence: Confidence | None
    failed_confidence: Confidence | None
    criteria: list[str]
    probes: list[Probe]
    label: Label


class FreeResource(TypedDict):
    """How much of one resource of one tier is used while data flows at the named trial's size."""

    tier: str
    resource: str
    used: float
    total: float
    unit: str
    trial: str | None
    label: Label


class ProtectionCost(TypedDict):
    """What one protecting operation costs at one tier, such as 41200 cycles per frame for an Ascon seal."""

    tier: str
    operation: str
    value: float
    unit: str
    per: str
    label: Label


class Figure(TypedDict):
    """One named figure of an answer."""

    name: str
    value: float
    unit: str
    label: Label


class Answer(TypedDict):
    """What this run says to one of the four questions, in one plain sentence, and what it leaves open."""

    question: str
    sentence: str
    figures: list[Figure]
    open: list[str]


class CapacityResult(TypedDict):
    """Everything that one capacity run found."""

    schema_version: int
    bench_version: str
    rig: Rig
    data_sets: list[DataSet]
    seeds: list[int]
    firmware: list[Firmware]
    calibrations: list[Calibration]
    trials: list[Trial]
    capacities: list[Capacity]
    free: list[FreeResource]
    protection: list[ProtectionCost]
    answers: list[Answer]


def load(path: Path) -> CapacityResult:
    """Read a stored result.

    Raises:
        ReportError: when there is no such file, it is no JSON, of another version, or of another shape.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise ReportError(f"{path}: there is no such file; `make bench` writes it") from None
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read as a capacity result: {error}") from error
    try:
        return parse(data)
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None


def parse(data: object) -> CapacityResult:
    """Check data that was read from JSON and return it as a result. Raises ReportError like `load`."""
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ReportError(
            f"its schema_version is {shown(version)}, these reports read version {SCHEMA_VERSION}; "
            "run the bench again, or take the reports of the version that wrote it"
        )
    schema: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    found = list(violations(data, schema))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ReportError(f"{found[0]}{more}")
    return cast("CapacityResult", data)


def _refuse(constant: str) -> float:
    raise ReportError(f"{constant} is no figure")
