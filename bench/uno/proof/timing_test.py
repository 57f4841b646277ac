"""The emulated chip takes the datasheet's cycles, measured by firmware on it."""

import json
import shutil
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest

from bench.uno.proof import timing
from bench.uno.proof.timing import Probes, TimingError, TimingRow, measure
from bench.uno.proof.timing_instruction import CASES

pytestmark = pytest.mark.skipif(
    shutil.which("avr-gcc") is None, reason="needs the Debian packages gcc-avr, avr-libc and binutils-avr"
)


@cache
def rows() -> tuple[TimingRow, ...]:
    return tuple(measure())


def row(operation: str) -> TimingRow:
    (found,) = (row for row in rows() if row.operation == operation)
    return found


def test_every_operation_takes_the_datasheets_cycles() -> None:
    assert [row for row in rows() if row.measured_cycles != row.datasheet_cycles] == []


def test_every_row_is_one_operation_with_a_source_and_goes_into_json() -> None:
    assert max(Counter(row.operation for row in rows()).values()) == 1
    assert all(row.source and row.datasheet_cycles > 0 for row in rows())
    assert json.loads(json.dumps([asdict(row) for row in rows()]))[0].keys() == {
        "operation",
        "datasheet_cycles",
        "measured_cycles",
        "source",
    }


@pytest.mark.parametrize(
    ("operation", "cycles"),
    [
        ("USART frame 8N1, UBRR 8, U2X 0", 1440),
        ("USART frame 9E2, UBRR 8, U2X 1", 936),
        ("SPI byte at f/4, SPI2X 0", 32),
        ("ADC conversion, ADPS 7 (f/128)", 1664),
        ("ADC first conversion, ADPS 7 (f/128)", 3200),
        ("ADC auto-triggered conversion, from the trigger's flag, ADPS 7 (f/128)", 1731),
        ("EEPROM erase and write", 54_400),
        ("EEPROM write only", 28_800),
        ("watchdog interrupt period, 1024K cycles", 131_072_000),
        ("interrupt entry from power-down", 16_392),
        ("Timer0 period, fast PWM, TOP 0xFF, prescaler 64", 16_384),
        ("Timer1 period, CTC, TOP OCR1A, prescaler 8", 8_000),
    ],
)
def test_well_known_figures_stand_in_their_rows(operation: str, cycles: int) -> None:
    assert row(operation).measured_cycles == cycles


def test_every_kind_of_operation_is_there() -> None:
    kinds = Counter(row.operation.split()[0] for row in rows())
    assert sum(case.operation == "brne, taken" for case in CASES) == 1
    assert kinds["USART"] == 2 * (30 + 5 + 2)
    assert kinds["SPI"] == 8
    assert kinds["ADC"] == 8 * 6
    assert kinds["EEPROM"] == 7
    assert kinds["watchdog"] == 20
    assert kinds["TWI"] == 5
    assert (kinds["Timer0"], kinds["Timer1"], kinds["Timer2"]) == (6 * 5, 15 * 5, 6 * 7)


def test_a_probe_that_goes_astray_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe.S").write_bytes((timing.PROBES / "probe.S").read_bytes())
    (tmp_path / "lost.S").write_text("begin\nmark\n.word 0xffff\n")
    monkeypatch.setattr(timing, "PROBES", tmp_path)
    with pytest.raises(TimingError, match=r"probe lost ended after 1 of 2 marks: illegal_opcode at 0x006c"):
        Probes().marks("lost", (), 2)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TimingError, match="apt-get install gcc-avr"):
        Probes().marks("usart", (), 1, "/* not built before */\n")
