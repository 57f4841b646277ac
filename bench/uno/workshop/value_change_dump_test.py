"""Dumps read back by a parser of their own, and the lines in them by receivers that sample like hardware."""

import re
from itertools import pairwise

import pytest

from bench.uno.atmega328p import Pin, Stop
from bench.uno.core.assembly import assemble
from bench.uno.workshop.inspection import InspectedAtmega328p
from bench.uno.workshop.value_change_dump import ValueChangeDump

Edges = list[tuple[int, int]]


def parsed(text: str) -> dict[str, Edges]:
    """Edges (time in ps, level) by signal; the first is the level at the start."""
    header, _, body = text.partition("$enddefinitions $end\n")
    scale = re.search(r"\$timescale\s+(\d+)\s*ps", header)
    assert scale is not None
    names = dict(re.findall(r"\$var wire 1 (\S) (\S+) \$end", header))
    edges: dict[str, Edges] = {name: [] for name in names.values()}
    now = last = -1
    for line in body.split():
        if line.startswith("#"):
            now = int(line[1:]) * int(scale.group(1))
            assert now > last, "times ascend"
            last = now
        elif line[0] in "01":
            edges[names[line[1:]]].append((now, int(line[0])))
    return edges


def level_at(edges: Edges, t_ps: float) -> int:
    return [level for at, level in edges if at <= t_ps][-1]


def dumped(source: str, cycles: int, slice_cycles: int = 500, miso: bytes = b"") -> dict[str, Edges]:
    chip = InspectedAtmega328p(assemble(source))
    text: list[str] = []
    dump = ValueChangeDump(chip, text.append)
    replies = iter(miso)
    while chip.cycle < cycles:
        if chip.run(min(chip.cycle + slice_cycles, cycles)) is Stop.SPI:
            chip.spi_reply(next(replies))
        dump.settle()
    dump.close()
    return parsed("".join(text))


def ps(cycle: int) -> int:
    return cycle * 62_500


def test_edges_stand_at_the_cycle_of_the_instruction() -> None:
    edges = dumped("sbi DDRB, 5\nsbi PORTB, 5\nnop\nnop\ncbi PORTB, 5\nsbi PINB, 5\n1: rjmp 1b", 40)
    # SBI and CBI take 2 cycles and act at their end.
    assert edges["D13"] == [(0, 0), (ps(4), 1), (ps(8), 0), (ps(10), 1)]
    assert edges["D12"] == [(0, 0)]


@pytest.mark.parametrize("slice_cycles", [7, 100, 100_000])
def test_pwm_has_its_period_and_width_whatever_the_slices(slice_cycles: int) -> None:
    setup = "sbi DDRD, 6\nldi r16, 63\nout OCR0A, r16\nldi r16, 0x83\nout TCCR0A, r16\n"
    setup += "ldi r16, 1\nout TCCR0B, r16\n"
    edges = dumped(setup + "1: rjmp 1b", 5000, slice_cycles)["D6"][3:]
    rising = [at for at, level in edges if level]
    falling = [at for at, level in edges if not level]
    assert len(rising) > 15
    assert {later - earlier for earlier, later in pairwise(rising)} == {ps(256)}
    assert {min(at for at in falling if at > rise) - rise for rise in rising[:-1]} == {ps(64)}


@pytest.mark.parametrize(("control_c", "data_bits", "parity"), [(0x06, 8, None), (0x24, 7, 0), (0x36, 8, 1)])
def test_the_serial_line_reads_as_what_was_sent(control_c: int, data_bits: int, parity: int | None) -> None:
    message = b"Uno\x55\x2a"
    sends = "".join(
        f"1: lds r17, UCSR0A\nsbrs r17, 5\nrjmp 1b\nldi r16, {byte}\nsts UDR0, r16\n" for byte in message
    )
    setup = "ldi r16, 3\nsts UBRR0L, r16\nldi r16, 8\nsts UCSR0B, r16\n"
    setup += f"ldi r16, {control_c}\nsts UCSR0C, r16\n"
    edges = dumped(setup + sends + "1: rjmp 1b", 6000)["D1"]
    bit_ps = ps(16 * 4)
    assert edges[:2] == [(0, 0), (ps(6), 1)], "the transmitter holds the line high"
    received, place = [], 2
    while place < len(edges):
        start = edges[place][0]
        assert edges[place][1] == 0, "a frame begins with a falling edge"
        bits = [level_at(edges, start + (number + 0.5) * bit_ps) for number in range(1, data_bits + 3)]
        data = bits[:data_bits]
        if parity is not None:
            assert (sum(data) + bits[data_bits]) % 2 == parity
        assert bits[data_bits + (parity is not None)] == 1, "a stop bit is high"
        received.append(sum(bit << number for number, bit in enumerate(data)))
        frame_bits = 1 + data_bits + (parity is not None) + 1
        end = start + (frame_bits - 0.5) * bit_ps
        place = next((n for n, (at, level) in enumerate(edges) if at > end and not level), len(edges))
    assert bytes(received) == bytes(byte & (1 << data_bits) - 1 for byte in message)


@pytest.mark.parametrize(("polarity", "phase"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("lsb_first", [False, True])
def test_the_spi_lines_read_as_what_was_exchanged(polarity: int, phase: int, lsb_first: bool) -> None:
    control = 0x50 | polarity << 3 | phase << 2 | (0x20 if lsb_first else 0)
    transfers = "".join(
        f"ldi r16, {byte}\nout SPDR, r16\n1: in r17, SPSR\nsbrs r17, 7\nrjmp 1b\n" for byte in (0xA7, 0x31)
    )
    idle = "sbi PORTB, 5\n" if polarity else ""
    setup = f"{idle}ldi r16, 0x2c\nout DDRB, r16\nldi r16, {control}\nout SPCR, r16\n"
    edges = dumped(setup + transfers + "1: rjmp 1b", 600, miso=b"\x5c\xe2")
    clock = [(at, level) for at, level in edges["D13"][1:] if at > ps(5)]
    sampling = [at for at, level in clock if level == (polarity == phase)]
    assert len(sampling) == 16

    def word(signal: str, times: list[int]) -> int:
        bits = [level_at(edges[signal], at) for at in times]
        return int("".join(map(str, bits[::-1] if lsb_first else bits)), 2)

    assert [word("D11", sampling[:8]), word("D11", sampling[8:])] == [0xA7, 0x31]
    assert [word("D12", sampling[:8]), word("D12", sampling[8:])] == [0x5C, 0xE2]
    assert sampling[1] - sampling[0] == ps(4)


def test_what_comes_from_outside_is_dumped_too() -> None:
    chip = InspectedAtmega328p(assemble("ldi r16, 16\nsts UCSR0B, r16\n1: rjmp 1b"))
    chip.set_pin(Pin.PD0, True)
    text: list[str] = []
    dump = ValueChangeDump(chip, text.append)
    chip.schedule_edges(Pin.PC0, [100, 163], first_high=True)
    chip.run(20)
    began = chip.cycle
    chip.uart_send(b"\x0f")
    chip.run(2000)
    dump.close()
    edges = parsed("".join(text))
    assert edges["A0"] == [(0, 0), (ps(100), 1), (ps(163), 0)]
    # Start bit low, four ones, four zeros, stop bit high, 16 cycles each.
    bits = [(began, 0), (began + 16, 1), (began + 80, 0), (began + 144, 1)]
    assert edges["D0"] == [(0, 1), *((ps(cycle), level) for cycle, level in bits)]
