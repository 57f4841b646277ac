"""Sleep modes: what stops, what wakes, how long it takes (datasheet 10)."""

import pytest

from bench.uno.atmega328p import Pin, SleepMode, Stop
from bench.uno.core.assembly import boot, marks, vectors

TCNT0, TCNT1L, TCNT2, OCR2A = 0x46, 0x84, 0xB2, 0xB3
START_UP = {
    SleepMode.IDLE: 0, SleepMode.ADC_NOISE_REDUCTION: 0, SleepMode.POWER_DOWN: 16384,
    SleepMode.POWER_SAVE: 16384,
    SleepMode.STANDBY: 6, SleepMode.EXTENDED_STANDBY: 6,
}  # fmt: skip

SLEEPER = (
    vectors(PCINT2="handler", INT0="handler")
    + "start: ldi r16,4\nsts PCICR,r16\nldi r16,0x80\nsts PCMSK2,r16\nldi r16,{mode}\nout SMCR,r16\n{more}\n"
    + "sei\nsleep\nloop: rjmp loop\nhandler: out GPIOR0,r16\nreti\n"
)


def sleeper(mode: SleepMode, more: str = "") -> str:
    return SLEEPER.format(mode=mode << 1 | 1, more=more)


@pytest.mark.parametrize("mode", list(SleepMode))
def test_waking_by_pin_change(mode: SleepMode) -> None:
    """Start-up, 4 cycles of halt, 4 of entry, JMP, OUT; only Idle has the clock that synchronises the pin."""
    chip = boot(sleeper(mode))
    chip.schedule_edges(Pin.PD7, [100_000], first_high=True)
    synchroniser = 3 if mode is SleepMode.IDLE else 0
    assert marks(chip, 1) == [100_000 + synchroniser + START_UP[mode] + 4 + 4 + 3 + 1]
    slept = {m: cycles for m, cycles in chip.sleep_cycles.items() if cycles}
    assert list(slept) == [mode]
    assert slept[mode] + chip.active_cycles == chip.cycle


