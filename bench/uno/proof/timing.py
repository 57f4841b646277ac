"""What the emulated chip takes for each operation, against the datasheet: `measure()`.

Each row is measured by firmware on the core itself. The probes in `probes/` are whole flash images that would
run on a Uno just so; they tell instants by writing GPIOR0, and the cycle of such a mark is exact. What lies
between two marks besides the operation is known instruction by instruction, and is subtracted. Every figure
of the datasheet is worked out here from its formula, never from the core.

Datasheet: DS40002061 (ATmega48A/PA/88A/PA/168A/PA/328/P), quoted by the titles of its sections and tables.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from bench.uno.atmega328p import Atmega328p, Fault, Stop
from bench.uno.core.assembly import assemble
from bench.uno.proof.timing_instruction import CASES, Case

PROBES: Final = Path(__file__).parent / "probes"

HANDLER_CYCLES: Final = 8
"""From a flag to the end of the handler's mark with the CPU on NOPs: entry 4, JMP 3, OUT 1."""
WAKING_CYCLES: Final = HANDLER_CYCLES + 4
"""The same from idle or ADC noise reduction sleep, which adds 4 ("Interrupt Response Time")."""
ENTRY_CYCLES: Final = 4
WATCHDOG_TICK_CYCLES: Final = 125
"""16 MHz over the watchdog oscillator's nominal 128 kHz."""
CYCLES_PER_MS: Final = 16_000
START_UP_CYCLES: Final = 16 * 1024
"""From power-down with the Uno's fuses, CKSEL 1111 and SUT 11: 16K CK."""
RESET_START_UP_CYCLES: Final = 14 + 65 * CYCLES_PER_MS
"""The same after a reset: 14 CK + 65 ms."""

_RESPONSE = '"Interrupt Response Time"'
_RUN_LIMIT_CYCLES = 1 << 34


class TimingError(RuntimeError):
    """The probes cannot be built, or one did not do what it is there for; the message says which and why."""


@dataclass(frozen=True, slots=True)
class TimingRow:
    """One operation: cycles of 16 MHz by the datasheet and as measured, and where the datasheet says so."""

    operation: str
    datasheet_cycles: int
    measured_cycles: int
    source: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One write of GPIOR0: the cycle at which it ended, and GPIOR2 << 8 | GPIOR1."""

    cycle: int
    argument: int


def _assembled(source: str) -> bytes:
    if shutil.which("avr-gcc") is None:
        raise TimingError(
            "avr-gcc is not installed; install it with: apt-get install gcc-avr avr-libc binutils-avr"
        )
    return assemble((PROBES / "probe.S").read_text() + source)


@cache
def _program(probe: str, definitions: str) -> bytes:
    return _assembled(f"{definitions}{(PROBES / f'{probe}.S').read_text()}\nparameters:\n")


def run_on_core(probe: str, flash: bytes, count: int) -> list[Mark]:
    """Runs the flash image of a probe on our core to its first `count` marks. Raises TimingError."""
    chip = Atmega328p(flash)
    marks: list[Mark] = []
    while len(marks) < count:
        stop = chip.run(_RUN_LIMIT_CYCLES)
        if stop is Stop.MARK:
            marks.append(Mark(chip.cycle, chip.mark_argument))
        elif stop in (Stop.LIMIT, Stop.HALT, Stop.FAULT):
            raise TimingError(
                f"probe {probe} ended after {len(marks)} of {count} marks: {_why(stop, chip.fault)}"
            )
    return marks


def _why(stop: Stop, fault: Fault | None) -> str:
    if fault is None:
        return f"{stop.name.lower()} reached"
    return f"{fault.kind} at 0x{fault.program_counter:04x}, cycle {fault.cycle}"


Runner = Callable[[str, bytes, int], list[Mark]]
"""What runs a probe, by name and flash image, to so many marks: our core, or one to compare it with."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes, built when first asked for, on something that runs them."""

    run: Runner = run_on_core

    def marks(self, probe: str, parameters: Sequence[int], count: int, definitions: str = "") -> list[Mark]:
        """The first `count` marks of a probe, run with these bytes as its parameters. Raises TimingError."""
        return self.run(probe, _program(probe, definitions) + bytes(parameters), count)


def _between(marks: Sequence[Mark], first: int, second: int) -> int:
    return marks[second].cycle - marks[first].cycle


# ---- instructions ----------------------------------------------------------------------------------------


def _instruction_source(cases: Sequence[Case]) -> str:
    return "begin\n" + "\n".join(f"{case.setting}\nmark\n{case.code}\nmark\n" for case in cases)


