"""The `bench` command."""

import errno
import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bench import run
from bench.calibration.command import calibrate_command
from bench.doctor import diagnose, render
from bench.errors import USER_ERRORS
from bench.paced.deploy_command import deploy_command
from bench.paced.rig import PacedRig
from bench.pi.emulated.command import app as pi
from bench.rig.loader import load_rig
from bench.rig.model import Rig
from bench.summary import summary_of
from bench.trial import TrialOutcome, TrialPlan, clear_directory, make_directory, run_trial
from bench.twin import Twins, compare, twins_document
from bench.uno.build import build_firmware
from bench.uno.image import load_image
from bench.workshop.command import app as uno
from bench.world.simulation import NS_PER_S

app = typer.Typer(
    help="A test bench for a DAG ledger on electricity-metering hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(uno, name="uno")
app.add_typer(pi, name="pi")
pi.command(name="deploy")(deploy_command)
app.command(name="calibrate")(calibrate_command)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

RigOption = Annotated[Path, typer.Option("--rig", help="Rig file (TOML).", metavar="FILE")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of all randomness of the run.")]


@app.command()
def trial(
    rig: RigOption,
    data: Annotated[
        Path | None, typer.Option(help="Data set (CSV) instead of the rig file's.", metavar="FILE")
    ] = None,
    hours: Annotated[str, typer.Option(help="Virtual time to judge, in hours.", metavar="H")] = "1",
    loss: Annotated[
        float | None, typer.Option(help="Share of radio packets lost besides collisions, 0 to 1.")
    ] = None,
    seed: SeedOption = 1,
    unos: Annotated[int | None, typer.Option(help="Unos per branch instead of the rig file's.")] = None,
    sensors: Annotated[int | None, typer.Option(help="Sensors per Uno instead of the rig file's.")] = None,
    interval: Annotated[
        int | None, typer.Option(help="Seconds between readings instead of the rig file's.")
    ] = None,
    firmware: Annotated[
        Path | None,
        typer.Option(help="ELF of a firmware of your own instead of the profile's.", metavar="FILE"),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where trace and ledgers are left.", metavar="DIR")] = Path(
        "build/trial"
    ),
    processes: Annotated[
        int,
        typer.Option(help="Processes to spread the branches over; no outcome depends on it.", min=1, max=256),
    ] = 1,
    translated: Annotated[
        bool,
        typer.Option(
            "--translated", help="Run the firmware translated to native code; no outcome depends on it."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run one trial: play a data set through a rig and account for every reading.

    Exits with 1 when a reading was altered or is missing without a known cause.
    """
    plan = TrialPlan(
        rig=_changed(load_rig(rig), data, loss, unos, sensors, interval),
        seed=seed,
        window_ns=_hours_ns(hours),
        directory=output,
        processes=processes,
        translated=translated,
    )
    outcome = _run_showing_progress(plan, firmware)
    if as_json:
        print(json.dumps(summary_of(outcome), indent=2))
    else:
        _print_summary(summary_of(outcome))
    if outcome.verdict.altered or outcome.verdict.unaccounted:
        raise typer.Exit(1)


@app.command()
def twin(
    rig: RigOption,
    minutes: Annotated[int, typer.Option(help="Time to judge, in minutes.", min=1, max=1440)] = 2,
    seed: SeedOption = 1,
    output: Annotated[Path, typer.Option(help="Where traces and ledgers are left.", metavar="DIR")] = Path(
        "build/twin"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Play one trial on a rig of ports and hosts and in virtual time: is the ledger's content the same?

    Exits with 1 when it is not.
    """
    there = load_rig(rig)
    if not there.is_paced:
        raise typer.BadParameter(f"{rig} is virtual, and so its own twin", param_hint="--rig")
    window_ns = minutes * 60 * NS_PER_S
    paced = _run_showing_progress(TrialPlan(there, seed, window_ns, output / "paced"), None)
    plan = TrialPlan(there.virtual_twin(), seed, window_ns, output / "virtual")
    twins = compare(_run_showing_progress(plan, None), paced)
    if as_json:
        print(json.dumps(twins_document(twins), indent=2))
    else:
        _print_twins(twins)
    if not twins.same:
        raise typer.Exit(1)


@app.command(name="run")
def run_suites(
    rig: RigOption = Path("rigs/virtual.toml"),
    seed: SeedOption = 1,
    report: Annotated[Path, typer.Option(help="Folder of the report.", metavar="DIR")] = Path("build/report"),
    short: Annotated[bool, typer.Option("--short", help="Short trials and a coarse search, for CI.")] = False,
) -> None:
    """Judge a rig by all suites and write the report: index.html (Allure) and capacity.json."""
    raise typer.Exit(run.run_suites(rig, seed, report, short=short))


@app.command()
def doctor(
    rig: Annotated[
        Path | None, typer.Option("--rig", help="Also check what this rig file needs.", metavar="FILE")
    ] = None,
) -> None:
    """Tell what is present, what is missing, and how to get it."""
    raise typer.Exit(render(diagnose(rig), Console()))


def main() -> None:
    """Entry point: what a user can mend is told in a sentence, without a traceback."""
    try:
        app()
    except USER_ERRORS as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = error.filename or "the folder that it writes to"
        print(f"bench: {where}: {error.strerror}; make room there, and run it again", file=sys.stderr)
        sys.exit(2)


def _changed(
    rig: Rig,
    data: Path | None,
    loss: float | None,
    unos: int | None,
    sensors: int | None,
    interval: int | None,
) -> Rig:
    return rig.with_changes(data=data, loss=loss, unos=unos, sensors_per_uno=sensors, interval_s=interval)


def _hours_ns(text: str) -> int:
    try:
        hours = Decimal(text)
    except InvalidOperation:
        hours = Decimal(0)
    if not (hours.is_finite() and 0 < hours <= 100_000):
        raise typer.BadParameter(f"found {text!r}, expected a number of hours above 0", param_hint="--hours")
    return int(hours * 3600 * NS_PER_S)


def _run_showing_progress(plan: TrialPlan, firmware: Path | None) -> TrialOutcome:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("building the firmware", total=None)
        image = build_firmware(plan.rig.branches[0].uno.profile) if firmware is None else load_image(firmware)
        progress.update(task, description=f"trial of {plan.rig.name!r}, seed {plan.seed}", total=1.0)

        def show(share: float) -> None:
            progress.update(task, completed=share)

        if not plan.rig.is_paced:
            return run_trial(plan, image, show)
        clear_directory(plan.directory)
        directory = plan.directory.resolve()
        directory = directory.with_name(directory.name + "-rig")
        make_directory(directory)
        with PacedRig(plan.rig, image, directory, progress.console.print) as standing:
            return standing.play(plan, show)


def _print_twins(twins: Twins) -> None:
    table = Table("figure", "virtual", "on the wall clock", title="One trial, twice")
    for name, virtual, paced in twins.rows():
        table.add_row(name, str(virtual), str(paced))
    console = Console()
    console.print(table)
    for difference in twins.differences:
        console.print(difference, soft_wrap=True)
    console.print(
        f"{twins.compared} snapshots in both ledgers, {twins.differing} of them differ;"
        f" {twins.only_virtual + twins.only_paced} that were due in both stand in one only."
    )


def _print_summary(summary: dict[str, Any]) -> None:
    table = Table(
        title=f"{summary['rig']}, seed {summary['seed']} (figures: {summary['kind']})", show_header=False
    )
    for key, value in _flat(summary):
        table.add_row(key, value)
    Console().print(table)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            rows += [(f"{prefix}{key}", str(item)) for item in value]
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows
