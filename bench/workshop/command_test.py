"""The command as a developer meets it: what runs, and what is told when something is wrong."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.uno.image import encode_hex, load_image
from bench.workshop.command import app
from bench.workshop.conftest import Compile

ECHO = """
#include <avr/io.h>
int main(void)
{
    UCSR0A = 1 << U2X0;
    UBRR0 = 16;
    UCSR0B = 1 << TXEN0 | 1 << RXEN0;
    for (;;) {
        while (!(UCSR0A & 1 << RXC0));
        unsigned char byte = UDR0;
        while (!(UCSR0A & 1 << UDRE0));
        UDR0 = byte ^ 0x20;
    }
}
"""
SLEEPER = """
#include <avr/interrupt.h>
#include <avr/sleep.h>
ISR(TIMER1_COMPA_vect) {}
int main(void)
{
    OCR1A = 15624;
    TCCR1B = 1 << WGM12 | 1 << CS12;
    TIMSK1 = 1 << OCIE1A;
    sei();
    for (;;)
        sleep_mode();
}
"""
FAULTS = {
    "illegal opcode": (
        '__attribute__((noinline)) void culprit(int x) { asm volatile(".word 0xffff" :: "r"(x)); }',
        "the opcode 0xffff is none of the chip's instructions",
    ),
    "stack into data": (
        "char heap[1200]; __attribute__((noinline)) int culprit(volatile int depth)"
        "{ volatile char room[40]; room[depth & 31] = 1; heap[depth & 1023] = 2;"
        "  return culprit(depth + 1) + room[1]; }",
        "the stack has grown into the variables",
    ),
    "read outside": (
        "__attribute__((noinline)) int culprit(int at) { return *(volatile char *)(0x1234 + at); }",
        "reads data address 0x1234, but SRAM ends at 0x08ff",
    ),
    "write outside": (
        "__attribute__((noinline)) void culprit(int at) { *(volatile char *)(0x900 + at) = 1; }",
        "writes data address 0x0900, but SRAM ends at 0x08ff",
    ),
}


def run(*arguments: str | Path, typed: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["run", *map(str, arguments)], input=typed)


def fast(image: Path, *arguments: str | Path, seconds: str = "1") -> Result:
    return run(image, "--pace", "fast", "--seconds", seconds, *arguments)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_told_with_place_symbol_and_cycle(kind: str, compile_c: Compile) -> None:
    source, told = FAULTS[kind]
    image = compile_c(source + "\nint main(void) { culprit(0); return 0; }")
    result = fast(image)
    assert result.exit_code == 1
    [sentence] = result.stderr.splitlines()
    assert re.fullmatch(
        rf"bench: program\.elf: {told}.*; at 0x[0-9a-f]{{4}} in culprit, cycle \d+", sentence
    ), sentence
    place = int(sentence.split("at 0x")[-1][:4], 16)
    culprit = load_image(image).symbol("culprit")
    assert culprit.address <= place < culprit.address + culprit.size
    assert "Traceback" not in result.output


def test_the_cycle_of_a_fault_is_exact(compile_c: Compile) -> None:
    image = compile_c("nop\nldi r16, 1\nsts 0x200, r16\n.word 0xffff", "-nostartfiles", language="assembler")
    result = fast(image)
    # NOP 1, LDI 1, STS 2 cycles; the opcode lies after 1 + 1 + 2 words.
    assert result.stderr.endswith("at 0x0008, cycle 4\n")


def test_a_corrupt_hex_line_is_named(compile_c: Compile, tmp_path: Path) -> None:
    lines = encode_hex(load_image(compile_c(SLEEPER)).flash).splitlines()
    lines[2] = lines[2][:-1] + ("0" if lines[2][-1] != "0" else "1")
    (tmp_path / "bad.hex").write_text("\n".join(lines))
    result = fast(tmp_path / "bad.hex")
    assert result.exit_code == 1
    assert "bad.hex: line 3: checksum" in result.stderr


@pytest.mark.parametrize(
    ("chip", "told"), [("attiny85", "AVR family avr25"), ("atmega2560", "AVR family avr6")]
)
def test_an_image_of_another_chip_is_named(chip: str, told: str, compile_c: Compile) -> None:
    result = fast(compile_c("int main(void) { for (;;); }", chip=chip))
    assert result.exit_code == 1
    assert told in result.stderr


def test_an_image_of_this_computer_is_no_image() -> None:
    result = fast(Path(sys.executable).resolve())
    assert result.exit_code == 1
    assert "not for AVR" in result.stderr


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    result = fast(tmp_path / "none.hex")
    assert result.exit_code == 1
    assert "none.hex: cannot be read" in result.stderr


def test_a_program_that_jumps_to_its_start_loops(compile_c: Compile) -> None:
    image = compile_c(
        "__attribute__((noinline)) void culprit(void) { ((void (*)(void))0)(); }"
        "int main(void) { culprit(); return 0; }"
    )
    result = fast(image)
    assert result.exit_code == 1
    assert "loops on reset: the program ran to address 0 without a reset" in result.stderr
    assert " in culprit, cycle " in result.stderr.splitlines()[-1]


def test_a_watchdog_that_bites_again_and_again_is_told_with_where_it_hung(compile_c: Compile) -> None:
    image = compile_c(
        "#include <avr/wdt.h>\n"
        '__attribute__((noinline)) void hangs(void) { for (;;) asm volatile(""); }'
        "int main(void) { wdt_enable(WDTO_120MS); hangs(); }"
    )
    result = fast(image, seconds="3")
    assert result.exit_code == 1
    sentences = result.stderr.splitlines()
    assert "loops on reset: the watchdog reset the chip 5 times" in sentences[-1]
    assert all(" in hangs, cycle " in sentence for sentence in sentences)
    assert len(sentences) == 5


def test_a_program_that_never_sleeps_is_told_where_that_matters(compile_c: Compile) -> None:
    image = compile_c('int main(void) { for (;;) asm volatile(""); }')
    assert fast(image, seconds="2").exit_code == 0
    result = fast(image, "--must-sleep", seconds="2")
    assert result.exit_code == 1
    assert re.search(
        r"has not slept since cycle 0; is at 0x\w{4} in main, cycle 16\d{6}$", result.stderr.strip()
    )
    assert fast(compile_c(SLEEPER), "--must-sleep", seconds="3").exit_code == 0


def test_a_program_that_sleeps_for_good_is_told(compile_c: Compile) -> None:
    image = compile_c("#include <avr/sleep.h>\nint main(void) { sleep_enable(); for (;;) sleep_cpu(); }")
    result = fast(image)
    assert result.exit_code == 0
    assert "sleeps with nothing to wake it, at 0x" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--pulse", "D99=1"), "no pin 'D99'"),
        (("--pulse", "D3"), "expected a pin and a value"),
        (("--pulse", "D3=often"), "expected a number of pulses per second"),
        (("--pulse", "D3=0"), "expected above 0"),
        (("--analog", "D3=1"), "has no analog input"),
        (("--analog", "A0=6"), "leaves 0 to 5 V"),
        (("--analog", "A0=1+2@50"), "leaves 0 to 5 V"),
        (("--analog", "A0=half"), "expected volts"),
        (("--seconds", "soon"), "expected a number of seconds above 0"),
        (("--seconds", "-1"), "expected a number of seconds above 0"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(
    arguments: tuple[str, str], told: str, compile_c: Compile
) -> None:
    result = run(
        compile_c(SLEEPER),
        "--pace",
        "fast",
        *(arguments if "--seconds" in arguments else ("--seconds", "1", *arguments)),
    )
    assert result.exit_code == 1
    assert told in result.stderr


def test_an_eeprom_file_of_the_wrong_size_is_told(compile_c: Compile, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(1025))
    result = fast(compile_c(SLEEPER), "--eeprom", tmp_path / "big.bin")
    assert result.exit_code == 1
    assert "big.bin: has 1025 bytes" in result.stderr


def test_the_eeprom_survives_in_its_file(compile_c: Compile, tmp_path: Path) -> None:
    image = compile_c(
        "#include <avr/eeprom.h>\n#include <avr/sleep.h>\n"
        "int main(void) { eeprom_write_byte((void *)9, eeprom_read_byte((void *)9) + 1);"
        " eeprom_busy_wait(); sleep_enable(); sleep_cpu(); }"
    )
    cells = tmp_path / "cells.bin"
    for count in range(3):
        assert fast(image, "--eeprom", cells).exit_code == 0
        assert cells.read_bytes() == b"\xff" * 9 + bytes([count]) + b"\xff" * 1014


def test_the_summary_accounts_for_every_cycle(compile_c: Compile) -> None:
    result = fast(compile_c(SLEEPER), "--json", seconds="2")
    summary = json.loads(result.stdout)
    assert summary["cycles"] >= 32_000_000
    assert (
        summary["active_cycles"] + summary["reset_cycles"] + sum(summary["sleep_cycles"].values())
        == summary["cycles"]
    )
    assert summary["fault"] is None


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    # Where the tests run in the background, SIGINT is ignored, and so it would be here.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from bench.workshop.command import app; app()"
    )
    command = [sys.executable, "-c", code, "run", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_terminal_is_the_serial_port(compile_c: Compile) -> None:
    with started(compile_c(ECHO), "--pace", "fast", "--seconds", "0.5") as process:
        output, _ = process.communicate(b"Hello Uno", timeout=60)
    assert process.returncode == 0
    assert output == b"hELLO\0uNO"


def test_a_pty_is_the_serial_port_and_an_interrupt_ends_it(compile_c: Compile, tmp_path: Path) -> None:
    with started(compile_c(ECHO), "--serial", "pty", "--eeprom", tmp_path / "cells.bin") as process:
        assert process.stderr is not None
        told = process.stderr.readline().decode()
        path = told.removeprefix("bench: serial port at ").strip()
        port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(port, b"abc")
        answer = b""
        deadline = time.monotonic() + 60
        while len(answer) < 3 and time.monotonic() < deadline:
            if select.select([port], [], [], 1)[0]:
                answer += os.read(port, 16)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        os.close(port)
    assert answer == b"ABC"
    assert (tmp_path / "cells.bin").stat().st_size == 1024
