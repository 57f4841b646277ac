"""The Python face: stops, faults, bad requests, figures, and that slicing a run changes nothing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import (
    EEPROM_BYTES,
    FLASH_BYTES,
    Atmega328p,
    CoreError,
    Pin,
    ResetCause,
    Stop,
)
from bench.uno.core.assembly import assemble, boot, marks, vectors

SLEEPY = "ldi r16,5\nout SMCR,r16\nsleep\n"


def test_a_mark_carries_code_and_argument() -> None:
    chip = boot(
        "ldi r16,0x34\nout GPIOR1,r16\nldi r16,0x12\nout GPIOR2,r16\nldi r16,9\nout GPIOR0,r16\n"
        "loop: rjmp loop\n"
    )
    assert chip.run(100) is Stop.MARK
    assert (chip.mark_code, chip.mark_argument, chip.cycle) == (9, 0x1234, 6)
    assert chip.run(100) is Stop.LIMIT


@pytest.mark.parametrize(
    ("source", "kind", "program_counter", "detail"),
    [
        ("nop\n.word 0xffff\n", "illegal_opcode", 2, 0xFFFF),
        ("nop\nlds r0,0x900\n", "read_outside", 2, 0x900),
        ("ldi r26,0xff\nldi r27,0xff\nst X,r0\n", "write_outside", 4, 0xFFFF),
        ("spm\n", "self_programming", 0, 0),
        ("ldi r16,0x80\nsts CLKPR,r16\nldi r16,1\nsts CLKPR,r16\n", "clock_prescaler", 8, 1),
        ("ldi r16,1\nout SPH,r16\nldi r16,0\nout SPL,r16\npush r0\npush r0\n", "stack_overflow", 10, 0xFE),
        ("pop r0\n", "read_outside", 0, 0x900),
    ],
)
def test_faults(source: str, kind: str, program_counter: int, detail: int) -> None:
    chip = boot(source)
    chip.write_data(30, bytes(2))
    assert chip.run(1000) is Stop.FAULT
    fault = chip.fault
    assert fault is not None
    assert (fault.kind, fault.program_counter, fault.detail) == (kind, program_counter, detail)
    assert fault.cycle == chip.cycle
    assert chip.run(2000) is Stop.FAULT
    chip.reset(ResetCause.EXTERNAL)
    assert chip.run(1 << 24) is Stop.FAULT


def test_stack_floor_is_the_first_byte_that_the_stack_must_not_take() -> None:
    source = "ldi r16,0x02\nout SPH,r16\nldi r16,0x03\nout SPL,r16\n" + "push r0\n" * 4 + "loop: rjmp loop\n"
    for floor, faults in ((0x200, False), (0x201, True)):
        chip = boot(source)
        chip.set_stack_floor(floor)
        assert (chip.run(100) is Stop.FAULT) == faults
        if faults:
            assert chip.fault is not None
            assert (chip.fault.kind, chip.fault.detail) == ("stack_in_data", 0x1FF)


def test_the_stack_pointer_between_its_halves_does_not_count() -> None:
    """From 0x0810 to 0x07F0 by way of 0x0710."""
    chip = boot(
        "ldi r16,0x08\nout SPH,r16\nldi r16,0x10\nout SPL,r16\nldi r16,0x07\nout SPH,r16\n"
        "ldi r16,0xf0\nout SPL,r16\n"
        "push r0\nloop: rjmp loop\n"
    )
    chip.set_stack_floor(0x750)
    assert chip.run(100) is Stop.LIMIT
    assert chip.lowest_stack == 0x7EF


def test_interrupts_push_too() -> None:
    chip = boot(
        vectors(PCINT2="handler")
        + "start: ldi r16,4\nsts PCICR,r16\nldi r16,1\nsts PCMSK2,r16\nsei\nloop: rjmp loop\nhandler: reti\n"
    )
    chip.schedule_edges(Pin.PD0, [100], first_high=True)
    chip.run(200)
    assert (chip.lowest_stack, chip.stack_pointer) == (0x8FD, 0x8FF)


def test_power_on_scrambles_memory_the_same_way_and_other_resets_keep_it() -> None:
    one, other = boot("loop: rjmp loop\n"), boot("loop: rjmp loop\n")
    fresh = one.read_data(0x100, 0x800)
    assert fresh == other.read_data(0x100, 0x800)
    assert len(set(fresh)) > 200
    one.write_data(0x100, b"kept")
    one.reset(ResetCause.EXTERNAL)
    assert one.read_data(0x100, 4) == b"kept"
    one.reset(ResetCause.POWER_ON)
    assert one.read_data(0x100, 0x800) == fresh


def test_reset_starts_after_its_start_up_time() -> None:
    chip = boot("out GPIOR0,r16\nloop: rjmp loop\n")
    marks(chip, 1)
    chip.run(1000)
    chip.reset(ResetCause.EXTERNAL)
    begin = chip.cycle
    assert marks(chip, 1) == [begin + 14 + 65 * 16_000 + 1]
    assert chip.active_cycles == chip.cycle - chip.reset_cycles


def test_bad_requests_are_named() -> None:
    chip = boot(SLEEPY)
    chip.run(100)
    with pytest.raises(CoreError, match="32769 bytes; the ATmega328P holds 32768"):
        Atmega328p(bytes(FLASH_BYTES + 1))
    with pytest.raises(CoreError, match="1023 bytes; it must have 1024"):
        Atmega328p(b"", bytes(EEPROM_BYTES - 1))
    with pytest.raises(CoreError, match="cannot run until cycle -1"):
        chip.run(-1)
    with pytest.raises(CoreError, match="edge of PD3 at cycle 99: must ascend and be 100 or later"):
        chip.schedule_edges(Pin.PD3, [99], first_high=True)
    chip.schedule_edges(Pin.PD3, [200], first_high=True)
    with pytest.raises(CoreError, match="edge of PD3 at cycle 200: must ascend and be 201 or later"):
        chip.schedule_edges(Pin.PD3, [200], first_high=True)
    with pytest.raises(CoreError, match="analog channel 10"):
        chip.set_analog(10, [])
    with pytest.raises(CoreError, match="ascend"):
        chip.set_analog(0, [AnalogSegment(5, 0), AnalogSegment(5, 0)])
    with pytest.raises(CoreError, match="microvolts"):
        chip.set_analog(0, [AnalogSegment(5, 10**10)])
    with pytest.raises(CoreError, match="data 0x8ff \\+ 2"):
        chip.read_data(0x8FF, 2)
    with pytest.raises(CoreError, match="write_data at 0x01f"):
        chip.write_data(0x1F, b"ab")
    with pytest.raises(CoreError, match="damaged"):
        chip.restore(chip.save()[:-1])
    with pytest.raises(CoreError, match="another firmware image"):
        boot("nop\n").restore(chip.save())


# ---- determinism ----

BUSY = (
    vectors(TIMER0_OVF="tick", PCINT2="pulse", ADC="sample", USART_RX="hear", WDT="bark", TIMER1_COMPA="beat")
    + """
