"""Watchdog: time-outs, modes, the guarded change, reset (datasheet 11.8)."""

import pytest

from bench.uno.atmega328p import ResetCause, SleepMode, Stop
from bench.uno.core.assembly import boot, marks, vectors

MCUSR, WDTCSR = 0x54, 0x60
SHORTEST = 2048 * 125
RESET_START_UP = 14 + 65 * 16_000
CHANGE = "ldi r17,0x18\nsts WDTCSR,r17\nldi r16,{value}\nsts WDTCSR,r16\n"


@pytest.mark.parametrize("select", range(10))
def test_every_interval_as_repeating_interrupt_out_of_power_down(select: int) -> None:
    value = 0x40 | select & 7 | (select & 8) << 2
    chip = boot(
        vectors(WDT="bark")
        + "start: ldi r16,5\nout SMCR,r16\n" + CHANGE.format(value=value) + "sei\nloop: sleep\nrjmp loop\n"
        + "bark: out GPIOR0,r16\nreti\n"
    )  # fmt: skip
    first, second, third = marks(chip, 3)
    assert second - first == third - second == SHORTEST << select
    assert chip.active_cycles < 100
    assert chip.sleep_cycles[SleepMode.POWER_DOWN] + chip.active_cycles == chip.cycle


def test_a_bite_resets_and_leaves_its_mark() -> None:
    chip = boot(
        "in r20,MCUSR\nout GPIOR1,r20\nout GPIOR0,r16\n" + CHANGE.format(value=8) + "loop: rjmp loop\n"
    )
    assert marks(chip, 1) == [3]
    assert chip.mark_argument & 255 == 1
    (again,) = marks(chip, 1)
    # The watchdog's time begins with the first write, which sets WDE; a loop of two cycles is under way.
    assert again - (3 + 3 + SHORTEST + RESET_START_UP + 3) in (0, 1)
    assert chip.mark_argument & 255 == 1 | 8
    assert chip.read_data(WDTCSR, 1)[0] == 8
    assert chip.reset_cycles == RESET_START_UP


def test_feeding_keeps_it_quiet() -> None:
    chip = boot(CHANGE.format(value=8) + "loop: wdr\nrjmp loop\n")
    assert chip.run(10 * SHORTEST) is Stop.LIMIT
    assert chip.reset_cycles == 0


def test_interrupt_first_then_reset() -> None:
    chip = boot(
        vectors(WDT="bark")
        + "start: in r20,MCUSR\nout GPIOR1,r20\nout GPIOR0,r16\n"
          "" + CHANGE.format(value=0x48) + "sei\nloop: rjmp loop\n"
        + "bark: lds r20,WDTCSR\nout GPIOR1,r20\nout GPIOR0,r16\nreti\n"
    )  # fmt: skip
    arguments = []
    for _ in range(3):
        marks(chip, 1)
        arguments.append(chip.mark_argument & 255)
    assert arguments == [1, 0x08, 1 | 8]


@pytest.mark.parametrize(("nops", "changed"), [(0, True), (1, True), (2, False)])
def test_the_change_must_follow_within_four_cycles(nops: int, changed: bool) -> None:
    """STS of WDCE ends the window's cycle 0; LDI and STS of the new value end in cycle 3 plus the NOPs."""
    chip = boot(
        "ldi r17,0x18\nsts WDTCSR,r17\n" + "nop\n" * nops + "ldi r16,0x06\nsts WDTCSR,r16\nout GPIOR0,r16\n"
    )
    marks(chip, 1)
    assert chip.read_data(WDTCSR, 1)[0] & 0x2F == (0x06 if changed else 0x08)


def test_it_cannot_be_stopped_while_wdrf_is_set() -> None:
    chip = boot(
        "in r20,MCUSR\nsbrs r20,3\nrjmp first\n" + CHANGE.format(value=0) + "lds r21,WDTCSR\n"
        "clr r0\nout MCUSR,r0\n"
        + CHANGE.format(value=0) + "lds r22,WDTCSR\nout GPIOR0,r16\nfirst: "
        + CHANGE.format(value=8) + "loop: rjmp loop\n"
    )  # fmt: skip
    marks(chip, 1)
    assert list(chip.read_data(21, 2)) == [8, 0]


def test_causes_add_up_until_power_on() -> None:
    chip = boot("loop: rjmp loop\n")
    seen = [chip.read_data(MCUSR, 1)[0]]
    for cause in (ResetCause.EXTERNAL, ResetCause.BROWN_OUT, ResetCause.POWER_ON):
        chip.reset(cause)
        chip.run(chip.cycle + RESET_START_UP + 10)
        seen.append(chip.read_data(MCUSR, 1)[0])
    assert seen == [1, 3, 7, 1]