def _instructions(probes: Probes) -> Iterator[TimingRow]:
    flash = _assembled(_instruction_source(CASES))
    marks = probes.run("instructions", flash, 2 * len(CASES))
    for n, case in enumerate(CASES):
        own_mark = 1
        yield TimingRow(
            case.operation,
            case.cycles,
            _between(marks, 2 * n, 2 * n + 1) - own_mark,
            '"Instruction Set Summary"',
        )


# ---- interrupts, sleep and watchdog ----------------------------------------------------------------------


def _interrupts(probes: Probes) -> Iterator[TimingRow]:
    marks = probes.marks("interrupt", (), 3)
    sei_nop_jump_mark = 1 + 1 + 3 + 1
    yield TimingRow(
        "interrupt entry, waiting since before SEI",
        ENTRY_CYCLES,
        _between(marks, 0, 1) - sei_nop_jump_mark,
        _RESPONSE,
    )
    yield TimingRow("return from interrupt", 4, _between(marks, 1, 2) - 1, _RESPONSE)
    for operation, match, datasheet in (
        ("interrupt entry, requested between instructions", 20, ENTRY_CYCLES),
        ("interrupt entry, requested in the first cycle of a CALL", 41, 3 + ENTRY_CYCLES),
        ("interrupt entry, requested in the third cycle of a CALL", 43, 1 + ENTRY_CYCLES),
    ):
        marks = probes.marks("timer_compare", (match,), 2)
        jump_and_mark = 3 + 1
        yield TimingRow(operation, datasheet, _between(marks, 0, 1) - match - jump_and_mark, _RESPONSE)


_SLEEP_MODES: Final = (
    ("idle", 0, 0, "four cycles on top of the interrupt's four"),
    ("ADC noise reduction", 1, 0, "four cycles on top of the interrupt's four"),
    ("power-down", 2, START_UP_CYCLES, "start-up 16K CK by the Uno's fuses"),
    ("power-save", 3, START_UP_CYCLES, "start-up 16K CK by the Uno's fuses"),
    ("standby", 6, 6, "start-up 6 CK"),
    ("extended standby", 7, 6, "start-up 6 CK"),
)


def _watchdog_prescaler(select: int) -> int:
    """WDP3:0 as they lie in WDTCSR."""
    return select & 7 | (select & 8) << 2


def _wake_ups(probes: Probes) -> Iterator[TimingRow]:
    change, interrupt, period = 0x18, 0x40, 2048 * WATCHDOG_TICK_CYCLES
    for mode, code, start_up, why in _SLEEP_MODES:
        marks = probes.marks("sleep", (change, interrupt, code << 1 | 1), 2)
        jump_and_mark, own_mark = 3 + 1, 1
        yield TimingRow(
            f"interrupt entry from {mode}",
            start_up + 4 + ENTRY_CYCLES,
            _between(marks, 0, 1) + own_mark - period - jump_and_mark,
            f'{_RESPONSE}, "Sleep Modes", "Low Power Crystal Oscillator": {why}',
        )


def _watchdog(probes: Probes) -> Iterator[TimingRow]:
    source = '"Watchdog Timer Prescale Select", at the nominal 128 kHz'
    for select in range(10):
        period = (2048 << select) * WATCHDOG_TICK_CYCLES
        marks = probes.marks("sleep", (0x18, 0x40 | _watchdog_prescaler(select), 1), 3)
        yield TimingRow(
            f"watchdog interrupt period, {2 << select}K cycles", period, _between(marks, 1, 2), source
        )
        marks = probes.marks("watchdog_reset", (0x18, 0x08 | _watchdog_prescaler(select)), 2)
        jump_clear_in_skip_jump_mark, own_mark = 3 + 1 + 1 + 1 + 2 + 1, 1
        yield TimingRow(
            f"watchdog reset after {2 << select}K cycles, to the first instruction",
            period + RESET_START_UP_CYCLES,
            _between(marks, 0, 1) + own_mark - jump_clear_in_skip_jump_mark,
            f'{source}; "Start-up Times for the Low Power Crystal Oscillator": 14 CK + 65 ms',
        )


_PORT_PINS: Final = ((0, 0), (1, 3), (2, 7))


