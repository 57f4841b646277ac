"""`bench uno`: run any Arduino image on the emulated board."""

import enum
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from bench.uno.atmega328p import CLOCK_HZ, EEPROM_BYTES, MAX_CYCLE
from bench.uno.build import BuildError
from bench.uno.image import FirmwareImage, ImageError, load_image
from bench.uno.translation.library import translate
from bench.uno.workshop.board import Board, SignalError
from bench.uno.workshop.defect import SleepWatch
from bench.uno.workshop.inspection import InspectedAtmega328p
from bench.uno.workshop.pins import PinError
from bench.uno.workshop.profile import profile_of
from bench.uno.workshop.sketch import build_sketch
from bench.uno.workshop.value_change_dump import ValueChangeDump
from bench.workshop.figures import speed, timing
from bench.workshop.gdb_port import GdbPort, PortError
from bench.workshop.notation import analog_signal, pulse_train
from bench.workshop.pace import AsFastAsItGoes, Pace, WallClock
from bench.workshop.profile_table import print_profile
from bench.workshop.readable_names import with_readable_names
from bench.workshop.serial_line import Nothing, PseudoTerminal, SerialLine, Terminal
from bench.workshop.session import FirmwareError, Session
from bench.workshop.silent_radio import silent_radio
from bench.world.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(help="The emulated Uno on its own.", no_args_is_help=True)


class PaceName(enum.StrEnum):
    """What virtual time keeps pace with."""

    REAL = "real"
    FAST = "fast"


class SerialName(enum.StrEnum):
    """What the serial port is connected to."""

    TERMINAL = "terminal"
    PTY = "pty"
    NONE = "none"


class WorkshopError(RuntimeError):
    """Something around the board is not as it should be; the message says what."""


_TOLD = (BuildError, FirmwareError, ImageError, PinError, PortError, SignalError, WorkshopError)


@app.callback()
def uno() -> None:
    """The emulated Uno on its own."""


@app.command()
def run(
    image: Annotated[Path, typer.Argument(help="Intel HEX, ELF, or a sketch (.ino).", metavar="IMAGE")],
    library: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of Arduino libraries that a sketch needs; repeatable.", metavar="DIR"),
    ] = None,
    seconds: Annotated[
        str | None, typer.Option(help="Virtual time to run; without it until interrupted.", metavar="S")
    ] = None,
    pace: Annotated[
        PaceName, typer.Option(help="With the wall clock, or as fast as it goes.")
    ] = PaceName.REAL,
    serial: Annotated[
        SerialName, typer.Option(help="Serial port on this terminal, a new pty, or nothing.")
    ] = SerialName.TERMINAL,
    eeprom: Annotated[
        Path | None, typer.Option(help="EEPROM, read before and written after.", metavar="FILE")
    ] = None,
    radio: Annotated[
        bool, typer.Option("--radio", help="An SX1278, wired as in firmware/README.md.")
    ] = False,
    pulse: Annotated[
        list[str] | None, typer.Option(help="S0 pulses per second on a pin.", metavar="D3=1.5")
    ] = None,
    analog: Annotated[
        list[str] | None, typer.Option(help="Volts, or with a sine on top A0=2.5+1.6@50.", metavar="A0=2.5")
    ] = None,
    gdb: Annotated[
        int | None,
        typer.Option(help="Wait for avr-gdb on this port of 127.0.0.1; 0: a free one.", metavar="PORT"),
    ] = None,
    vcd: Annotated[
        Path | None, typer.Option(help="Record the pins as a value change dump.", metavar="FILE")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Count cycles by function.")] = False,
    translated: Annotated[
        bool,
        typer.Option("--translated", help="Translate to native code first; only the speed changes."),
    ] = False,
    must_sleep: Annotated[
        bool, typer.Option("--must-sleep", help="Fail when the CPU is awake for a whole second.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end; serial output goes to stderr.")
    ] = False,
) -> None:
    """Run an Arduino image. Exits with 1 and says why when the firmware or something around it fails."""
    try:
        firmware = with_readable_names(_loaded(image, library or ()))
        until_cycle = _cycles(seconds)
        translation = translate(firmware.flash) if translated else None
        chip = InspectedAtmega328p(firmware.flash, _read_eeprom(eeprom), translation)
        simulation = Simulation()
        after_slice: list[Callable[[], None]] = []
        transceiver = None
        if radio:
            transceiver, trace = silent_radio(simulation, _tell)
            after_slice.append(trace.settle)
        board = Board(
            firmware,
            chip,
            simulation,
            transceiver,
            [pulse_train(text) for text in pulse or ()],
            [analog_signal(text) for text in analog or ()],
        )
        watches = [SleepWatch(chip, firmware)] if must_sleep else []
        session = Session(
            board, _serial_line(serial, as_json), _pace(pace), until_cycle, _tell, watches, after_slice
        )
        with ExitStack() as at_end:
            if profile:
                chip.start_profile()
            if as_json or profile:
                at_end.callback(_report, session, as_json=as_json, with_profile=profile)
            if vcd is not None:
                dump = ValueChangeDump(chip, at_end.enter_context(_created(vcd)).write)
                after_slice.append(dump.settle)
                at_end.callback(dump.close)
            if eeprom is not None:
                at_end.callback(lambda: _write_eeprom(eeprom, chip.eeprom))
            if gdb is None:
                session.run()
            else:
                GdbPort(gdb).serve(session, _tell)
    except _TOLD as error:
        _tell(str(error))
        raise typer.Exit(1) from None


