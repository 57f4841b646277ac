"""Power reduction: a module without a clock stands still and cannot be reached (datasheet 10.9, 10.11.3)."""

import pytest

from bench.uno.atmega328p import Pin, Stop
from bench.uno.core.assembly import boot, marks

PRADC, PRUSART0, PRSPI, PRTIM1, PRTIM0, PRTIM2, PRTWI = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40, 0x80
SPSR, SPIF, PRR = 0x4D, 0x80, 0x64
WITHOUT_AND_WITH_CLOCK = """
    ldi r16,{bit}
    sts PRR,r16
    ldi r17,{value}
    sts {register},r17
    lds r20,{register}
    ldi r16,0
    sts PRR,r16
    lds r21,{register}
    sts {register},r17
    lds r22,{register}
    out GPIOR0,r16
"""


@pytest.mark.parametrize(
    ("bit", "register", "value", "initial"),
    [
        (PRADC, "ADMUX", 0x45, 0), (PRUSART0, "UBRR0L", 16, 0), (PRUSART0, "UCSR0C", 0x0E, 6),
        (PRSPI, "0x4c", 0x10, 0), (PRTIM0, "0x47", 9, 0), (PRTIM1, "TCCR1A", 0xA1, 0),
        (PRTIM2, "ASSR", 0x40, 0), (PRTIM2, "OCR2A", 9, 0), (PRTWI, "TWBR", 72, 0),
    ],
)  # fmt: skip
def test_registers_can_be_neither_read_nor_written(bit: int, register: str, value: int, initial: int) -> None:
    chip = boot(WITHOUT_AND_WITH_CLOCK.format(bit=bit, register=register, value=value))
    marks(chip, 1)
    assert chip.read_data(20, 3) == bytes([0, initial, value])


def test_the_other_modules_stay_within_reach() -> None:
    chip = boot(WITHOUT_AND_WITH_CLOCK.format(bit=0xEF & ~PRSPI, register="0x4c", value=0x10))
    marks(chip, 1)
    assert chip.read_data(20, 3) == bytes([0x10] * 3)


@pytest.mark.parametrize(
    ("before", "bit", "act"),
    [
        ("ldi r16,4\nout DDRB,r16\nldi r16,0x50\nout SPCR,r16", PRSPI, "out SPDR,r16"),
        ("ldi r16,8\nsts UCSR0B,r16", PRUSART0, "sts UDR0,r16"),
    ],
)
def test_writing_data_sends_nothing(before: str, bit: int, act: str) -> None:
    with_clock = boot(f"{before}\n{act}\nloop: rjmp loop\n")
    without = boot(f"{before}\nldi r17,{bit}\nsts PRR,r17\n{act}\nloop: rjmp loop\n")
    assert with_clock.run(10_000) in (Stop.SPI, Stop.UART)
    assert without.run(10_000) is Stop.LIMIT


def test_no_conversion_starts_without_the_clock() -> None:
    chip = boot(
        "ldi r16,0x80\nsts ADCSRA,r16\nldi r17,1\nsts PRR,r17\nldi r16,0xc0\nsts ADCSRA,r16\n"
        ".rept 100\nnop\n.endr\nldi r17,0\nsts PRR,r17\nlds r20,ADCSRA\nout GPIOR0,r17\n"
    )
    marks(chip, 1)
    assert chip.read_data(20, 1) == b"\x80"


STOPPED = "ldi r17,{bit}\nldi r18,0\nsts PRR,r17\n.rept 500\nnop\n.endr\nsts PRR,r18\n{after}"
STOPPED_CYCLES = 502


def test_an_spi_transfer_goes_on_where_it_was() -> None:
    begin = "ldi r16,4\nout DDRB,r16\nldi r16,0x53\nout SPCR,r16\nout SPDR,r16\n"
    chip = boot(begin + STOPPED.format(bit=PRSPI, after="loop: rjmp loop\n"))
    assert chip.run(1000) is Stop.SPI
    end = chip.cycle + 8 * 128 + STOPPED_CYCLES
    chip.run(end - 2)
    assert not chip.read_data(SPSR, 1)[0] & SPIF
    chip.run(end + 1)
    assert chip.read_data(SPSR, 1)[0] & SPIF


def test_a_frame_goes_on_where_it_was() -> None:
    begin = "ldi r16,8\nsts UCSR0B,r16\nsts UBRR0L,r16\nsts UDR0,r16\n"
    chip = boot(begin + STOPPED.format(bit=PRUSART0, after=".rept 2000\nnop\n.endr\n"))
    assert chip.run(10_000) is Stop.UART
    assert chip.cycle == 7 + 10 * 16 * 9 + STOPPED_CYCLES


def test_a_conversion_goes_on_where_it_was() -> None:
    conversion = (
        "ldi r16,0xc7\nsts ADCSRA,r16\n{0}wait: lds r20,ADCSRA\nsbrs r20,4\nrjmp wait\nout GPIOR0,r20\n"
    )
    (running,) = marks(boot(conversion.format("")), 1)
    (stopped,) = marks(boot(conversion.format(STOPPED.format(bit=PRADC, after=""))), 1)
    assert abs(stopped - running - STOPPED_CYCLES) <= 5  # the loop asks every five cycles


def test_bytes_that_arrive_meanwhile_are_lost() -> None:
    begin = "ldi r16,0x10\nsts UCSR0B,r16\n"
    chip = boot(begin + STOPPED.format(bit=PRUSART0, after="loop: rjmp loop\n"))
    chip.run(20)
    chip.uart_send(b"abcdef")
    chip.run(5000)
    # UBRR0 is 0: 160 cycles a byte. The clock is back in the fourth, which has lost its beginning.
    received = chip.read_data(0xC6, 1)
    assert received == b"e"


def test_timers_stand_still_and_see_no_pin() -> None:
    begin = "ldi r16,7\nout TCCR0B,r16\nldi r16,1\nsts TCCR1B,r16\nsts TCCR2B,r16\n"
    chip = boot(begin + STOPPED.format(bit=PRTIM0 | PRTIM1 | PRTIM2, after="loop: rjmp loop\n"))
    chip.schedule_edges(Pin.PD4, [50, 60, 70, 80], first_high=True)
    chip.schedule_edges(Pin.PB0, [100], first_high=False)
    chip.run(1000)
    counts = [chip.read_data(address, 1)[0] for address in (0x46, 0x84, 0xB2)]
    assert counts == [0, (1000 - 4 - 502) & 0xFF, (1000 - 6 - 502) & 0xFF]
    assert not chip.read_data(0x36, 1)[0] & 0x20