start:
    ldi r16,3
    out TCCR0B,r16
    ldi r16,1
    sts TIMSK0,r16
    ldi r16,4
    sts PCICR,r16
    ldi r16,0xf8
    sts PCMSK2,r16
    ldi r16,0x45
    sts ADMUX,r16
    ldi r16,0xee
    sts ADCSRA,r16
    ldi r16,8
    sts UBRR0L,r16
    ldi r16,0x98
    sts UCSR0B,r16
    ldi r16,0x18
    sts WDTCSR,r16
    ldi r16,0x40
    sts WDTCSR,r16
    ldi r16,0x4f
    sts OCR1AL,r16
    ldi r16,0x0a
    sts TCCR1B,r16
    ldi r16,2
    sts TIMSK1,r16
    ldi r16,4
    out DDRB,r16
    ldi r16,0x53
    out SPCR,r16
    sei
again:
    ldi r16,1
    out SMCR,r16
    sleep
    inc r20
    brne again
    out SPDR,r20
    ldi r16,5
    out SMCR,r16
    sleep
    rjmp again
tick: inc r21
    reti
pulse: inc r22
    sts UDR0,r22
    reti
sample: lds r23,ADCL
    lds r24,ADCH
    add r25,r23
    reti
hear: lds r26,UDR0
    reti
bark: inc r27
    out GPIOR1,r25
    out GPIOR0,r27
    reti
beat: inc r28
    reti
"""
)
END = 700_000


def busy_chip() -> Atmega328p:
    chip = Atmega328p(assemble(BUSY))
    chip.schedule_edges(Pin.PD4, [9_000 * n + 17 * n % 5 for n in range(1, 70)], first_high=True)
    chip.set_analog(5, [AnalogSegment(0, 2_500_000, 1_000_000, 0, 1 << 46), AnalogSegment(300_000, 100_000)])
    chip.uart_send(b"determinism")
    return chip


def play(chip: Atmega328p, until: int, log: list[tuple[int, ...]]) -> None:
    while (stop := chip.run(until)) not in (Stop.LIMIT, Stop.HALT):
        if stop is Stop.SPI:
            chip.spi_reply(chip.spi_mosi ^ 0x5A)
        log.append((stop, chip.cycle, chip.spi_mosi, chip.mark_code, chip.mark_argument, chip.uart_byte))


@pytest.fixture(scope="module")
def in_one_go() -> tuple[list[tuple[int, ...]], int, bytes]:
    chip, log = busy_chip(), list[tuple[int, ...]]()
    play(chip, END, log)
    assert {entry[0] for entry in log} == {Stop.SPI, Stop.MARK, Stop.UART}
    return log, chip.cycle, chip.save()


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_slices_and_restores_change_nothing(
    in_one_go: tuple[list[tuple[int, ...]], int, bytes], seed: int
) -> None:
    chance = random.Random(seed)
    chip, log = busy_chip(), list[tuple[int, ...]]()
    while chip.cycle < END:
        play(chip, min(END, chip.cycle + chance.choice((1, 7, 100, 5_000))), log)
        if chance.random() < 0.02:
            state = chip.save()
            chip = Atmega328p(assemble(BUSY))
            chip.restore(state)
    assert (log, chip.cycle, chip.save()) == in_one_go