def _pin_interrupts(probes: Probes) -> Iterator[TimingRow]:
    to_edge = 2
    jump_and_mark = 3 + 1
    for n, pin in ((0, 4), (1, 8)):
        for name, sense, before in (("rising", 3, 0), ("falling", 2, pin), ("any, rising", 1, 0)):
            parameters = (sense << 2 * n, 1 << n, 0, 0, 0, 0, 0, 0, before, 0, 0, before ^ pin)
            marks = probes.marks("pin_interrupt", parameters, 2, "#define PORT 2\n")
            yield TimingRow(
                f"INT{n} edge ({name}) to interrupt entry done",
                2 + ENTRY_CYCLES,
                _between(marks, 0, 1) - to_edge - jump_and_mark,
                f'"External Interrupts": sampled before edges are detected, taken as 2; {_RESPONSE}: 4',
            )
    for port, bit in _PORT_PINS:
        masks, levels, after = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        masks[port] = after[port] = 1 << bit
        registers = (0, 0, 1 << port, *masks, *levels, *after)
        marks = probes.marks("pin_interrupt", registers, 2, f"#define PORT {port}\n")
        yield TimingRow(
            f"pin change on port {'BCD'[port]} to interrupt entry done",
            3 + ENTRY_CYCLES,
            _between(marks, 0, 1) - to_edge - jump_and_mark,
            f'figure "Timing of pin change interrupts": 3; {_RESPONSE}: 4',
        )


# ---- USART -----------------------------------------------------------------------------------------------

_PARITY: Final = {"N": 0, "E": 2, "O": 3}


def _usart_frame(
    probes: Probes,
    frame_format: tuple[int, str, int],
    baud: int,
    double_speed: bool,
    enables: int,
    byte_count: int,
) -> int:
    """Cycles from the first write of UDR0 to the interrupt asked for."""
    size, parity, stop_bits = frame_format
    size_code = 7 if size == 9 else size - 5
    control_c = _PARITY[parity] << 4 | (stop_bits - 1) << 3 | (size_code & 3) << 1
    parameters = (baud >> 8, baud & 255, double_speed << 1, control_c, enables | size_code & 4, byte_count)
    from_first_write = 1 if byte_count == 1 else 3
    return _between(probes.marks("usart", parameters, 2), 0, 1) + from_first_write - WAKING_CYCLES


def _usart(probes: Probes) -> Iterator[TimingRow]:
    transmit_complete, buffer_empty = 0x48, 0x28
    formats = [(size, parity, stop) for size in (5, 6, 7, 8, 9) for parity in "NEO" for stop in (1, 2)]
    settings = [(frame_format, 8) for frame_format in formats]
    settings += [((8, "N", 1), baud) for baud in (0, 1, 16, 103, 4095)]
    for double_speed in (False, True):
        for frame_format, baud in settings:
            size, parity, stop_bits = frame_format
            bit = (8 if double_speed else 16) * (baud + 1)
            frame = (1 + size + (parity != "N") + stop_bits) * bit
            source = '"Frame Formats", "Equations for Calculating Baud Rate Register Setting"'
            yield TimingRow(
                f"USART frame {size}{parity}{stop_bits}, UBRR {baud}, U2X {int(double_speed)}",
                frame,
                _usart_frame(probes, frame_format, baud, double_speed, transmit_complete, 1),
                source,
            )
        frame = 10 * (8 if double_speed else 16) * 9
        source = '"Data Transmission - The USART Transmitter": one frame shifts while one waits in the buffer'
        yield TimingRow(
            f"USART buffer empty again after two bytes 8N1, UBRR 8, U2X {int(double_speed)}",
            frame,
            _usart_frame(probes, (8, "N", 1), 8, double_speed, buffer_empty, 2),
            source,
        )
        yield TimingRow(
            f"USART two bytes 8N1 back to back, UBRR 8, U2X {int(double_speed)}",
            2 * frame,
            _usart_frame(probes, (8, "N", 1), 8, double_speed, transmit_complete, 2),
            source,
        )


# ---- SPI and TWI -----------------------------------------------------------------------------------------

_SPI_DIVIDERS: Final = (
    (0, 0, 4),
    (0, 1, 16),
    (0, 2, 64),
    (0, 3, 128),
    (1, 0, 2),
    (1, 1, 8),
    (1, 2, 32),
    (1, 3, 64),
)


def _spi(probes: Probes) -> Iterator[TimingRow]:
    for double_speed, rate, divider in _SPI_DIVIDERS:
        marks = probes.marks("spi", (double_speed, 0xD0 | rate), 2)
        own_mark = 1
        yield TimingRow(
            f"SPI byte at f/{divider}, SPI2X {double_speed}",
            8 * divider,
            _between(marks, 0, 1) + own_mark - WAKING_CYCLES,
            '"Relationship Between SCK and the Oscillator Frequency"; eight SCK a byte',
        )


