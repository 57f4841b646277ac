"""AVR assembly for the tests of the core: source to flash image, by the installed avr-gcc."""

import functools
import subprocess
import tempfile
from pathlib import Path

from bench.uno.atmega328p import Atmega328p, Stop

PRELUDE = "#define __SFR_OFFSET 0\n#include <avr/io.h>\n.text\n.global main\nmain:\n"


@functools.lru_cache(maxsize=None)
def assemble(source: str) -> bytes:
    """The flash image of an assembly source; I/O names are I/O addresses, `_SFR_MEM_ADDR(X)` data addresses."""
    with tempfile.TemporaryDirectory() as folder:
        elf, image = Path(folder, "program.elf"), Path(folder, "program.bin")
        compile_command = [
            "avr-gcc",
            "-mmcu=atmega328p",
            "-nostartfiles",
            "-x",
            "assembler-with-cpp",
            "-",
            "-o",
            elf,
        ]
        subprocess.run(compile_command, input=(PRELUDE + source).encode(), check=True, capture_output=True)
        subprocess.run(["avr-objcopy", "-O", "binary", elf, image], check=True, capture_output=True)
        return image.read_bytes()


def vectors(**handlers: str) -> str:
    """A vector table: `vectors(INT0="label")`; the reset vector goes to `start`, the others to `unexpected`."""
    names = (
        "RESET INT0 INT1 PCINT0 PCINT1 PCINT2 WDT TIMER2_COMPA TIMER2_COMPB TIMER2_OVF TIMER1_CAPT TIMER1_COMPA "
        "TIMER1_COMPB TIMER1_OVF TIMER0_COMPA TIMER0_COMPB TIMER0_OVF SPI_STC USART_RX USART_UDRE USART_TX ADC "
        "EE_READY ANALOG_COMP TWI SPM_READY"
    ).split()
    lines = [f"jmp {handlers.get(name, 'start' if name == 'RESET' else 'unexpected')}" for name in names]
    return "\n".join(lines) + "\nunexpected: rjmp unexpected\n"


def boot(source: str) -> Atmega328p:
    """A chip just out of power-on reset with the assembled source in flash."""
    return Atmega328p(assemble(source))


def marks(chip: Atmega328p, count: int, limit: int = 1 << 32) -> list[int]:
    """Runs to the next `count` marks and returns their cycles; other stops on the way are passed over."""
    cycles = []
    while len(cycles) < count:
        stop = chip.run(limit)
        assert stop not in (Stop.LIMIT, Stop.HALT, Stop.FAULT), (stop, chip.fault)
        if stop is Stop.MARK:
            cycles.append(chip.cycle)
    return cycles
