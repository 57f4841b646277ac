"""Profile, pin trace, radio, signals and sketches through the command."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.uno.build import ARDUINO, build_firmware
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.workshop.command import app
from bench.workshop.conftest import Compile

PROFILED = """
#include <avr/interrupt.h>
#include <avr/sleep.h>
ISR(TIMER1_COMPA_vect) { PORTB ^= 1; }
__attribute__((noinline)) void leaf(void) { asm volatile("nop"); }
__attribute__((noinline)) void branch(void) { leaf(); leaf(); asm volatile(""); }
int main(void)
{
    OCR1A = 1599;
    TCCR1B = 1 << WGM12 | 1 << CS10;
    TIMSK1 = 1 << OCIE1A;
    sei();
    for (int n = 0; n < 5; n++)
        branch();
    for (;;)
        sleep_mode();
}
"""


def run(image: Path, *arguments: str | Path, seconds: str = "0.01") -> Any:
    result = CliRunner().invoke(
        app, ["run", str(image), "--pace", "fast", "--seconds", seconds, *map(str, arguments)]
    )
    assert result.exit_code == 0, result.output
    return result


def profile_of(image: Path, *arguments: str) -> dict[str, Any]:
    profile: dict[str, Any] = json.loads(run(image, "--profile", "--json", *arguments).stdout)["profile"]
    return profile


@pytest.mark.parametrize("arguments", [(), ("--translated",)])
def test_the_profile_counts_every_cycle_once(arguments: tuple[str, ...], compile_c: Compile) -> None:
    profile = profile_of(compile_c(PROFILED), *arguments)
    own = sum(row["own_cycles"] for table in ("functions", "interrupts") for row in profile[table])
    assert own + profile["sleep_cycles"] + profile["reset_cycles"] == profile["cycles"]
    functions = {row["name"]: row for row in profile["functions"]}
    # NOP 1, RET 4; two calls of it of 4 cycles each, and RET 4.
    assert (functions["leaf"]["calls"], functions["leaf"]["own_cycles"]) == (10, 10 * 5)
    assert (functions["branch"]["calls"], functions["branch"]["own_cycles"]) == (5, 5 * 12)
    assert functions["branch"]["whole_cycles"] == 5 * (12 + 2 * 5)
    [interrupt] = [row for row in profile["interrupts"] if row["name"] == "TIMER1_COMPA"]
    assert interrupt["calls"] == 160_000 // 1600 - 1  # the timer starts a little after the chip
    # Entering 4 cycles and JMP 3 each; the handler's cycles are its own.
    assert interrupt["own_cycles"] == 7 * interrupt["calls"]
    handler = functions["__vector_11 (TIMER1_COMPA)"]
    assert handler["calls"] == interrupt["calls"]
    assert interrupt["whole_cycles"] == interrupt["own_cycles"] + handler["own_cycles"]


def test_without_symbols_functions_are_known_by_their_calls(compile_c: Compile, tmp_path: Path) -> None:
    elf = compile_c(PROFILED)
    named = {row["address"]: row for row in profile_of(elf)["functions"]}
    subprocess.run(["avr-objcopy", "-O", "ihex", elf, tmp_path / "bare.hex"], check=True)
    bare = {row["address"]: row for row in profile_of(tmp_path / "bare.hex")["functions"]}
    leaf = next(row for row in named.values() if row["name"] == "leaf")
    assert bare[leaf["address"]]["name"] == f"0x{leaf['address']:04x}"
    assert bare[leaf["address"]]["own_cycles"] == leaf["own_cycles"]


def test_the_profile_is_printed_as_tables(compile_c: Compile) -> None:
    output = run(compile_c(PROFILED), "--profile").stdout
    assert "leaf" in output
    assert "TIMER1_COMPA" in output
    assert "asleep: " in output


def test_the_pin_trace_is_complete_when_the_run_ends(compile_c: Compile, tmp_path: Path) -> None:
    image = compile_c("#include <avr/io.h>\nint main(void) { DDRB = 1; for (;;) PINB = 1; }")
    run(image, "--vcd", tmp_path / "p.vcd")
    text = (tmp_path / "p.vcd").read_text()
    assert text.startswith("$version")
    times = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    # The loop is OUT 1 and RJMP 2: an edge every 3 cycles of 62.5 ns, to the end of 10 ms.
    assert {later - earlier for earlier, later in pairwise(times[1:-1])} == {3 * 625}
    assert times[-1] >= 100_000_000
    assert times[-1] - times[-2] <= 3 * 625


def test_a_trace_that_cannot_be_written_is_told(compile_c: Compile, tmp_path: Path) -> None:
    arguments = ["run", str(compile_c(PROFILED)), "--vcd", str(tmp_path / "no" / "p.vcd"), "--seconds", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "p.vcd: cannot be written" in result.stderr


@pytest.mark.skipif(not ARDUINO.is_dir(), reason="the Arduino core is not installed")
def test_our_firmware_counts_pulses_and_sends_on_a_silent_radio(tmp_path: Path) -> None:
    image = build_firmware()
    hex_file = tmp_path / "uno.hex"
    hex_file.write_text(image.hex_text)
    provisioning = Provisioning(
        uno_id=17,
        key=bytes(16),
        interval_s=5,
        s0_count=2,
        ac_count=0,
        frequency_hz=433_175_000,
        spreading_factor=7,
        bandwidth_hz=125_000,
        coding_rate=5,
        tx_power_dbm=10,
        ack_timeout_ms=300,
    )
    (tmp_path / "cells.bin").write_bytes(eeprom_image(provisioning))
    signals = ("--radio", "--pulse", "D3=2", "--eeprom", tmp_path / "cells.bin", "--must-sleep")
    result = run(hex_file, *signals, seconds="16")
    assert "uno 17 collect, epoch 2, 2 S0" in result.stdout
    assert result.stderr.count("radio: sends for ") >= 3


@pytest.mark.skipif(not ARDUINO.is_dir(), reason="the Arduino core is not installed")
def test_a_sketch_is_built_and_run(tmp_path: Path) -> None:
    sketch = tmp_path / "sum.ino"
    sketch.write_text(
        "void setup() { Serial.begin(115200); }\n"
        "void loop() { if (Serial.available() > 3) Serial.println(Serial.parseInt() + analogRead(A0)); }\n"
    )
    code = "from bench.workshop.command import app; app()"
    command = [sys.executable, "-c", code, "run", str(sketch), "--pace", "fast", "--seconds", "2"]
    finished = subprocess.run(
        [*command, "--analog", "A0=2.5"], input=b"1000\n", capture_output=True, check=False, timeout=60
    )
    assert finished.stdout == b"1512\r\n"