def _twi(probes: Probes) -> Iterator[TimingRow]:
    for bit_rate, prescaler in ((72, 0), (12, 0), (32, 1), (10, 2), (255, 3)):
        marks = probes.marks("twi", (bit_rate, prescaler), 4)
        mark_to_write = 2 + 2
        yield TimingRow(
            f"TWI byte and its acknowledge, TWBR {bit_rate}, TWPS {prescaler}",
            9 * (16 + 2 * bit_rate * 4**prescaler),
            _between(marks, 2, 3) - mark_to_write - WAKING_CYCLES,
            '"Bit Rate Generator Unit"; nine SCL a byte',
        )


# ---- ADC -------------------------------------------------------------------------------------------------

_ADC_DIVIDERS: Final = {0: 2, 1: 2, 2: 4, 3: 8, 4: 16, 5: 32, 6: 64, 7: 128}


def _adc(probes: Probes) -> Iterator[TimingRow]:
    enable, start, automatic, flag, interrupt = 0x80, 0x40, 0x20, 0x10, 0x08
    source = '"ADC Conversion Time", "Prescaling and Conversion Timing"'
    for select, divider in _ADC_DIVIDERS.items():
        clock = f"ADPS {select} (f/{divider})"
        on = enable | interrupt | select
        marks = probes.marks("adc_single", (on, on | start, 1), 4)
        first, normal = (_between(marks, n, n + 1) - WAKING_CYCLES for n in (0, 2))
        yield TimingRow(f"ADC first conversion, {clock}", 25 * divider, first, source)
        yield TimingRow(f"ADC conversion, {clock}", 13 * divider, normal, source)

        marks = probes.marks("adc_sleep", (on, 0, 1 << 1 | 1), 4)
        mark_to_start = 2
        first, normal = (_between(marks, n, n + 1) - mark_to_start - WAKING_CYCLES for n in (0, 2))
        asleep = f'{source}, "ADC Noise Canceler"'
        yield TimingRow(
            f"ADC first conversion in noise reduction sleep, {clock}", 25 * divider, first, asleep
        )
        yield TimingRow(f"ADC conversion in noise reduction sleep, {clock}", 13 * divider, normal, asleep)

        marks = probes.marks("adc_free_running", (on | start | automatic,), 4)
        yield TimingRow(
            f"ADC free running, from result to result, {clock}", 13 * divider, _between(marks, 2, 3), source
        )

        marks = probes.marks("adc_trigger", (enable | start | select, on | automatic | flag), 2)
        yield TimingRow(
            f"ADC auto-triggered conversion, from the trigger's flag, {clock}",
            3 + 27 * divider // 2,
            _between(marks, 0, 1),
            f"{source}: 13.5 ADC clocks, and three CPU clocks for synchronisation",
        )


# ---- EEPROM ----------------------------------------------------------------------------------------------


def _eeprom(probes: Probes) -> Iterator[TimingRow]:
    enable = 0x04
    for name, mode, tenths_of_ms in (
        ("erase and write", 0x00, 34),
        ("erase only", 0x10, 18),
        ("write only", 0x20, 18),
    ):
        marks = probes.marks("eeprom_write", (enable | mode,), 3)
        out, mark = 1, 1
        yield TimingRow(
            f"EEPROM {name}",
            tenths_of_ms * CYCLES_PER_MS // 10,
            _between(marks, 0, 2) - out - WAKING_CYCLES,
            '"EEPROM Mode Bits"',
        )
        yield TimingRow(
            f"EEPROM {name}, CPU halted", 2, _between(marks, 0, 1) - out - mark, '"EEPROM Read/Write Access"'
        )
    marks = probes.marks("eeprom_read", (), 2)
    set_bit, mark = 2, 1
    yield TimingRow(
        "EEPROM read, CPU halted", 4, _between(marks, 0, 1) - set_bit - mark, '"EEPROM Read/Write Access"'
    )


# ---- timers ----------------------------------------------------------------------------------------------

_PRESCALERS: Final = {1: 1, 2: 8, 3: 64, 4: 256, 5: 1024}
_PRESCALERS_TIMER2: Final = {1: 1, 2: 8, 3: 32, 4: 64, 5: 128, 6: 256, 7: 1024}
_OVERFLOW, _COMPARE_A, _CAPTURE = 0x01, 0x02, 0x20


