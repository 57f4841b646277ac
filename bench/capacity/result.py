"""The result of a capacity run, as it is written to `capacity.json`.

The file is the only thing that reports read; `reports/capacity.schema.json` describes it, and
SCHEMA_VERSION changes whenever a reader of the old form could misread the new one. Every figure
carries a Label: on which kind of seat it was measured, and by what that seat is calibrated.
Shares are integers in parts per million (`_ppm`), times in seconds are rounded to a microsecond.
"""

import dataclasses
import enum
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast

from pydantic import ConfigDict, PlainSerializer, TypeAdapter, ValidationError, WrapValidator

from bench.capacity import search

SCHEMA_VERSION: Final = 1

PERCENTS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
"""The percentiles that `Latency.of` keeps; enough to draw the distribution."""

_DECIMALS = 6


def _kept(value: Any, check: Callable[[Any], object]) -> Any:
    """Check a value and keep it as it is, so that a number written without a point is read without one."""
    check(value)
    return value


def _rounded(value: search.Value) -> search.Value:
    return round(value, _DECIMALS) if isinstance(value, float) else value


def _sorted(values: Mapping[str, search.Value]) -> dict[str, search.Value]:
    return {name: _rounded(values[name]) for name in sorted(values)}


Number = Annotated[float, WrapValidator(_kept), PlainSerializer(_rounded)]
Counts = Annotated[Mapping[str, int], PlainSerializer(_sorted)]
Values = Annotated[
    Mapping[str, Annotated[float | str | bool | None, WrapValidator(_kept)]], PlainSerializer(_sorted)
]


class ResultError(ValueError):
    """A capacity result that contradicts itself, or a file that is none; the message names the place."""


class Kind(enum.StrEnum):
    """What kind of seat a figure was measured on."""

    VIRTUAL = "virtual"
    EMULATED = "emulated"
    REAL = "real"


class Tier(enum.StrEnum):
    """A tier of the branch."""

    UNO = "uno"
    RADIO = "radio"
    PI = "pi"
    SERVER = "server"


class Axis(enum.StrEnum):
    """A size that is searched."""

    SENSORS_PER_UNO = "sensors_per_uno"
    UNOS_PER_PI = "unos_per_pi"
    FRAMES_PER_MINUTE = "frames_per_minute"


class Question(enum.StrEnum):
    """The four questions that the bench answers, in their order."""

    CARRIER = "carrier"
    FREE = "free"
    PROTECTION = "protection"
    FAN_IN = "fan_in"


class Role(enum.StrEnum):
    """What a radio station belongs to."""

    UNO = "uno"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Label:
    """Where a figure comes from. `calibrated_by` names a Calibration; None means uncalibrated."""

    kind: Kind
    calibrated_by: str | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What figures are calibrated by: a measured board, an emulator's instruction clock, a datasheet."""

    name: str
    board: str
    method: str
    date: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Rig:
    """The rig file, whole, so that a result can be repeated from itself."""

    name: str
    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """What the sensors played."""

    name: str
    sha256: str
    origin: str


@dataclass(frozen=True, slots=True)
class Firmware:
    """One firmware image. Sizes of the chip are what a sketch may use (flash without the boot loader)."""

    profile: str
    sha256: str
    flash_bytes: int
    flash_size_bytes: int
    static_sram_bytes: int
    sram_size_bytes: int
    lowest_free_sram_bytes: int | None
    label: Label


@dataclass(frozen=True, slots=True)
class Readings:
    """Where all readings of a trial are. `missing` counts the causes and `unaccounted` together."""

    injected: int
    in_server_ledger: int
    altered: int
    missing: int
    unaccounted: int
    missing_by_cause: Counts
    label: Label

    def __post_init__(self) -> None:
        causes = sum(self.missing_by_cause.values())
        if causes + self.unaccounted != self.missing:
            raise ResultError(
                f"readings: {self.missing} missing, but the causes name {causes} "
                f"and {self.unaccounted} are unaccounted for"
            )


