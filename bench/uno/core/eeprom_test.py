"""EEPROM: the armed write, its times, what a power cut leaves (datasheet 8.4, 8.6)."""

import pytest

from bench.uno.atmega328p import EEPROM_BYTES, Atmega328p, ResetCause, Stop
from bench.uno.core.assembly import assemble, boot, marks, vectors

EECR, EEPE = 0x3F, 0x02
MILLISECOND = 16_000

WRITE = """
    ldi r16,{address}
    out EEARL,r16
    ldi r16,{value}
    out EEDR,r16
    ldi r16,{mode}
    out EECR,r16
    sbi EECR,2
    {delay}
    sbi EECR,1
    out GPIOR0,r16
loop: rjmp loop
"""


def writing(
    value: int, mode: int = 0, delay: str = "", eeprom: bytes = b"\xff" * EEPROM_BYTES, address: int = 7
) -> Atmega328p:
    """A chip one cycle after SBI EECR,EEPE and the two cycles for which it halts the CPU."""
    chip = Atmega328p(assemble(WRITE.format(value=value, mode=mode, delay=delay, address=address)), eeprom)
    marks(chip, 1)
    return chip


@pytest.mark.parametrize(("mode", "microseconds"), [(0x00, 3400), (0x10, 1800), (0x20, 1800)])
def test_programming_time(mode: int, microseconds: int) -> None:
    chip = writing(0x42, mode)
    end = chip.cycle - 3 + microseconds * 16
    chip.run(end - 2)
    assert chip.read_data(EECR, 1)[0] & EEPE
    chip.run(end)
    assert not chip.read_data(EECR, 1)[0] & EEPE


@pytest.mark.parametrize(
    ("mode", "before", "after"), [(0x00, 0x0F, 0x3C), (0x10, 0x0F, 0xFF), (0x20, 0x0F, 0x0C)]
)
def test_what_is_programmed(mode: int, before: int, after: int) -> None:
    chip = writing(0x3C, mode, eeprom=bytes([before]) * EEPROM_BYTES)
    assert chip.eeprom[7] == before
    chip.run(chip.cycle + 4 * MILLISECOND)
    assert chip.eeprom == bytes([before]) * 7 + bytes([after]) + bytes([before]) * (EEPROM_BYTES - 8)


@pytest.mark.parametrize(("nops", "written"), [(0, True), (2, True), (3, False), (9, False)])
def test_the_write_must_follow_within_four_cycles(nops: int, written: bool) -> None:
    chip = writing(0x42, delay="nop\n" * nops)
    chip.run(chip.cycle + 4 * MILLISECOND)
    assert (chip.eeprom[7] == 0x42) == written


def test_an_unarmed_write_does_nothing() -> None:
    chip = boot("ldi r16,1\nout EEDR,r16\nsbi EECR,1\nloop: rjmp loop\n")
    chip.run(4 * MILLISECOND)
    assert chip.eeprom == b"\xff" * EEPROM_BYTES


def test_reading_halts_four_cycles_and_writing_two() -> None:
    source = "ldi r16,2\nout EEARH,r16\nldi r16,3\nout EEARL,r16\nsbi EECR,0\nin r20,EEDR\nout GPIOR0,r16\n"
    chip = Atmega328p(assemble(source), bytes(515) + b"\x5a" + bytes(508))
    assert marks(chip, 1) == [4 + 2 + 4 + 1 + 1]
    assert chip.read_data(20, 1) == b"\x5a"
    assert writing(1).cycle == 6 + 2 + 2 + 2 + 1


def test_ready_interrupt_comes_when_the_write_is_done() -> None:
    chip = boot(
        vectors(EE_READY="ready")
        + "start: ldi r16,0x99\nout EEDR,r16\nldi r16,1\nout SMCR,r16\nsbi EECR,2\nsbi EECR,1\n"
        "sbi EECR,3\nsei\nloop: sleep\n" + "rjmp loop\nready: cbi EECR,3\nout GPIOR0,r16\nreti\n"
    )
    # JMP 3, four, SBI, SBI: the write starts at 11; waking 4, entry 4, JMP 3, CBI 2, OUT 1.
    assert marks(chip, 1) == [11 + 54_400 + 14]
    assert chip.eeprom[0] == 0x99


@pytest.mark.parametrize(("at", "left"), [(0.1, 0xFF), (0.9, 0x3C | 0x55)])
def test_a_power_cut_tears_the_cell_being_written(at: float, left: int) -> None:
    chip = writing(0x3C, eeprom=bytes(EEPROM_BYTES))
    chip.run(chip.cycle + int(at * 54_400))
    chip.reset(ResetCause.POWER_ON)
    assert chip.eeprom[7] == left
    assert chip.eeprom[:7] + chip.eeprom[8:] == bytes(EEPROM_BYTES - 1)


def test_an_external_reset_lets_the_write_finish() -> None:
    chip = writing(0x3C, eeprom=bytes(EEPROM_BYTES))
    chip.reset(ResetCause.EXTERNAL)
    assert chip.eeprom[7] == 0x3C
    assert chip.run(chip.cycle + 1) is Stop.LIMIT
