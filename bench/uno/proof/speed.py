"""How fast firmware runs on our core, interpreted and translated, beside simavr: `measure()`.

All run the same images on this host, one after the other, several times in turn. Time is the CPU time of the
process that runs the firmware, from the firmware's first mark (GPIOR0 = 1) to its last (GPIOR0 = 2): not
building, translating or starting. simavr (GPL) is a process of its own, built at run time against the Debian
package libsimavr-dev and tuned: see `workloads/simavr_runner.c`.
"""

import enum
import platform
import resource
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.uno.atmega328p import CLOCK_HZ, EEPROM_BYTES, MAX_CYCLE, Atmega328p, Pin, Stop
from bench.uno.build import build_firmware, build_library_image
from bench.uno.image import FirmwareImage
from bench.uno.proof.lockstep import Simavr
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.uno.translation.library import translate
from bench.uno.workshop.sketch import build_sketch

SOURCES: Final = Path(__file__).parent / "workloads"
RUNNER_SOURCE: Final = SOURCES / "simavr_runner.c"
SIMAVR_ABSENT: Final = (
    "simavr is not installed; install it with: apt-get install gcc libsimavr-dev libsimavr2 libelf-dev"
)
OURS_ALONE: Final = "ours only: simavr plays no pulses"

_BEGIN_MARK: Final = 1
_END_MARK: Final = 2
_TIMEOUT_S: Final = 600
_ANSWER: Final = struct.Struct("<QQ")
_CYCLES_MAY_DIFFER_PPM: Final = 1000
"""Entry to interrupts and EEPROM reads cost nothing in simavr: see DIFFERENCES.md."""

_HASHES: Final = 3_000
_SEALS: Final = 8_000
_WAKE_UPS: Final = 1_000_000
_WAKE_UPS_ALL_TIMERS: Final = 50_000
_METERING_S: Final = 65_000

_METER_PINS: Final = (Pin.PD3, Pin.PD4, Pin.PD5, Pin.PD6)
_PULSE_PERIOD_CYCLES: Final = 36 * CLOCK_HZ // 10
"""1 kW at 1000 pulses per kWh."""
_PULSE_WIDTH_CYCLES: Final = 30 * CLOCK_HZ // 1000
_SX1278_VERSION: Final = 0x12


class SpeedError(RuntimeError):
    """The figures cannot be had, or engines did different work; the message says what and why."""


class Engine(enum.StrEnum):
    """What runs the firmware."""

    INTERPRETER = "interpreter"
    TRANSLATION = "translation"
    SIMAVR = "simavr"


