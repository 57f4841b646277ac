"""The Uno's own boot loader, Optiboot, programs the emulated chip by STK500."""

import pytest

from bench.uno.atmega328p import CLOCK_HZ, Atmega328p, ResetCause, Stop
from bench.uno.boot_loader import build_boot_loader

PAGE_BYTES = 128
MARK = 0x5A

# ldi r16, MARK; out GPIOR0, r16; rjmp . (and behind it what a page of a program may hold)
PROGRAM = bytes.fromhex("0ae50ebbffcf") + bytes(range(PAGE_BYTES - 6))

# STK500 Communication Protocol (AVR061)
IN_SYNC, OK, END = 0x14, 0x10, 0x20
GET_SYNC, LEAVE, LOAD_ADDRESS, PROGRAM_PAGE, READ_PAGE = 0x30, 0x51, 0x55, 0x64, 0x74


class Programmer:
    """What avrdude says through the serial port."""

    def __init__(self, chip: Atmega328p) -> None:
        self.chip = chip

    def ask(self, *request: int, answer_bytes: int = 0) -> bytes:
        self.chip.uart_send(bytes([*request, END]))
        answer = bytearray()
        deadline = self.chip.cycle + CLOCK_HZ // 2
        while len(answer) < answer_bytes + 2:
            assert self.chip.run(deadline) is Stop.UART, f"silent after {answer.hex()}"
            answer.append(self.chip.uart_byte)
        assert (answer[0], answer[-1]) == (IN_SYNC, OK)
        return bytes(answer[1:-1])


@pytest.fixture
def programmer() -> Programmer:
    chip = Atmega328p(b"", boot_loader=build_boot_loader())
    chip.reset(ResetCause.EXTERNAL)
    chip.run(chip.cycle + CLOCK_HZ // 10)
    return Programmer(chip)


def test_optiboot_programs_a_page_reads_it_back_and_starts_it(programmer: Programmer) -> None:
    programmer.ask(GET_SYNC)
    programmer.ask(LOAD_ADDRESS, 0, 0)
    programmer.ask(PROGRAM_PAGE, 0, PAGE_BYTES, ord("F"), *PROGRAM)
    programmer.ask(LOAD_ADDRESS, 0, 0)
    assert programmer.ask(READ_PAGE, 0, PAGE_BYTES, ord("F"), answer_bytes=PAGE_BYTES) == PROGRAM
    programmer.ask(LEAVE)
    chip = programmer.chip
    assert chip.run(chip.cycle + CLOCK_HZ) is Stop.MARK
    assert chip.mark_code == MARK


def test_a_chip_nobody_talks_to_starts_what_was_programmed(programmer: Programmer) -> None:
    programmer.ask(LOAD_ADDRESS, 0, 0)
    programmer.ask(PROGRAM_PAGE, 0, PAGE_BYTES, ord("F"), *PROGRAM)
    chip = programmer.chip
    chip.run(chip.cycle + CLOCK_HZ // 10)
    chip.reset(ResetCause.EXTERNAL)
    assert chip.run(chip.cycle + 3 * CLOCK_HZ) is Stop.MARK
    assert chip.mark_code == MARK