@dataclass(frozen=True, slots=True)
class Percentile:
    """`percent` % of the readings took `seconds` or less."""

    percent: Number
    seconds: Number


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from snapshot on the Uno to the server's ledger, over the `count` readings that arrived."""

    count: int
    percentiles: tuple[Percentile, ...]
    label: Label

    @classmethod
    def of(cls, latencies_ns: Sequence[int], label: Label) -> Self:
        """Nearest-rank percentiles of latencies in ns; each is one that occurred. None given, none kept."""
        ordered = sorted(latencies_ns)
        percentiles = tuple(
            Percentile(percent, ordered[_nearest_rank(percent, len(ordered))] / 1_000_000_000)
            for percent in PERCENTS
            if ordered
        )
        return cls(len(ordered), percentiles, label)

    def seconds(self, percent: float) -> float | None:
        """One of the kept percentiles, or None when there is none."""
        return next((kept.seconds for kept in self.percentiles if kept.percent == percent), None)


@dataclass(frozen=True, slots=True)
class Station:
    """One radio's time on air in a trial; `duty_limit_ppm` is what regulation allows, None for no limit."""

    name: str
    role: Role
    airtime_ms: int
    duty_ppm: int
    duty_limit_ppm: int | None
    sent: int
    repeated: int


@dataclass(frozen=True, slots=True)
class RadioUse:
    """What happened on air. `outcomes` counts receptions by outcome (received, collision, capture, ...)."""

    stations: tuple[Station, ...]
    retries: int
    outcomes: Counts
    label: Label


@dataclass(frozen=True, slots=True)
class UnoUse:
    """The busiest Uno: share of cycles awake. The fullest Uno: SRAM bytes that the stack never reached."""

    awake_ppm: int
    lowest_free_sram_bytes: int | None
    label: Label


@dataclass(frozen=True, slots=True)
class PiUse:
    """The busiest Pi: share of one core that the gateway used, and its memory where that was measured."""

    busy_ppm: int
    memory_bytes: int | None
    label: Label


@dataclass(frozen=True, slots=True)
class ServerUse:
    """What reached the server: bytes over the uplink, bytes in its ledger, and those per reading."""

    uplink_bytes: int
    ledger_bytes: int
    ledger_bytes_per_reading: Number
    label: Label


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the rig at one size with one seed. What was not measured is None."""

    name: str
    sensors_per_uno: int
    unos_per_pi: int
    seed: int
    virtual_s: Number
    wall_s: Number
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


@dataclass(frozen=True, slots=True)
class Confidence:
    """`agreed` of `seeds` fresh seeds agreed; the chance that the next one does, and its 95 % interval.

    `expected` is the rule of succession, `low` and `high` are Wilson's interval.
    """

    agreed: int
    seeds: int
    expected: Number
    low: Number
    high: Number

    @classmethod
    def of(cls, confidence: search.Confidence | None) -> Self | None:
        """The stated confidence of one side of a search; None where there is no such side."""
        if confidence is None:
            return None
        low_ppm, high_ppm = confidence.interval_ppm
        return cls(
            confidence.agreed,
            confidence.seeds,
            round(float(confidence.expected), _DECIMALS),
            low_ppm / search.PPM,
            high_ppm / search.PPM,
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of a search, in order."""

    size: int
    seed: int
    purpose: search.Purpose
    holds: bool
    bound_by: str | None
    values: Values


@dataclass(frozen=True, slots=True)
class Capacity:
    """A capacity: the pair of sizes, what bound, and how sure it is. See bench.capacity.search.Result.

    `fixed` are the other fan-ins during the search; `criteria` are the rig file's, as written there.
    """

    axis: Axis
    unit: str
    fixed: Counts
    largest_held: int | None
    smallest_failed: int | None
    bound_by: str | None
    ceiling: int
    ceiling_reason: str
    settled: bool
    moves: int
    mixed: tuple[int, ...]
    held_confidence: Confidence | None
    failed_confidence: Confidence | None
    criteria: tuple[str, ...]
    probes: tuple[Probe, ...]
    label: Label

    @classmethod
    def of(
        cls,
        found: search.Result,
        axis: Axis,
        unit: str,
        fixed: Mapping[str, int],
        criteria: Sequence[str],
        label: Label,
    ) -> Self:
        """The capacity that a search found."""
        return cls(
            axis=axis,
            unit=unit,
            fixed=dict(fixed),
            largest_held=found.largest_held,
            smallest_failed=found.smallest_failed,
            bound_by=found.bound_by,
            ceiling=found.plan.ceiling,
            ceiling_reason=found.plan.ceiling_reason,
            settled=found.settled,
            moves=found.moves,
            mixed=found.mixed,
            held_confidence=Confidence.of(found.held_confidence),
            failed_confidence=Confidence.of(found.failed_confidence),
            criteria=tuple(criteria),
            probes=tuple(
                Probe(
                    probed.size,
                    probed.seed,
                    probed.purpose,
                    probed.verdict.holds,
                    probed.verdict.bound_by,
                    dict(probed.verdict.values),
                )
                for probed in found.probes
            ),
            label=label,
        )


