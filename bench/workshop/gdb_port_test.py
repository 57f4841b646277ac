"""The debugger's port under the real avr-gdb, where that is installed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.uno.image import load_image
from bench.workshop.conftest import Compile

PROGRAM = """
#include <avr/io.h>
#include <avr/interrupt.h>
volatile int counter;
volatile char ticks;
ISR(TIMER0_OVF_vect) { ticks++; }
__attribute__((noinline)) int add(int a, int b)
{
    counter += b;
    return a + b;
}
__attribute__((noinline)) void forever(void) { for (;;) asm volatile(""); }
__attribute__((noinline)) void illegal(void) { asm volatile(".word 0xffff"); }
int main(void)
{
    TCCR0B = 1;
    TIMSK0 = 1;
    int sum = 0;
    for (int i = 0; i < 10; i++)
        sum = add(sum, i);
    counter = sum;
    if (counter == 45)
        forever();
    illegal();
}
"""


AT_THE_END = ("bt", "finish")


class Debugged:
    """The command waiting for GDB, and GDB's batch mode."""

    def __init__(self, image: Path, *arguments: str) -> None:
        if shutil.which("avr-gdb") is None:
            pytest.skip("avr-gdb is not installed; install it with: apt-get install gdb-avr")
        self._image = image
        code = "from bench.workshop.command import app; app()"
        command = [sys.executable, "-c", code, "run", str(image), "--pace", "fast", "--gdb", "0"]
        self.process = subprocess.Popen(
            [*command, "--serial", "none", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self._remote = self.process.stderr.readline().rpartition("target ")[2].strip()
        assert self._remote.startswith("remote 127.0.0.1:")

    def gdb(self, *commands: str) -> str:
        words = [word for command in (f"target {self._remote}", *commands) for word in ("-ex", command)]
        options = ["avr-gdb", "-q", "-nx", "-batch", *words, str(self._image)]
        finished = subprocess.run(options, capture_output=True, text=True, check=False, timeout=60)
        return finished.stdout + finished.stderr

    def end(self) -> tuple[int, str]:
        """Exit status and what was told."""
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


def test_breakpoints_arguments_backtrace_and_finish(compile_c: Compile) -> None:
    debugged = Debugged(compile_c(PROGRAM, "-O1"), "--seconds", "0.1")
    told = debugged.gdb(
        "break add", "continue", "continue", "continue", "print b", "print counter", "bt", "finish"
    )
    assert "Breakpoint 1, add (a=1, b=2)" in told
    assert "$1 = 2" in told
    assert "$2 = 1" in told
    assert "#1 " in told
    assert "in main ()" in told
    assert "Value returned is $3 = 3" in told


def test_registers_are_those_of_the_chip(compile_c: Compile) -> None:
    image = compile_c(PROGRAM, "-O1")
    debugged = Debugged(image, "--seconds", "0.1")
    told = debugged.gdb(
        *("break add", "continue", "continue", "info line *$pc", "print $sp", "print $SREG"),
        *("print $r24 + 256 * $r25", "print $r22", "set $r22 = 42", "print $r22", "next", "print counter"),
    )
    assert f"address {load_image(image).symbol('add').address:#x} <add>" in told
    assert "$1 = (void *) 0x8008f9" in told  # below 0x8ff: two return addresses and r28, r29 saved by main
    assert "$3 = 0" in told
    assert "$4 = 1" in told
    assert "$5 = 42" in told
    assert "$6 = 42" in told


def test_memory_in_all_three_spaces(compile_c: Compile) -> None:
    image = compile_c(PROGRAM, "-O1")
    debugged = Debugged(image, "--seconds", "0.1")
    told = debugged.gdb(
        *("break add", "continue", "print counter = 1234", "print counter", "x/2xb 0", "x/1xb 0x800025"),
        *("x/1xb 0x810003", "set {char}0x810003 = 5", "x/1xb 0x810003", "print *(char *)0x8123"),
    )
    first, second = load_image(image).flash[:2]
    assert "$2 = 1234" in told
    assert f"{first:#04x}\t{second:#04x}" in told
    assert "0x800025:\t0x00" in told
    assert "0x810003:\t0xff" in told
    assert "0x810003:\t0x05" in told


def test_single_steps_take_the_cycles_of_the_manual(compile_c: Compile) -> None:
    source = "ldi r16, 1\nrjmp over\nnop\nover: inc r16\nrcall routine\nend: rjmp end\nroutine: ret\n"
    debugged = Debugged(compile_c(source, "-nostartfiles", language="assembler"), "--seconds", "0.1")
    told = debugged.gdb(*(("stepi", "x/i $pc", "monitor cycle") * 5))
    places = [int(address, 16) for address in re.findall(r"=> (0x\w+)", told)]
    cycles = [int(line) for line in told.splitlines() if line.isdigit()]
    assert places == [2, 6, 8, 12, 10]
    assert cycles == [1, 3, 4, 7, 11]  # LDI 1, RJMP 2, INC 1, RCALL 3, RET 4


def test_a_watchpoint_tells_old_and_new(compile_c: Compile) -> None:
    debugged = Debugged(compile_c(PROGRAM, "-O1"), "--seconds", "0.1")
    told = debugged.gdb("break main", "continue", "watch counter", "continue", "continue")
    assert "Old value = 0\nNew value = 1" in told
    assert "Old value = 1\nNew value = 3" in told


def test_an_interrupted_program_stops_where_it_is(compile_c: Compile) -> None:
    debugged = Debugged(compile_c(PROGRAM, "-O1"), "--pace", "real", "--seconds", "60")
    told = debugged.gdb(
        *("set pagination off", "python import threading, os, signal, time"),
        "python press = lambda: (time.sleep(2), os.kill(os.getpid(), signal.SIGINT))",
        "python threading.Thread(target=press).start()",
        *("continue", "bt", "kill"),
    )
    if "Python scripting is not supported" in told:
        pytest.skip("this avr-gdb has no Python to press Ctrl-C with")
    assert "SIGINT" in told
    assert "forever ()" in told
    assert debugged.end()[0] == 0


def test_a_fault_is_shown_to_gdb_and_ends_the_command_with_1(compile_c: Compile) -> None:
    debugged = Debugged(compile_c(PROGRAM, "-O1"), "--seconds", "0.1")
    told = debugged.gdb(
        "break main", "continue", "print counter", "break forever", "continue", "jump illegal"
    )
    status, sentence = debugged.end()
    assert "SIGILL" in told
    assert "the opcode 0xffff is none of the chip's instructions" in told
    assert status == 1
    assert " in illegal, cycle " in sentence


def test_without_gdb_the_program_goes_on_to_the_end(compile_c: Compile) -> None:
    debugged = Debugged(compile_c(PROGRAM, "-O1"), "--seconds", "0.25", "--json")
    assert "detached" in debugged.gdb("break add", "continue", "delete", "detach")
    output, told = debugged.process.communicate(timeout=60)
    assert debugged.process.returncode == 0, told
    assert '"cycles": 400000' in output


def test_a_port_in_use_is_told(compile_c: Compile) -> None:
    image = compile_c(PROGRAM)
    debugged = Debugged(image, "--seconds", "0.1")
    port = debugged._remote.rpartition(":")[2]
    code = "from bench.workshop.command import app; app()"
    finished = subprocess.run(
        [sys.executable, "-c", code, "run", str(image), "--gdb", port],
        capture_output=True,
        text=True,
        check=False,
    )
    debugged.process.kill()
    debugged.process.wait()
    assert finished.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in finished.stderr