app.command()(timing)
app.command()(speed)


def _tell(sentence: str) -> None:
    sys.stdout.flush()
    print(f"bench: {sentence}", file=sys.stderr, flush=True)


def _loaded(path: Path, libraries: Sequence[Path]) -> FirmwareImage:
    return build_sketch(path, libraries) if path.suffix == ".ino" else load_image(path)


def _cycles(seconds: str | None) -> int:
    if seconds is None:
        return MAX_CYCLE
    try:
        value = Decimal(seconds)
    except InvalidOperation:
        value = Decimal(0)
    if not (value.is_finite() and 0 < value <= 1_000_000_000):
        raise WorkshopError(f"--seconds: found {seconds!r}, expected a number of seconds above 0")
    return int(value * CLOCK_HZ)


def _pace(name: PaceName) -> Pace:
    return WallClock() if name is PaceName.REAL else AsFastAsItGoes()


def _serial_line(name: SerialName, as_json: bool) -> SerialLine:
    if name is SerialName.NONE:
        return Nothing()
    if name is SerialName.TERMINAL:
        return Terminal((sys.stderr if as_json else sys.stdout).buffer)
    line = PseudoTerminal()
    _tell(f"serial port at {line.path}")
    return line


def _created(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="ascii")
    except OSError as error:
        raise WorkshopError(f"{path}: cannot be written: {error.strerror}") from error


def _read_eeprom(path: Path | None) -> bytes:
    if path is None or not path.exists():
        return b"\xff" * EEPROM_BYTES
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkshopError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > EEPROM_BYTES:
        raise WorkshopError(
            f"{path}: has {len(content)} bytes, an ATmega328P's EEPROM {EEPROM_BYTES}; give its bare bytes"
        )
    return content.ljust(EEPROM_BYTES, b"\xff")


def _write_eeprom(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WorkshopError(f"{path}: cannot be written: {error.strerror}") from error


def _report(session: Session, *, as_json: bool, with_profile: bool) -> None:
    profile = profile_of(session.board.chip, session.board.image) if with_profile else None
    if as_json:
        summary = _summary(session)
        if profile is not None:
            summary["profile"] = profile.as_json()
        print(json.dumps(summary, indent=2))
    elif profile is not None:
        print_profile(profile, Console())


def _summary(session: Session) -> dict[str, Any]:
    chip, image = session.board.chip, session.board.image
    fault = chip.fault
    return {
        "image": image.name,
        "sha256": image.sha256,
        "cycles": chip.cycle,
        "active_cycles": chip.active_cycles,
        "reset_cycles": chip.reset_cycles,
        "sleep_cycles": {mode.name.lower(): cycles for mode, cycles in chip.sleep_cycles.items() if cycles},
        "lowest_stack": chip.lowest_stack,
        "fault": None
        if fault is None
        else {
            "kind": fault.kind,
            "program_counter": fault.program_counter,
            "symbol": image.symbol_at(fault.program_counter),
            "cycle": fault.cycle,
        },
    }
