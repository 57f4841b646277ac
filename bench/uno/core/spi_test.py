"""SPI master: byte times, collisions, flags, interrupt (datasheet 19)."""

import pytest

from bench.uno.atmega328p import Pin, Stop
from bench.uno.core.assembly import boot, chip_with, marks, vectors

PORTB, DDRB, SPCR, SPSR, SPDR = 0x25, 0x24, 0x4C, 0x4D, 0x4E
SPIF, WCOL = 0x80, 0x40


@pytest.mark.parametrize(
    ("rate", "double", "divider"),
    [(0, 0, 4), (1, 0, 16), (2, 0, 64), (3, 0, 128), (0, 1, 2), (1, 1, 8), (2, 1, 32), (3, 1, 64)],
)
def test_a_byte_takes_eight_clocks(rate: int, double: int, divider: int) -> None:
    chip = boot(
        f"ldi r16,4\nout PORTB,r16\nldi r16,0x2c\nout DDRB,r16\nldi r16,{double}\nout SPSR,r16\n"
        f"ldi r16,{0x50 | rate}\n"
        "out SPCR,r16\nout SPDR,r17\n.rept 1200\nnop\n.endr\n"
    )
    assert chip.run(1 << 20) is Stop.SPI
    start = chip.cycle
    chip.spi_reply(0xA5)
    chip.run(start + 8 * divider - 1)
    assert not chip.read_data(SPSR, 1)[0] & SPIF
    chip.run(start + 8 * divider)
    assert chip.read_data(SPSR, 1)[0] & SPIF
    assert chip.read_data(SPDR, 1) == b"\xa5"


def test_a_polled_exchange() -> None:
    chip = boot(
        "ldi r16,4\nout PORTB,r16\nldi r16,0x2c\nout DDRB,r16\nldi r16,0x50\nout SPCR,r16\n"
        "ldi r17,0x3c\nout SPDR,r17\n"
        "wait: in r18,SPSR\nsbrs r18,7\nrjmp wait\nin r19,SPDR\nin r20,SPSR\nout GPIOR0,r16\n"
    )
    assert chip.run(1000) is Stop.SPI
    assert chip.spi_mosi == 0x3C
    chip.spi_reply(0x99)
    start = chip.cycle
    (end,) = marks(chip, 1)
    assert 32 < end - start <= 32 + 8
    assert chip.read_data(19, 2) == b"\x99\x00"


def test_without_a_reply_the_line_reads_high() -> None:
    chip = boot("ldi r16,4\nout DDRB,r16\nldi r16,0x50\nout SPCR,r16\nout SPDR,r16\n.rept 50\nnop\n.endr\n")
    assert chip.run(60) is Stop.SPI
    chip.run(50)
    assert chip.read_data(SPDR, 1) == b"\xff"


def test_writing_during_a_transfer_collides() -> None:
    chip = boot(
        "ldi r16,4\nout DDRB,r16\nldi r16,0x50\nout SPCR,r16\nldi r17,1\nout SPDR,r17\n"
        "ldi r17,2\nout SPDR,r17\n"
        "in r20,SPSR\n.rept 40\nnop\n.endr\nin r21,SPSR\nin r22,SPDR\nin r23,SPSR\nout GPIOR0,r16\n"
    )
    assert chip.run(1000) is Stop.SPI
    assert chip.spi_mosi == 1
    chip.spi_reply(0x77)
    marks(chip, 1)
    assert chip.read_data(20, 4) == bytes([WCOL, SPIF | WCOL, 0x77, 0])


def test_interrupt_clears_the_flag_by_being_served() -> None:
    chip = boot(
        vectors(SPI_STC="done")
        + "start: ldi r16,4\nout DDRB,r16\nldi r16,0xd0\nout SPCR,r16\nldi r18,1\nout SMCR,r18\n"
        "sei\nout SPDR,r16\n" + "loop: sleep\nrjmp loop\ndone: in r20,SPSR\nout GPIOR0,r16\nreti\n"
    )
    assert chip.run(1000) is Stop.SPI
    start = chip.cycle
    # SPIF after 32 cycles; waking 4, entry 4, JMP 3, IN, OUT.
    assert marks(chip, 1) == [start + 32 + 4 + 4 + 3 + 1 + 1]
    assert chip.read_data(20, 1) == b"\0"


def test_select_pulled_low_from_outside_ends_mastership() -> None:
    chip = chip_with((PORTB, 4), (SPCR, 0x50))
    assert chip.read_data(SPCR, 1) == b"\x50"
    chip.set_pin(Pin.PB2, False)
    assert chip.read_data(SPCR, 1) == b"\x40"
    assert chip.read_data(SPSR, 1) == bytes([SPIF])


def test_the_flag_stays_when_data_is_read_before_status() -> None:
    chip = boot(
        "ldi r16,4\nout DDRB,r16\nldi r16,0x50\nout SPCR,r16\nout SPDR,r16\n.rept 40\nnop\n.endr\n"
        "in r20,SPDR\nin r21,SPSR\nin r22,SPDR\nin r23,SPSR\nout GPIOR0,r16\n"
    )
    marks(chip, 1)
    assert (chip.read_data(21, 1)[0], chip.read_data(23, 1)[0]) == (SPIF, 0)
