"""Interrupts: latency, order, and the instruction after SEI and RETI (datasheet 7.7)."""

from bench.uno.atmega328p import Pin, Stop
from bench.uno.core.assembly import boot, marks, vectors

INT_SYNCHRONISER = 2
PCINT_SYNCHRONISER = 3


def test_entry_takes_four_cycles_and_the_vector_its_jump() -> None:
    chip = boot(
        vectors(INT0="handler")
        + "start: ldi r16,3\nsts EICRA+0,r16\nldi r16,1\nout EIMSK,r16\nsei\n.rept 300\nnop\n.endr\n"
        + "handler: out GPIOR0,r16\n"
    )
    chip.schedule_edges(Pin.PD2, [100], first_high=True)
    assert marks(chip, 1) == [100 + INT_SYNCHRONISER + 4 + 3 + 1]
    assert chip.status_register & 0x80 == 0


def test_an_instruction_under_way_is_finished_first() -> None:
    source = vectors(INT0="handler") + (
        "start: ldi r16,3\nsts EICRA+0,r16\nldi r16,1\nout EIMSK,r16\nsei\nloop: rjmp loop\n"
        "handler: out GPIOR0,r16\n"
    )
    latencies = set()
    for edge in range(100, 110):
        chip = boot(source)
        chip.schedule_edges(Pin.PD2, [edge], first_high=True)
        latencies.add(marks(chip, 1)[0] - edge)
    assert latencies == {10, 11}


def test_one_instruction_runs_after_sei() -> None:
    chip = boot(
        vectors(PCINT2="handler")
        + "start: ldi r16,4\nsts PCICR+0,r16\nldi r16,0x10\nsts PCMSK2+0,r16\n.rept 10\nnop\n.endr\n"
        + "clr r20\nsei\ninc r20\ninc r20\ninc r20\nhandler: out GPIOR1,r20\nout GPIOR0,r16\n"
    )
    chip.set_pin(Pin.PD4, True)
    chip.schedule_edges(Pin.PD4, [12], first_high=False)
    marks(chip, 1)
    assert chip.mark_argument & 0xFF == 1


def test_one_instruction_runs_between_two_interrupts() -> None:
    chip = boot(
        vectors(INT0="handler")
        + "start: clr r20\nldi r16,1\nout EIMSK,r16\nsei\n.rept 50\ninc r20\n.endr\n"
        + "handler: out GPIOR1,r20\nout GPIOR0,r16\nreti\n"
    )
    chip.set_pin(Pin.PD2, False)
    counts = []
    for _ in range(5):
        marks(chip, 1)
        counts.append(chip.mark_argument & 0xFF)
    assert counts == [1, 2, 3, 4, 5]


def test_the_lower_vector_goes_first() -> None:
    chip = boot(
        vectors(INT0="first", INT1="second", PCINT2="third")
        + "start: ldi r16,15\nsts EICRA+0,r16\nldi r16,3\nout EIMSK,r16\nldi r16,4\nsts PCICR+0,r16\n"
        + "ldi r16,0x80\nsts PCMSK2+0,r16\n.rept 80\nnop\n.endr\nsei\nloop: rjmp loop\n"
        + "first: ldi r17,1\nrjmp tell\nsecond: ldi r17,2\nrjmp tell\nthird: ldi r17,3\n"
        "tell: out GPIOR0,r17\nreti\n"
    )
    for pin in (Pin.PD7, Pin.PD3, Pin.PD2):
        chip.schedule_edges(pin, [60], first_high=True)
    order = []
    for _ in range(3):
        marks(chip, 1)
        order.append(chip.mark_code)
    assert order == [1, 2, 3]


def test_pin_change_arrives_after_its_synchroniser() -> None:
    chip = boot(
        vectors(PCINT0="handler")
        + "start: ldi r16,1\nsts PCICR+0,r16\nsts PCMSK0+0,r16\nsei\n.rept 300\nnop\n.endr\n"
        "handler: out GPIOR0,r16\n"
    )
    chip.schedule_edges(Pin.PB0, [100], first_high=True)
    assert marks(chip, 1) == [100 + PCINT_SYNCHRONISER + 8]


def test_senses_of_an_external_interrupt() -> None:
    counted = {}
    for sense in range(4):
        chip = boot(
            vectors(INT1="handler")
            + f"start: clr r20\nldi r16,{sense << 2}\nsts EICRA+0,r16\nldi r16,2\nout EIMSK,r16\n"
            f"sei\nloop: rjmp loop\n" + "handler: inc r20\nreti\n"
        )
        chip.set_pin(Pin.PD3, True)
        chip.schedule_edges(Pin.PD3, [1000, 2000, 3000, 4000, 5000], first_high=False)
        assert chip.run(4990) is Stop.LIMIT
        counted[sense] = chip.read_data(20, 1)[0]
    assert (counted[1], counted[2], counted[3]) == (4, 2, 2)
    assert counted[0] > 100


def test_sbi_on_a_flag_register_touches_that_bit_alone() -> None:
    chip = boot(
        "ldi r16,3\nout OCR0A,r16\nout OCR0B,r16\nldi r16,1\nout TCCR0B,r16\n.rept 300\nnop\n.endr\n"
        "in r20,TIFR0\nsbi TIFR0,1\nin r21,TIFR0\ncbi TIFR0,0\nin r22,TIFR0\nout GPIOR0,r16\n"
    )
    marks(chip, 1)
    assert list(chip.read_data(20, 3)) == [7, 5, 5]


def test_one_instruction_runs_after_sreg_is_written_by_sts() -> None:
    chip = boot(
        vectors(INT0="handler")
        + "start: clr r20\nldi r16,1\nout EIMSK,r16\nldi r17,0x80\nsts 0x5f,r17\n.rept 5\ninc r20\n.endr\n"
        + "handler: out GPIOR1,r20\nout GPIOR0,r16\n"
    )
    chip.set_pin(Pin.PD2, False)
    marks(chip, 1)
    assert chip.mark_argument & 255 == 1
