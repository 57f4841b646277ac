"""USART0: frame times in every format, double buffering, reception, overrun (datasheet 20)."""

import pytest

from bench.uno.atmega328p import Atmega328p, Stop
from bench.uno.core.assembly import boot, chip_with, marks, vectors

UCSR0A, UCSR0B, UCSR0C, UBRR0L, UBRR0H, UDR0 = 0xC0, 0xC1, 0xC2, 0xC4, 0xC5, 0xC6
UDRE, TXC, RXC, DOR = 0x20, 0x40, 0x80, 0x08


def sent(chip: Atmega328p, count: int) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    while len(result) < count:
        assert chip.run(1 << 30) is Stop.UART
        result.append((chip.uart_byte, chip.cycle))
    return result


@pytest.mark.parametrize("double_speed", [False, True])
@pytest.mark.parametrize("baud", [0, 8, 103, 0xFFF])
@pytest.mark.parametrize(
    ("size", "parity", "stop_bits"),
    [(8, 0, 1), (5, 0, 1), (6, 2, 1), (7, 2, 1), (7, 3, 2), (8, 0, 2), (9, 3, 2)],
)
def test_frame_time(double_speed: bool, baud: int, size: int, parity: int, stop_bits: int) -> None:
    code = 7 if size == 9 else size - 5
    control_c = parity << 4 | (stop_bits - 1) << 3 | (code & 3) << 1
    chip = chip_with(
        (UBRR0H, baud >> 8), (UBRR0L, baud & 255), (UCSR0A, 2 * double_speed), (UCSR0C, control_c),
        (UCSR0B, 8 | code & 4), (UDR0, 0x55),
    )  # fmt: skip
    start = chip.cycle
    bits = 1 + size + (parity != 0) + stop_bits
    expected_byte = 0x55 & (1 << size) - 1
    assert sent(chip, 1) == [(expected_byte, start + bits * (8 if double_speed else 16) * (baud + 1))]
    assert chip.read_data(UCSR0A, 1)[0] & (TXC | UDRE) == TXC | UDRE


def test_six_bytes_at_115200_take_four_frames_to_hand_over() -> None:
    """One byte goes straight to the shift register and one to the buffer; reference: hil.md, 5760 cycles."""
    chip = boot(
        "ldi r16,8\nsts UBRR0L,r16\nsts UCSR0B,r16\nldi r18,6\nout GPIOR0,r16\n"
        "next: lds r17,UCSR0A\nsbrs r17,5\nrjmp next\nsts UDR0,r18\ndec r18\nbrne next\n"
        "out GPIOR0,r16\nloop: rjmp loop\n"
    )
    begin, end = marks(chip, 2)
    assert 5760 <= end - begin < 5760 + 20


def test_bytes_follow_each_other_without_a_gap() -> None:
    chip = chip_with((UBRR0L, 8), (UCSR0B, 8), (UDR0, 1), (UDR0, 2))
    assert not chip.read_data(UCSR0A, 1)[0] & UDRE
    (first, at), (second, later) = sent(chip, 2)
    assert (first, second, later - at) == (1, 2, 1440)


def test_a_byte_written_into_a_full_buffer_is_lost() -> None:
    chip = chip_with((UBRR0L, 8), (UCSR0B, 8), (UDR0, 1), (UDR0, 2), (UDR0, 3))
    assert [byte for byte, _ in sent(chip, 2)] == [1, 2]
    assert chip.run(chip.cycle + 10_000) is Stop.LIMIT


def test_transmit_interrupts() -> None:
    chip = boot(
        vectors(USART_UDRE="empty", USART_TX="complete")
        + "start: ldi r16,8\nsts UBRR0L,r16\nldi r20,3\nldi r16,0x68\nsts UCSR0B,r16\nsei\nloop: rjmp loop\n"
        + "empty: sts UDR0,r20\ndec r20\nbrne more\nldi r16,0x48\nsts UCSR0B,r16\nmore: reti\n"
        + "complete: out GPIOR0,r16\nreti\n"
    )
    assert [byte for byte, _ in sent(chip, 3)] == [3, 2, 1]
    last = chip.cycle
    assert marks(chip, 1)[0] - last in (8, 9)
    assert chip.run(chip.cycle + 5000) is Stop.LIMIT


def test_reception_and_its_interrupt() -> None:
    chip = boot(
        vectors(USART_RX="received")
        + "start: ldi r16,8\nsts UBRR0L,r16\nldi r16,0x90\nsts UCSR0B,r16\nldi r16,1\nout SMCR,r16\nsei\n"
        + "loop: sleep\nrjmp loop\nreceived: lds r20,UDR0\nout GPIOR1,r20\nout GPIOR0,r16\nreti\n"
    )
    chip.run(1000)
    chip.uart_send(b"xyz")
    times, received = [], []
    for _ in range(3):
        times += marks(chip, 1)
        received.append(chip.mark_argument & 255)
    assert bytes(received) == b"xyz"
    assert times[2] - times[1] == times[1] - times[0] == 1440
    # Nine bits and ten of sixteen samples of the stop bit; waking 4, entry 4, JMP 3, LDS, OUT, OUT.
    assert times[0] == 1000 + 9 * 144 + 90 + 4 + 4 + 3 + 2 + 1 + 1


def test_overrun_keeps_two_and_the_newest() -> None:
    chip = boot(
        "ldi r16,8\nsts UBRR0L,r16\nldi r16,0x10\nsts UCSR0B,r16\nldi r17,60\nwait: dec r18\n"
        "brne wait\ndec r17\nbrne wait\n"
        "lds r22,UCSR0A\nlds r23,UDR0\nlds r24,UDR0\nlds r25,UDR0\nlds r26,UCSR0A\nout GPIOR0,r16\n"
    )
    chip.run(30)
    chip.uart_send(b"12345")
    marks(chip, 1)
    status, first, second, third, after = chip.read_data(22, 5)
    assert (first, second, third) == (ord("1"), ord("2"), ord("5"))
    assert status & (RXC | DOR) == RXC | DOR
    assert not after & (RXC | DOR)


def test_a_receiver_that_is_off_hears_nothing() -> None:
    chip = chip_with((UBRR0L, 8), (UCSR0B, 8))
    chip.uart_send(b"a")
    chip.run(chip.cycle + 5000)
    assert not chip.read_data(UCSR0A, 1)[0] & RXC


@pytest.mark.parametrize("nops", range(3))
def test_the_next_frame_begins_on_time_whatever_instruction_runs(nops: int) -> None:
    chip = boot(
        "ldi r16,8\nsts UCSR0B,r16\nsts UDR0,r16\nsts UDR0,r16\n" + "nop\n" * nops + "loop: jmp loop\n"
    )
    start = 1 + 2 + 2
    _, (_, second) = sent(chip, 2)
    assert second - (start + 2 * 160) in range(3)
