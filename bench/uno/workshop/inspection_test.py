"""Inspecting changes nothing, and tells what an independent count of the same instructions gives."""

import pytest

from bench.uno.atmega328p import Atmega328p, CoreError, Pin, ResetCause, Stop
from bench.uno.core.assembly import assemble, vectors
from bench.uno.translation.library import translate
from bench.uno.workshop.inspection import InspectedAtmega328p, Origin

BUSY = (
    vectors(TIMER0_OVF="tick", TIMER1_COMPA="wake")
    + """
tick:
    push r24
    in r24, SREG
    push r24
    inc r20
    pop r24
    out SREG, r24
    pop r24
    reti
wake:
    sbi PINB, 5
    sts UDR0, r20
    reti
deep:
    dec r22
    breq 1f
    rcall deep
1:  ret
start:
    sbi DDRB, 5
    ldi r16, 1
    out TCCR0B, r16
    sts TIMSK0, r16
    ldi r16, 2
    sts TIMSK1, r16
    ldi r16, 4
    sts OCR1AH, r16
    sts OCR1AL, r16
    ldi r16, 9
    sts TCCR1B, r16
    ldi r16, 0
    sts UBRR0L, r16
    ldi r16, 0x08
    sts UCSR0B, r16
    sts UDR0, r16
    ldi r16, 1
    out SMCR, r16
    ldi r16, 6
    out EECR, r16
    sei
again:
    ldi r22, 20
    rcall deep
    rcall 1f
1:  pop r0
    pop r0
    sleep
    rjmp again
"""
)


def states(chip: Atmega328p, until_cycle: int) -> list[tuple[Stop, int]]:
    stops = []
    while chip.cycle < until_cycle:
        stops.append((chip.run(until_cycle), chip.cycle))
    return stops


@pytest.mark.parametrize("until_cycle", [1, 1000, 40_001])
@pytest.mark.parametrize("translated", [False, True])
def test_inspecting_changes_neither_state_nor_stops(until_cycle: int, translated: bool) -> None:
    flash = assemble(BUSY)
    translation = translate(flash) if translated else None
    plain, watched = Atmega328p(flash), InspectedAtmega328p(flash, translation=translation)
    watched.start_profile()
    watched.log_pins()
    watched.counts_jumps = True
    assert states(plain, until_cycle) == states(watched, until_cycle)
    assert plain.save() == watched.save()


def test_a_step_is_an_instruction_or_an_interrupt() -> None:
    chip = InspectedAtmega328p(assemble(BUSY))
    plain = Atmega328p(assemble(BUSY))
    for _ in range(5000):
        stepped, stop = chip.step(1 << 40)
        assert stepped or stop is Stop.UART
        while plain.cycle < chip.cycle:
            plain.run(chip.cycle)
        assert plain.cycle == chip.cycle
        assert plain.program_counter == chip.program_counter


def test_own_cycles_sleep_and_reset_are_all_cycles() -> None:
    chip = InspectedAtmega328p(assemble(BUSY))
    chip.start_profile()
    states(chip, 30_000)
    chip.reset(ResetCause.EXTERNAL)
    states(chip, chip.cycle + 1_100_000)
    own = chip.cycle_counts().own
    assert chip.reset_cycles == 14 + 65 * 16_000
    assert sum(chip.sleep_cycles.values()) > 0
    assert sum(own.values()) + sum(chip.sleep_cycles.values()) + chip.reset_cycles == chip.cycle


def test_calls_recursion_and_room_on_the_stack() -> None:
    source = "rcall outer\nrcall 1f\n1: pop r0\npop r0\nend: .word 0xffff\n"
    source += "outer: ldi r22, 3\nrcall deep\nret\ndeep: dec r22\nbreq 1f\nrcall deep\n1: ret\n"
    flash = assemble(source)
    chip = InspectedAtmega328p(flash)
    chip.start_profile()
    assert chip.run(1000) is Stop.FAULT
    counts = chip.cycle_counts()
    outer, deep = 0x0A, 0x10
    assert counts.calls == {outer: 1, deep: 3}
    # deep: twice DEC 1, BREQ 1, RCALL 3, RET 4, and once DEC 1, BREQ taken 2, RET 4.
    assert counts.whole == {deep: 2 * 9 + 7, outer: 1 + 3 + 25 + 4}
    assert counts.own[0] == 3


