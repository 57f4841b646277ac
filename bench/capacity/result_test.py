import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.capacity import result, search
from bench.capacity.result import (
    Axis,
    Calibration,
    Capacity,
    CapacityResult,
    Kind,
    Label,
    Latency,
    Readings,
    ResultError,
    Rig,
)

REPORTS = Path(__file__).parents[2] / "reports"
SCHEMA: dict[str, Any] = json.loads((REPORTS / "capacity.schema.json").read_text("utf-8"))
SAMPLE: dict[str, Any] = json.loads((REPORTS / "sample.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
LABEL = Label(Kind.VIRTUAL)


def smallest_result(capacities: tuple[Capacity, ...] = (), label: str | None = None) -> CapacityResult:
    return CapacityResult(
        bench_version="0.1.0",
        rig=Rig("virtual village", "0" * 64, "[rig]\n"),
        data_sets=(),
        seeds=(7,),
        firmware=(),
        calibrations=(Calibration("pi3b", "Pi 3B", "instruction counts"),),
        trials=(),
        capacities=capacities,
        free=(),
        protection=(
            result.ProtectionCost(result.Tier.UNO, "seal", 1, "cycles", "frame", Label(Kind.REAL, label)),
        ),
        answers=(),
    )


def test_the_schema_is_valid_and_describes_exactly_these_dataclasses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    described = {"CapacityResult": SCHEMA, **SCHEMA["$defs"]}
    written = {
        name: cls
        for name, cls in vars(result).items()
        if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__ == result.__name__
    }
    assert set(described) == set(written)
    for name, cls in written.items():
        fields = {field.name for field in dataclasses.fields(cls)}
        assert set(described[name]["properties"]) == fields, name
        assert set(described[name]["required"]) == fields, name


def test_enumerations_are_those_of_the_schema() -> None:
    definitions = SCHEMA["$defs"]
    for definition, key, enumeration in [
        ("Label", "kind", result.Kind),
        ("Station", "role", result.Role),
        ("Capacity", "axis", result.Axis),
        ("Probe", "purpose", search.Purpose),
        ("ProtectionCost", "tier", result.Tier),
        ("Answer", "question", result.Question),
    ]:
        assert definitions[definition]["properties"][key]["enum"] == list(enumeration)


def test_the_sample_is_valid_and_comes_back_the_same_to_the_byte(tmp_path: Path) -> None:
    VALIDATOR.validate(SAMPLE)
    path = tmp_path / "capacity.json"
    CapacityResult.from_json(SAMPLE).write(path)

    assert path.read_bytes() == (REPORTS / "sample.json").read_bytes()
    assert CapacityResult.read(path) == CapacityResult.from_json(SAMPLE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["capacity.json"]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 41), st.integers(0, 4), st.floats(0, 1))
def test_any_found_capacity_writes_valid_json_and_comes_back(
    ceiling: int, largest: int, confirmations: int, delivered: float
) -> None:
    def probe(size: int, seed: int) -> search.Verdict:
        values: dict[str, search.Value] = {"z": delivered, "a": seed, "none": None, "flag": True, "text": "ü"}
        return search.Verdict(size <= largest, values, None if size <= largest else "airtime")

    found = search.find(probe, search.Plan(ceiling, "pins", 7, confirmations=confirmations))
    capacity = Capacity.of(
        found, Axis.SENSORS_PER_UNO, "sensors", {"unos_per_pi": 8}, ["delivered >= 0.99"], LABEL
    )
    written = smallest_result((capacity,)).to_json()

    VALIDATOR.validate(written)
    through_text = json.loads(json.dumps(written))
    read = CapacityResult.from_json(through_text)
    assert read.to_json() == written
    assert (read.capacities[0].largest_held, read.capacities[0].smallest_failed) == (
        found.largest_held,
        found.smallest_failed,
    )
    assert list(written["capacities"][0]["probes"][0]["values"]) == ["a", "flag", "none", "text", "z"]


def _places(data: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children: list[tuple[str | int, object]] = []
    if isinstance(data, dict):
        children = list(data.items())
    elif isinstance(data, list):
        children = list(enumerate(data[:2]))
    return [place, *(deeper for key, value in children for deeper in _places(value, (*place, key)))]


def _replaced(data: object, place: tuple[str | int, ...], value: object) -> object:
    if not place:
        return value
    copy: Any = dict(data) if isinstance(data, dict) else list(typing.cast("list[object]", data))
    copy[place[0]] = _replaced(copy[place[0]], place[1:], value)
    return copy


JSON_VALUES: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
)


@settings(deadline=None)
@given(st.sampled_from(_places(SAMPLE)), JSON_VALUES)
def test_a_wrong_value_anywhere_is_an_error_that_names_it_or_is_valid(
    place: tuple[str | int, ...], value: object
) -> None:
    changed = _replaced(SAMPLE, place, value)
    try:
        read = CapacityResult.from_json(changed)
    except ResultError:
        return
    assert json.loads(json.dumps(read.to_json()))["schema_version"] == result.SCHEMA_VERSION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2; this bench reads version 1"),
        ({"seeds": "7"}, 'result.seeds: Input should be a valid array, found "7"'),
        ({"seeds": [True]}, r"result.seeds\[0\]: Input should be a valid integer, found true"),
        ({"extra": 1}, "result.extra: unknown key"),
        ({"rig": {"name": "x", "sha256": "0"}}, "result.rig.text: this key is missing"),
    ],
)
def test_an_error_names_place_found_and_expected(change: dict[str, object], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        CapacityResult.from_json({**smallest_result().to_json(), **change})


def test_a_file_that_is_no_json_says_so(tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_text("{")
    with pytest.raises(ResultError, match=r"capacity\.json: cannot be read"):
        CapacityResult.read(path)


def test_a_figure_cannot_claim_a_calibration_that_is_not_there() -> None:
    assert smallest_result(label="pi3b").protection[0].label.calibrated_by == "pi3b"
    with pytest.raises(ResultError, match=r"'pi4'.*\(pi3b\)"):
        smallest_result(label="pi4")


def test_missing_readings_must_add_up() -> None:
    Readings(100, 90, 0, 10, 1, {"radio": 6, "still_buffered": 3}, LABEL)
    with pytest.raises(ResultError, match="10 missing, but the causes name 9 and 0 are unaccounted"):
        Readings(100, 90, 0, 10, 0, {"radio": 6, "still_buffered": 3}, LABEL)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_is_none_is_not_written(value: float) -> None:
    cost = result.ProtectionCost(result.Tier.PI, "sign", value, "ns", "block", LABEL)
    with pytest.raises(ResultError, match=r"result\.protection\[0\]\.value: .* finite number"):
        dataclasses.replace(smallest_result(), protection=(cost,)).to_json()


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**12), max_size=60))
def test_percentiles_are_the_smallest_value_that_enough_readings_do_not_exceed(latencies: list[int]) -> None:
    latency = Latency.of(latencies, LABEL)

    assert latency.count == len(latencies)
    if not latencies:
        assert latency.percentiles == ()
        assert latency.seconds(99.0) is None
    for kept in latency.percentiles:
        # Independent of the rank formula: count how many are at or below each candidate.
        enough = [
            candidate
            for candidate in latencies
            if sum(other <= candidate for other in latencies) * 1000
            >= round(kept.percent * 10) * len(latencies)
        ]
        assert kept.seconds == min(enough) / 1e9
