"""Ports: levels, pull-ups, the synchroniser, toggling, watched pins, scheduled edges (datasheet 14)."""

from bench.uno.atmega328p import Pin, Stop
from bench.uno.core.assembly import STORE_CYCLES, boot, chip_with, marks

PINB, DDRB, PORTB, MCUCR = 0x23, 0x24, 0x25, 0x55


def test_pin_register_lags_one_cycle() -> None:
    chip = boot(
        "ldi r16,0xff\nout DDRB,r16\nout PORTB,r16\nin r20,PINB\nin r21,PINB\nout GPIOR0,r16\n",
    )
    marks(chip, 1)
    assert list(chip.read_data(20, 2)) == [0x00, 0xFF]


def test_an_edge_is_read_one_cycle_after_it() -> None:
    chip = boot(".rept 60\nnop\n.endr\nin r20,PINC\nin r21,PINC\nin r22,PINC\nout GPIOR0,r16\n")
    chip.schedule_edges(Pin.PC3, [61], first_high=True)
    marks(chip, 1)
    assert list(chip.read_data(20, 3)) == [0, 0, 8]


def test_writing_ones_to_pin_toggles_port() -> None:
    chip = boot(
        "ldi r16,0x0f\nout PORTB,r16\nldi r16,0x03\nout PINB,r16\nsbi PINB,7\nin r20,PORTB\nout GPIOR0,r0\n"
    )
    marks(chip, 1)
    assert chip.read_data(20, 1) == b"\x8c"


def test_inputs_pull_up_float_and_are_driven() -> None:
    chip = chip_with((PORTB, 0x05))
    levels = [chip.pin_high(pin) for pin in (Pin.PB0, Pin.PB1, Pin.PB2)]
    assert levels == [True, False, True]
    chip.set_pin(Pin.PB0, False)
    chip.set_pin(Pin.PB1, True)
    assert [chip.pin_high(pin) for pin in (Pin.PB0, Pin.PB1)] == [False, True]
    assert not chip_with((PORTB, 0x05), (MCUCR, 0x10)).pin_high(Pin.PB0)


def test_an_output_does_not_heed_the_outside() -> None:
    chip = chip_with((PORTB, 0x01), (DDRB, 0x01))
    chip.set_pin(Pin.PB0, False)
    assert chip.pin_high(Pin.PB0)


def test_watched_pins_stop_one_by_one_and_others_do_not() -> None:
    chip = boot("ldi r16,0xff\nout DDRB,r16\nout PORTB,r16\nout PORTB,r0\nloop: rjmp loop\n")
    chip.write_data(0, b"\x02")
    for pin in (Pin.PB1, Pin.PB2):
        chip.watch(pin)
    seen = []
    while chip.run(100) is Stop.PIN:
        seen.append((chip.pin_changed, chip.pin_level, chip.cycle))
    assert seen == [(Pin.PB1, True, 3), (Pin.PB2, True, 3), (Pin.PB2, False, 4)]


def test_letting_go_of_a_watched_pin_is_no_stop() -> None:
    chip = boot(
        "ldi r16,4\nout PORTB,r16\nout DDRB,r16\nout GPIOR0,r16\nclr r0\nout DDRB,r0\nout PORTB,r0\n"
        "loop: rjmp loop\n"
    )
    chip.watch(Pin.PB2)
    assert chip.run(100) is Stop.PIN
    assert chip.pin_level
    assert marks(chip, 1)
    assert chip.run(100) is Stop.LIMIT


def test_the_outside_changing_a_watched_pin_is_no_stop() -> None:
    chip = chip_with((PORTB, 0))
    chip.watch(Pin.PB0)
    chip.schedule_edges(Pin.PB0, [50, 60], first_high=True)
    chip.set_pin(Pin.PB0, True)
    assert chip.run(100) is Stop.LIMIT


def test_scheduled_edges_alternate_and_may_be_appended() -> None:
    chip = chip_with((PORTB, 0))
    chip.schedule_edges(Pin.PD5, [100, 200], first_high=True)
    chip.schedule_edges(Pin.PD5, [300], first_high=True)
    levels = []
    for cycle in (99, 100, 199, 200, 299, 300):
        chip.run(cycle)
        levels.append(chip.pin_high(Pin.PD5))
    assert levels == [False, True, True, False, False, True]
    assert chip.cycle == 300 >= STORE_CYCLES