def test_an_interrupt_counts_with_its_vector_alone() -> None:
    source = vectors(TIMER0_OVF="tick") + (
        "tick: rcall leaf\nreti\nleaf: nop\nret\n"
        "work: ldi r18, 200\n1: dec r18\nbrne 1b\nret\n"
        "start: ldi r16, 1\nout TCCR0B, r16\nsts TIMSK0, r16\nsei\nrcall work\n.word 0xffff\n"
    )
    chip = InspectedAtmega328p(assemble(source))
    chip.start_profile()
    assert chip.run(100_000) is Stop.FAULT
    counts = chip.cycle_counts()
    vector = 16 * 4
    assert counts.calls[vector] == 2
    # Entry 4, JMP 3, RCALL 3, NOP 1, RET 4, RETI 4.
    assert counts.whole[vector] == 2 * 19
    assert counts.own[vector] == 2 * (4 + 3)
    work = next(address for address, calls in counts.calls.items() if calls == 1)
    assert counts.whole[work] == 1 + 200 * 3 - 1 + 4


def test_breakpoints_stop_before_the_instruction_each_time() -> None:
    chip = InspectedAtmega328p(assemble("ldi r16, 0\n1: inc r16\nrjmp 1b"))
    chip.set_breakpoint(2)
    seen = []
    for _ in range(3):
        assert chip.run(1000) is Stop.LIMIT
        assert chip.at_breakpoint
        seen.append((chip.program_counter, chip.cycle, chip.read_data(16, 1)[0]))
    assert seen == [(2, 1, 0), (2, 4, 1), (2, 7, 2)]
    chip.clear_breakpoint(2)
    assert chip.run(1000) is Stop.LIMIT
    assert not chip.at_breakpoint
    assert chip.cycle >= 1000


def test_a_breakpoint_on_the_edge_of_a_slice_is_not_missed() -> None:
    chip = InspectedAtmega328p(assemble("nop\nnop\nnop\n1: rjmp 1b"))
    chip.set_breakpoint(4)
    assert chip.run(2) is Stop.LIMIT
    assert not chip.at_breakpoint
    chip.run(100)
    assert (chip.at_breakpoint, chip.cycle) == (True, 2)


def test_a_watched_byte_stops_after_its_change() -> None:
    chip = InspectedAtmega328p(
        assemble("ldi r16, 7\nsts 0x200, r16\nsts 0x200, r16\nsts 0x201, r16\n1: rjmp 1b")
    )
    chip.write_data(0x200, b"\1\1")
    chip.watch_data(0x200, 2)
    chip.run(100)
    assert (chip.changed_address, chip.cycle) == (0x200, 3)
    chip.run(100)
    assert (chip.changed_address, chip.cycle) == (0x201, 7)
    chip.run(100)
    assert chip.changed_address is None


def test_restarts_tell_where_they_came_from() -> None:
    chip = InspectedAtmega328p(assemble("nop\nldi r30, 0\nldi r31, 0\nijmp"))
    chip.counts_jumps = True
    chip.run(50)
    assert chip.restarts(Origin.JUMP).count == 10
    assert chip.restarts(Origin.JUMP).program_counter == 6
    assert chip.restarts(Origin.JUMP).cycle == 50
    assert chip.restarts(Origin.WATCHDOG).count == 0


def test_pin_changes_from_inside_and_outside_have_their_cycle() -> None:
    chip = InspectedAtmega328p(assemble("sbi DDRB, 5\nsbi PORTB, 5\nnop\ncbi PORTB, 5\n1: rjmp 1b"))
    chip.log_pins()
    chip.schedule_edges(Pin.PD3, [5, 9], first_high=True)
    chip.run(40)
    assert chip.take_pin_changes() == [
        (4, Pin.PB5, True),
        (5, Pin.PD3, True),
        (7, Pin.PB5, False),
        (9, Pin.PD3, False),
    ]
    assert chip.take_pin_changes() == []


@pytest.mark.parametrize("address", [-2, 1, 0x8000])
def test_a_breakpoint_outside_flash_is_refused(address: int) -> None:
    with pytest.raises(CoreError, match="no instruction can begin"):
        InspectedAtmega328p(b"").set_breakpoint(address)


def test_what_cannot_be_watched_or_written_is_refused() -> None:
    chip = InspectedAtmega328p(b"")
    with pytest.raises(CoreError, match="neither a working register nor SRAM"):
        chip.watch_data(0x25, 1)
    with pytest.raises(CoreError, match="32 bytes at most"):
        chip.watch_data(0x100, 33)
    with pytest.raises(CoreError, match="lies outside its 1024 bytes"):
        chip.write_eeprom(1023, b"ab")
    with pytest.raises(CoreError, match="no profile"):
        chip.cycle_counts()