@dataclass(frozen=True, slots=True)
class Workload:
    """Firmware that marks its beginning and end, and leaves what it computed at the symbol `result`."""

    name: str
    image: FirmwareImage
    eeprom: bytes
    result: str = "result"
    edges: Mapping[Pin, Sequence[int]] | None = None
    """Cycles at which a pin that idles high is pulled low and let go in turn. Not for simavr."""

    @property
    def for_simavr(self) -> bool:
        """Whether it runs on simavr as well."""
        return self.edges is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run, from mark to mark."""

    cycles: int
    cpu_ns: int
    result: bytes


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """A workload on an engine; figures are None where there is none, and `note` says why."""

    workload: str
    engine: Engine
    cycles: int | None = None
    cpu_ns: int | None = None
    """The median of the runs."""
    ratio_to_simavr: float | None = None
    """How many times as fast as simavr in the same run of the bench."""
    result: str | None = None
    """What the firmware computed, in hex: the same for every engine."""
    note: str = ""

    @property
    def simulated_mhz(self) -> float | None:
        """Cycles of the chip per microsecond of CPU time, those asleep included."""
        if self.cycles is None or self.cpu_ns is None:
            return None
        return self.cycles * 1000 / self.cpu_ns

    @property
    def times_real_time(self) -> float | None:
        """Seconds of the chip per second of CPU time."""
        return None if self.simulated_mhz is None else self.simulated_mhz * 1_000_000 / CLOCK_HZ


def host() -> str:
    """What the figures are of, as a label."""
    return f"real host, {_cpu_model()}, one core"


def measure(runs: int = 5, divisor: int = 1) -> list[SpeedRow]:
    """A row for each workload and engine, medians of `runs`; `divisor` makes each workload that much smaller.

    Raises SpeedError and BuildError.
    """
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        simavr = built_runner(Path(folder))
        return [row for workload in workloads(divisor) for row in _rows(workload, simavr, runs)]


def workloads(divisor: int = 1) -> list[Workload]:
    """What is run, built by avr-gcc where it is not in the cache."""
    sleeper = build_sketch(SOURCES / "sleeper/sleeper.ino")
    metering_s = max(1, _METERING_S // divisor)
    return [
        Workload(
            "BLAKE2s in C",
            build_library_image("speed-hash", SOURCES / "hash.c", []),
            _amount(_HASHES // divisor),
        ),
        Workload(
            "Ascon-AEAD128",
            build_library_image("speed-seal", SOURCES / "seal.c", ["ascon.c", "ascon_permutation.S"]),
            _amount(_SEALS // divisor),
        ),
        # Arduino's core leaves Timer1 and Timer2 in phase correct PWM, of which simavr makes an event each
        # timer clock (DIFFERENCES.md). A sketch as it is meets that; the one without is the fair comparison.
        Workload("Arduino sleeper, Timer0", sleeper, _amount(_WAKE_UPS // divisor, 0)),
        Workload("Arduino sleeper, Timer0-2", sleeper, _amount(_WAKE_UPS_ALL_TIMERS // divisor, 1)),
        Workload(
            "metering sleeper, 4 S0",
            build_firmware(),
            # BOOT is mark 1, SNAPSHOT 2: nothing is due to be sent before the run is over.
            eeprom_image(Provisioning(uno_id=1, key=bytes(16), interval_s=metering_s)),
            result="frame_plaintext",
            edges={pin: _pulse_edges(metering_s) for pin in _METER_PINS},
        ),
    ]


def run_on_core(workload: Workload, engine: Engine) -> Outcome:
    """One run on our core in this process. Raises SpeedError."""
    image = workload.image
    translation = translate(image.flash) if engine is Engine.TRANSLATION else None
    chip = Atmega328p(image.flash, workload.eeprom, translation)
    for pin, edges in (workload.edges or {}).items():
        chip.set_pin(pin, True)
        chip.schedule_edges(pin, edges, first_high=False)
    _run_to_mark(chip, _BEGIN_MARK, workload)
    begin_cycle, begin_ns = chip.cycle, _cpu_ns()
    _run_to_mark(chip, _END_MARK, workload)
    end_ns = _cpu_ns()
    place = image.symbol(workload.result)
    return Outcome(chip.cycle - begin_cycle, end_ns - begin_ns, chip.read_data(place.address, place.size))


def run_on_simavr(workload: Workload, runner: Path) -> Outcome:
    """One run on simavr, by the program built from `RUNNER_SOURCE`. Raises SpeedError."""
    flash, place = workload.image.flash, workload.image.symbol(workload.result)
    request = struct.pack("<IHH", len(flash), place.address, place.size) + flash + workload.eeprom
    try:
        finished = subprocess.run(
            [runner], input=request, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SpeedError(f"{workload.name}: simavr did not come to the end in {_TIMEOUT_S} s") from None
    if finished.returncode or len(finished.stdout) != _ANSWER.size + place.size:
        raise SpeedError(
            f"{workload.name}: simavr ended with exit code {finished.returncode} before the last mark"
        )
    cycles, cpu_ns = _ANSWER.unpack_from(finished.stdout)
    return Outcome(cycles, cpu_ns, finished.stdout[_ANSWER.size :])


def built_runner(folder: Path) -> Path | None:
    """The program that runs simavr; None where simavr is not installed."""
    if not Simavr.is_installed():
        return None
    runner = folder / "simavr_runner"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(runner), str(RUNNER_SOURCE), "-lsimavr"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SpeedError(f"the runner for simavr does not build:\n{built.stderr.strip()}")
    return runner


def _rows(workload: Workload, simavr: Path | None, runs: int) -> Iterator[SpeedRow]:
    engines: dict[Engine, Callable[[], Outcome]] = {
        Engine.INTERPRETER: lambda: run_on_core(workload, Engine.INTERPRETER)
    }
    notes: dict[Engine, str] = {}
    translation = translate(workload.image.flash)
    if translation.library is None:
        notes[Engine.TRANSLATION] = translation.note
    else:
        engines[Engine.TRANSLATION] = lambda: run_on_core(workload, Engine.TRANSLATION)
    if not workload.for_simavr:
        notes[Engine.SIMAVR] = OURS_ALONE
    elif simavr is None:
        notes[Engine.SIMAVR] = SIMAVR_ABSENT
    else:
        engines[Engine.SIMAVR] = lambda: run_on_simavr(workload, simavr)

    outcomes: dict[Engine, list[Outcome]] = {engine: [] for engine in engines}
    for _ in range(runs):
        for engine, run in engines.items():
            outcomes[engine].append(run())
    check_same_work(workload.name, outcomes)
    medians = {
        engine: round(statistics.median(outcome.cpu_ns for outcome in made))
        for engine, made in outcomes.items()
    }
    for engine in Engine:
        if engine in notes:
            yield SpeedRow(workload.name, engine, note=notes[engine])
            continue
        reference = medians.get(Engine.SIMAVR)
        yield SpeedRow(
            workload.name,
            engine,
            outcomes[engine][0].cycles,
            medians[engine],
            None if reference is None else reference / medians[engine],
            outcomes[engine][0].result.hex(),
        )


def check_same_work(name: str, outcomes: Mapping[Engine, Sequence[Outcome]]) -> None:
    """Raises SpeedError unless each run computed the same in as many cycles; 0.1 % is granted to simavr."""
    reference = outcomes[Engine.INTERPRETER][0]
    for engine, made in outcomes.items():
        granted = reference.cycles * _CYCLES_MAY_DIFFER_PPM // 1_000_000 if engine is Engine.SIMAVR else 0
        for outcome in made:
            if outcome.result != reference.result or abs(outcome.cycles - reference.cycles) > granted:
                raise SpeedError(
                    f"{name}: {engine} computed {outcome.result.hex()} in {outcome.cycles} cycles, "
                    f"interpreter {reference.result.hex()} in {reference.cycles}: not the same work"
                )


def _run_to_mark(chip: Atmega328p, code: int, workload: Workload) -> None:
    while True:
        stop = chip.run(MAX_CYCLE)
        if stop is Stop.MARK and chip.mark_code == code:
            return
        if stop is Stop.SPI:
            # As much of a radio as the metering firmware needs to find one and leave it asleep.
            chip.spi_reply(_SX1278_VERSION)
        elif stop in (Stop.FAULT, Stop.HALT, Stop.LIMIT):
            fault = chip.fault
            why = stop.name.lower() if fault is None else f"{fault.kind} at 0x{fault.program_counter:04x}"
            raise SpeedError(f"{workload.name}: stopped before mark {code}: {why}, cycle {chip.cycle}")


def _amount(count: int, *others: int) -> bytes:
    return (max(1, count).to_bytes(4, "little") + bytes(others)).ljust(EEPROM_BYTES, b"\xff")


def _pulse_edges(duration_s: int) -> list[int]:
    falls = range(CLOCK_HZ, duration_s * CLOCK_HZ, _PULSE_PERIOD_CYCLES)
    return [cycle for fall in falls for cycle in (fall, fall + _PULSE_WIDTH_CYCLES)]


def _cpu_ns() -> int:
    """CPU time of this process so far; the kernel tells it in microseconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round((usage.ru_utime + usage.ru_stime) * 1_000_000) * 1000


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
