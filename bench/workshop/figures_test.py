"""The two commands about the core's own figures; what is measured is tested beside the measuring."""

import json

import pytest
from typer.testing import CliRunner, Result

from bench.uno.build import BuildError
from bench.uno.proof.speed import Engine, SpeedError, SpeedRow
from bench.uno.proof.timing import TimingError, TimingRow
from bench.workshop import figures
from bench.workshop.command import app

RIGHT = TimingRow("RETI", 4, 4, '"Instruction Set Summary"')
WRONG = TimingRow("EEPROM write", 28_800, 28_799, '"EEPROM Mode Bits"')
FAST = SpeedRow("sleeper", Engine.INTERPRETER, 32_000, 1_000_000, 2.5, "ab")
ABSENT = SpeedRow("sleeper", Engine.SIMAVR, note="simavr is not installed")


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def give(monkeypatch: pytest.MonkeyPatch, what: str, outcome: object) -> None:
    def measure() -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(figures, what, measure)


def test_timing_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "measure_timing", [RIGHT])
    result = invoke("timing", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [
        {
            "operation": "RETI",
            "datasheet_cycles": 4,
            "measured_cycles": 4,
            "source": '"Instruction Set Summary"',
        }
    ]


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_an_operation_that_differs_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    give(monkeypatch, "measure_timing", [RIGHT, WRONG])
    result = invoke("timing", *arguments)
    assert result.exit_code == 1
    assert result.stderr == "bench: 1 of 2 operations differ from the datasheet, first: EEPROM write\n"
    assert "28799" in result.stdout
    assert "RETI" in result.stdout


def test_speed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "measure_speed", [FAST, ABSENT])
    result = invoke("speed", "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["host"].startswith("real host, ")
    assert told["host"].endswith(", one core")
    fast, absent = told["rows"]
    assert fast == {
        "workload": "sleeper",
        "engine": "interpreter",
        "simulated_mhz": 32.0,
        "times_real_time": 2.0,
        "ratio_to_simavr": 2.5,
        "cycles": 32_000,
        "cpu_ns": 1_000_000,
        "result": "ab",
        "note": "",
    }
    assert absent["note"] == "simavr is not installed"
    assert absent["simulated_mhz"] is absent["times_real_time"] is absent["ratio_to_simavr"] is None


def test_speed_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "measure_speed", [FAST, ABSENT])
    result = invoke("speed")
    assert result.exit_code == 0
    for told in ("real host", "sleeper", "interpreter", "2.5", "simavr is not installed"):
        assert told in result.stdout


@pytest.mark.parametrize(
    ("command", "what", "error"),
    [
        ("timing", "measure_timing", TimingError("avr-gcc is not installed")),
        ("speed", "measure_speed", SpeedError("not the same work")),
        ("speed", "measure_speed", BuildError("avr-gcc is not installed")),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, command: str, what: str, error: Exception
) -> None:
    give(monkeypatch, what, error)
    result = invoke(command)
    assert result.exit_code == 1
    assert result.stderr == f"bench: {error}\n"
    assert result.stdout == ""