@dataclass(frozen=True, slots=True)
class FreeResource:
    """How much of one resource of one tier is used while data flows at the named trial's size."""

    tier: Tier
    resource: str
    used: Number
    total: Number
    unit: str
    trial: str | None
    label: Label

    def __post_init__(self) -> None:
        if self.total <= 0:
            raise ResultError(
                f"free resource {self.resource!r}: a total of {self.total} cannot be shared out"
            )


@dataclass(frozen=True, slots=True)
class ProtectionCost:
    """What one protecting operation costs at one tier, such as 41200 cycles per frame for an Ascon seal."""

    tier: Tier
    operation: str
    value: Number
    unit: str
    per: str
    label: Label


@dataclass(frozen=True, slots=True)
class Figure:
    """One named figure of an answer."""

    name: str
    value: Number
    unit: str
    label: Label


@dataclass(frozen=True, slots=True)
class Answer:
    """What this run says to one of the four questions, in one plain sentence, and what it leaves open."""

    question: Question
    sentence: str
    figures: tuple[Figure, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CapacityResult:
    """Everything that one capacity run found."""

    schema_version: Literal[1] = dataclasses.field(default=SCHEMA_VERSION, kw_only=True)
    bench_version: str
    rig: Rig
    data_sets: tuple[DataSet, ...]
    seeds: tuple[int, ...]
    firmware: tuple[Firmware, ...]
    calibrations: tuple[Calibration, ...]
    trials: tuple[Trial, ...]
    capacities: tuple[Capacity, ...]
    free: tuple[FreeResource, ...]
    protection: tuple[ProtectionCost, ...]
    answers: tuple[Answer, ...]

    # Holds for the parts as well; what is written is checked like what is read.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, revalidate_instances="always"
    )

    def __post_init__(self) -> None:
        names = {calibration.name for calibration in self.calibrations}
        for label in _labels(self):
            if label.calibrated_by is not None and label.calibrated_by not in names:
                raise ResultError(
                    f"a figure says it is calibrated by {label.calibrated_by!r}, "
                    f"which is not among the calibrations ({', '.join(sorted(names)) or 'none'})"
                )

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: keys in a fixed order, floats rounded to six decimals."""
        try:
            _FORM.validate_python(self)
        except ValidationError as error:
            raise ResultError(_first_problem(error)) from None
        return cast("dict[str, Any]", _FORM.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, data: object) -> "CapacityResult":
        """The result that `to_json` gave; ResultError names the place of anything else."""
        version = data.get("schema_version") if isinstance(data, dict) else None
        if type(version) is not int or version != SCHEMA_VERSION:
            raise ResultError(
                f"result: schema_version is {_found(version)}; this bench reads version {SCHEMA_VERSION}"
            )
        try:
            # As text: from JSON, unlike from Python's types, the strict form takes a list as a tuple.
            return _FORM.validate_json(json.dumps(data))
        except ValidationError as error:
            raise ResultError(_first_problem(error)) from None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> "CapacityResult":
        """Read a file back."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ResultError(f"{path}: cannot be read as a capacity result: {error}") from error
        return cls.from_json(data)


def _nearest_rank(percent: float, count: int) -> int:
    """Index of a percentile given in tenths of a percent, in integers so that no rank hangs on rounding."""
    return max(0, -(-round(percent * 10) * count // 1000) - 1)


def _labels(value: object) -> Iterator[Label]:
    if isinstance(value, Label):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _labels(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _labels(getattr(value, field.name))


_FORM = TypeAdapter(CapacityResult)

_KEY_PROBLEMS = {"missing": "this key is missing", "unexpected_keyword_argument": "unknown key"}


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    # Of a whole object nothing is shown: its problem is a key, or is told by its own check.
    found = "" if isinstance(first["input"], dict) else f", found {_found(first['input'])}"
    problem = _KEY_PROBLEMS.get(first["type"], first["msg"].removeprefix("Value error, "))
    return f"result{place}: {problem}{found}"


def _found(data: object) -> str:
    text = json.dumps(data, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