@pytest.mark.parametrize(
    ("mode", "counting"),
    [
        (SleepMode.IDLE, (True, True, True)),
        (SleepMode.ADC_NOISE_REDUCTION, (False, False, False)),
        (SleepMode.POWER_DOWN, (False, False, False)),
        (SleepMode.POWER_SAVE, (False, False, True)),
        (SleepMode.STANDBY, (False, False, False)),
        (SleepMode.EXTENDED_STANDBY, (False, False, True)),
    ],
)
def test_which_timers_run(mode: SleepMode, counting: tuple[bool, bool, bool]) -> None:
    chip = boot(sleeper(mode, "ldi r16,2\nout TCCR0B,r16\nsts TCCR1B,r16\nsts TCCR2B,r16\n"))
    chip.run(1000)
    before = [chip.read_data(address, 1)[0] for address in (TCNT0, TCNT1L, TCNT2)]
    chip.run(1000 + 8 * 50)
    after = [chip.read_data(address, 1)[0] for address in (TCNT0, TCNT1L, TCNT2)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [50 * runs for runs in counting]


def test_a_stopped_timer_goes_on_where_it_was() -> None:
    chip = boot(
        sleeper(SleepMode.POWER_DOWN, "ldi r16,2\nout TCCR0B,r16\n").replace(
            "out GPIOR0", "in r20,TCNT0\nout GPIOR0"
        )
    )
    chip.schedule_edges(Pin.PD7, [100_000], first_high=True)
    marks(chip, 1)
    # OUT TCCR0B ends at 13, SLEEP at 15; waking adds 4 + 4 + 3. The prescaler runs freely but for the sleep.
    assert chip.read_data(20, 1)[0] == (15 + 11) // 8 - 13 // 8


TIMER2_SLEEPER = (
    vectors(TIMER2_OVF="handler")
    + "start: ldi r16,7\nsts TCCR2B,r16\nldi r16,{mode}\nout SMCR,r16\nldi r16,1\nsts TIMSK2,r16\n"
    "sei\nsleep\nloop: rjmp loop\nhandler: out GPIOR0,r16\nreti\n"
)


@pytest.mark.parametrize(
    ("mode", "start_up"),
    [(SleepMode.IDLE, 0), (SleepMode.POWER_SAVE, 6), (SleepMode.EXTENDED_STANDBY, 6)],
)
def test_timer2_wakes_without_start_up_of_the_clock_that_it_counts(mode: SleepMode, start_up: int) -> None:
    chip = boot(TIMER2_SLEEPER.format(mode=mode << 1 | 1))
    assert marks(chip, 1) == [256 * 1024 + start_up + 4 + 4 + 3 + 1]


@pytest.mark.parametrize("mode", [SleepMode.ADC_NOISE_REDUCTION, SleepMode.POWER_DOWN, SleepMode.STANDBY])
def test_timer2_on_the_system_clock_does_not_wake_from_modes_that_stop_it(mode: SleepMode) -> None:
    chip = boot(TIMER2_SLEEPER.format(mode=mode << 1 | 1))
    assert chip.run(1 << 24) is Stop.HALT


def test_power_save_pays_the_start_up_again_once_timer2_has_stopped() -> None:
    running = boot(sleeper(SleepMode.POWER_SAVE, "ldi r16,1\nsts TCCR2B,r16\n"))
    stopped = boot(sleeper(SleepMode.POWER_SAVE, "ldi r16,1\nsts TCCR2B,r16\nldi r16,0\nsts TCCR2B,r16\n"))
    for chip, start_up in ((running, 6), (stopped, 16384)):
        chip.schedule_edges(Pin.PD7, [1000], first_high=True)
        assert marks(chip, 1) == [1000 + start_up + 4 + 4 + 3 + 1]


def test_an_edge_of_int0_does_not_wake_from_power_down_but_its_low_level_does() -> None:
    edge = boot(sleeper(SleepMode.POWER_DOWN, "ldi r16,2\nsts EICRA,r16\nldi r16,1\nout EIMSK,r16\n"))
    level = boot(sleeper(SleepMode.POWER_DOWN, "ldi r16,1\nout EIMSK,r16\n"))
    for chip in (edge, level):
        chip.set_pin(Pin.PD2, True)
        chip.schedule_edges(Pin.PD2, [1000], first_high=False)
    assert edge.run(100_000) is Stop.HALT
    assert marks(level, 1) == [1000 + 16384 + 12]


def test_a_level_gone_before_start_up_ends_wakes_without_interrupt() -> None:
    chip = boot(
        sleeper(SleepMode.POWER_DOWN, "ldi r16,1\nout EIMSK,r16\n").replace(
            "loop: ", "out GPIOR1,r16\nloop: "
        )
    )
    chip.set_pin(Pin.PD2, True)
    chip.schedule_edges(Pin.PD2, [1000, 2000], first_high=False)
    assert chip.run(50_000) is Stop.LIMIT
    assert chip.read_data(0x4A, 1) == b"\x01"


def test_sleep_without_enable_or_with_a_waiting_interrupt() -> None:
    idle = boot("sleep\nout GPIOR0,r16\n")
    assert marks(idle, 1) == [2]
    chip = boot(sleeper(SleepMode.IDLE))
    chip.schedule_edges(Pin.PD7, [10], first_high=True)
    assert marks(chip, 1) == [13 + 4 + 4 + 3 + 1]


def test_halt_means_nothing_inside_can_wake_it() -> None:
    chip = boot("ldi r16,5\nout SMCR,r16\nsleep\nloop: rjmp loop\n")
    assert chip.wake_cycle() == 0
    assert chip.run(1000) is Stop.HALT
    assert (chip.cycle, chip.wake_cycle()) == (1000, None)
    chip.schedule_edges(Pin.PD7, [2000], first_high=True)  # interrupts are off: an edge does not help
    assert chip.run(3000) is Stop.HALT


def test_wake_cycle_foresees_a_scheduled_edge() -> None:
    chip = boot(sleeper(SleepMode.POWER_DOWN))
    chip.run(500)
    assert chip.wake_cycle() is None
    chip.schedule_edges(Pin.PD7, [7000], first_high=True)
    assert chip.wake_cycle() == 7000
    assert chip.run(7000) is Stop.LIMIT
    assert chip.wake_cycle() == 7000 + 16384


def test_a_transmission_stands_still_in_power_down() -> None:
    chip = boot(sleeper(SleepMode.POWER_DOWN, "ldi r16,8\nsts UBRR0L,r16\nsts UCSR0B,r16\nsts UDR0,r16\n"))
    chip.schedule_edges(Pin.PD7, [100_000], first_high=True)
    (woken,) = marks(chip, 1)
    assert chip.run(1 << 20) is Stop.UART
    sent_asleep = woken - 12 - 100_000
    assert sent_asleep == 16384
    assert chip.cycle - (woken - 12) < 1440 <= chip.cycle - (woken - 12) + 30