def _timers_of_eight_bits(probes: Probes) -> Iterator[TimingRow]:
    """Modes by WGM2:0: counter clocks in a period, with OCRnA = 99."""
    compare = 99
    modes = (
        ("normal", 0, _OVERFLOW, 256),
        ("CTC", 2, _COMPARE_A, compare + 1),
        ("fast PWM, TOP 0xFF", 3, _OVERFLOW, 256),
        ("fast PWM, TOP OCRA", 7, _OVERFLOW, compare + 1),
        ("phase correct PWM, TOP 0xFF", 1, _OVERFLOW, 510),
        ("phase correct PWM, TOP OCRA", 5, _OVERFLOW, 2 * compare),
    )
    for timer, prescalers in ((0, _PRESCALERS), (2, _PRESCALERS_TIMER2)):
        for name, waveform, mask, period in modes:
            for select, prescaler in prescalers.items():
                parameters = (waveform & 3, (waveform & 4) << 1 | select, compare, mask)
                marks = probes.marks("timer8", parameters, 4, f"#define TIMER {timer}\n")
                yield TimingRow(
                    f"Timer{timer} period, {name}, prescaler {prescaler}",
                    period * prescaler,
                    _between(marks, 2, 3),
                    '"8-bit Timer/Counter" (0, 2): "Modes of Operation", "Clock Select Bit Description"',
                )


def _timer_of_sixteen_bits(probes: Probes) -> Iterator[TimingRow]:
    """Modes by WGM13:0: counter clocks in a period, with OCR1A = 999 and ICR1 = 1499."""
    compare, capture = 999, 1499
    modes = (
        ("normal", 0, _OVERFLOW, 65536),
        ("CTC, TOP OCR1A", 4, _COMPARE_A, compare + 1),
        ("CTC, TOP ICR1", 12, _CAPTURE, capture + 1),
        ("fast PWM, 8 bits", 5, _OVERFLOW, 256),
        ("fast PWM, 9 bits", 6, _OVERFLOW, 512),
        ("fast PWM, 10 bits", 7, _OVERFLOW, 1024),
        ("fast PWM, TOP ICR1", 14, _OVERFLOW, capture + 1),
        ("fast PWM, TOP OCR1A", 15, _OVERFLOW, compare + 1),
        ("phase correct PWM, 8 bits", 1, _OVERFLOW, 510),
        ("phase correct PWM, 9 bits", 2, _OVERFLOW, 1022),
        ("phase correct PWM, 10 bits", 3, _OVERFLOW, 2046),
        ("phase correct PWM, TOP ICR1", 10, _OVERFLOW, 2 * capture),
        ("phase correct PWM, TOP OCR1A", 11, _OVERFLOW, 2 * compare),
        ("phase and frequency correct PWM, TOP ICR1", 8, _OVERFLOW, 2 * capture),
        ("phase and frequency correct PWM, TOP OCR1A", 9, _OVERFLOW, 2 * compare),
    )
    for name, waveform, mask, period in modes:
        for select, prescaler in _PRESCALERS.items():
            registers = (*compare.to_bytes(2, "big"), *capture.to_bytes(2, "big"))
            parameters = (waveform & 3, (waveform & 12) << 1 | select, *registers, mask)
            yield TimingRow(
                f"Timer1 period, {name}, prescaler {prescaler}",
                period * prescaler,
                _between(probes.marks("timer16", parameters, 4), 2, 3),
                '"16-bit Timer/Counter1 with PWM": "Modes of Operation", "Clock Select Bit Description"',
            )


def _input_capture(probes: Probes) -> Iterator[TimingRow]:
    for edge, edge_select, before in (("rising", 0x40, 0), ("falling", 0x00, 1)):
        for name, canceler, delay in (("", 0x00, 0), (", noise canceler", 0x80, 4)):
            (mark,) = probes.marks("capture", (edge_select | canceler | 1, before), 1)
            read_to_edge = 3
            yield TimingRow(
                f"input capture, {edge} edge to the captured count{name}",
                3 + delay,
                ((mark.argument >> 8) - mark.argument - read_to_edge) & 0xFF,
                '"External Clock Source": 2.5 to 3.5, so 3 from a clock edge; "Noise Canceler": 4 more',
            )


_FAMILIES: Final = (
    *(_instructions, _interrupts, _wake_ups, _watchdog, _pin_interrupts, _usart, _spi, _twi, _adc, _eeprom),
    *(_timers_of_eight_bits, _timer_of_sixteen_bits, _input_capture),
)


def measure(run: Runner = run_on_core) -> list[TimingRow]:
    """Every row, in a fixed order. Raises TimingError when avr-gcc is missing or a probe goes astray."""
    return [row for family in _FAMILIES for row in family(Probes(run))]
