"""Programs for the core's tests: assembled by the installed avr-gcc, or a few register writes by hand."""

import functools
import subprocess
import tempfile
from pathlib import Path

from bench.uno.atmega328p import FLASH_BYTES, Atmega328p, Stop

PRELUDE = "#define __SFR_OFFSET 0\n#include <avr/io.h>\n.text\n.global main\nmain:\n"
VECTORS = (
    *("RESET", "INT0", "INT1", "PCINT0", "PCINT1", "PCINT2", "WDT"),
    *(
        "TIMER2_COMPA",
        "TIMER2_COMPB",
        "TIMER2_OVF",
        "TIMER1_CAPT",
        "TIMER1_COMPA",
        "TIMER1_COMPB",
        "TIMER1_OVF",
    ),
    *("TIMER0_COMPA", "TIMER0_COMPB", "TIMER0_OVF", "SPI_STC", "USART_RX", "USART_UDRE", "USART_TX", "ADC"),
    *("EE_READY", "ANALOG_COMP", "TWI", "SPM_READY"),
)
STORE_CYCLES = 3
"""Cycles of one register write of `chip_with`: LDI and STS."""


@functools.cache
def assemble(source: str) -> bytes:
    """The flash image of an assembly source; names of avr/io.h are I/O addresses."""
    with tempfile.TemporaryDirectory() as folder:
        elf, image = str(Path(folder, "program.elf")), Path(folder, "program.bin")
        compiler = [
            "avr-gcc",
            "-mmcu=atmega328p",
            "-nostartfiles",
            "-x",
            "assembler-with-cpp",
            "-",
            "-o",
            elf,
        ]
        subprocess.run(compiler, input=(PRELUDE + source).encode(), check=True, capture_output=True)
        subprocess.run(["avr-objcopy", "-O", "binary", elf, str(image)], check=True, capture_output=True)
        return image.read_bytes()


def vectors(**handlers: str) -> str:
    """A vector table: `vectors(INT0="label")`; reset goes to `start`, what is not named to `unexpected`."""
    targets = {"RESET": "start", **handlers}
    lines = [f"jmp {targets.get(name, 'unexpected')}" for name in VECTORS]
    return "\n".join(lines) + "\nunexpected: .word 0xffff\n"


def boot(source: str) -> Atmega328p:
    """A chip just out of power-on reset with the assembled source in flash."""
    return Atmega328p(assemble(source))


def store(address: int, value: int) -> bytes:
    """LDI r16,value and STS address,r16."""
    ldi = 0xE000 | (value & 0xF0) << 4 | value & 15
    return b"".join(word.to_bytes(2, "little") for word in (ldi, 0x9300, address))


def chip_with(*registers: tuple[int, int]) -> Atmega328p:
    """A chip that has just written these (data address, value) pairs in turn, and from now on runs NOPs."""
    program = b"".join(store(address, value) for address, value in registers)
    around_to_nops = (0xC000 | len(program) // 2).to_bytes(2, "little")
    chip = Atmega328p(program.ljust(FLASH_BYTES - 2, b"\0") + around_to_nops)
    while chip.cycle < STORE_CYCLES * len(registers):
        chip.run(STORE_CYCLES * len(registers))
    return chip


def marks(chip: Atmega328p, count: int, limit: int = 1 << 32) -> list[int]:
    """Runs to the next `count` marks and returns their cycles; other stops on the way are passed over."""
    cycles: list[int] = []
    while len(cycles) < count:
        stop = chip.run(limit)
        assert stop not in (Stop.LIMIT, Stop.HALT, Stop.FAULT), (stop, chip.fault)
        if stop is Stop.MARK:
            cycles.append(chip.cycle)
    return cycles
