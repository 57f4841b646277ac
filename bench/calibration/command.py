"""`bench calibrate`: measure what the gateway costs on a rig's Pi, and write it down for the virtual rig."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.calibration.calibrate import Outcome, calibrate, text_of, write_file
from bench.calibration.document import CalibrationError
from bench.pi.emulated.image import build_image, default_cache
from bench.pi.emulated.machine import PiMachine
from bench.pi.ssh import SshSeat, SshTarget
from bench.rig.calibration import load_calibration
from bench.rig.loader import load_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rig.model import Pi

PUBLISHED = Path(__file__).parents[2] / "rigs" / "calibration" / "pi3b-published.toml"
OUTPUT = Path("build/calibration.toml")
BOOT_S = 300.0
LOGIN_S = 30.0


def calibrate_command(
    rig: Annotated[Path, typer.Option("--rig", help="Rig file (TOML).", metavar="FILE")],
    output: Annotated[
        Path, typer.Option(help="Where the calibration file is written.", metavar="FILE")
    ] = OUTPUT,
    published: Annotated[
        Path, typer.Option(help="Calibration file of published figures to compare with.", metavar="FILE")
    ] = PUBLISHED,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what the gateway's software costs on the Pi of the rig's first branch.

    An emulated Pi is booted for it, with the clock that counts instructions; a real one is taken as it is.
    The virtual rig charges the file that is written where its rig file names it.
    """
    branch = load_rig(rig).branches[0]
    reference = load_calibration(published)
    emulated = branch.pi.kind == "emulated"
    with _seat(branch.pi, branch.name, rig) as seat:
        outcome = calibrate(
            seat,
            default_cache() / "release",
            reference,
            emulated=emulated,
            spi=spi_of(branch.pi),
            tell=_tell,
        )
    write_file(output, text_of(outcome, emulated=emulated))
    if as_json:
        print(json.dumps(document_of(outcome, output), indent=2))
    else:
        _print(outcome, output)


@contextmanager
def _seat(pi: Pi, branch: str, rig: Path) -> Iterator[SshSeat]:
    """Yield the Pi, logged in to. Raises InfrastructureError, PiImageError, CalibrationError."""
    if pi.kind == "virtual":
        raise CalibrationError(
            f"{rig}: the Pi of branch {branch!r} is virtual and has nothing to measure: give a rig with an"
            " emulated or a real one"
        )
    if pi.kind == "real":
        assert pi.login is not None, "the rig model lets no real Pi without login pass"
        with SshSeat(SshTarget.of(f"Pi of {branch}", pi.login)) as seat:
            seat.connect(LOGIN_S)
            yield seat
        return
    image = build_image(tell=_tell)
    _tell("booting the emulated Pi")
    with PiMachine(image, name=f"emulated Pi of {branch}", instruction_clock=True) as machine:
        machine.start()
        machine.wait_until_reachable(BOOT_S)
        with SshSeat(machine.ssh_target) as seat:
            seat.connect(LOGIN_S)
            yield seat


def spi_of(pi: Pi) -> str | None:
    """Return bus and chip select of a real Pi's radio, where it is on the Pi's own pins."""
    kind, _, place = pi.radio_port.partition(":")
    return place if pi.kind == "real" and kind == "spidev" else None


def document_of(outcome: Outcome, output: Path) -> dict[str, Any]:
    """Return what ``--json`` prints: the file's content, residuals, whole pieces of work, and what casts
    doubt.
    """
    calibration = outcome.calibration
    return {
        "file": str(output),
        "calibrated_by": str(calibration),
        "board": calibration.board,
        "date": calibration.date,
        "cores": calibration.cores,
        "card": calibration.card.model_dump(),
        "operation": {
            name: {**cost.model_dump(), "kept": name in outcome.kept}
            for name, cost in calibration.operation.items()
        },
        "residuals": [
            {
                "operation": residual.operation,
                "measured_ns": residual.measured_ns,
                "reference_ns": residual.reference_ns,
                "reference": residual.kind,
                "ratio": residual.ratio,
                "deviations": residual.deviations,
            }
            for residual in outcome.residuals
        ],
        "composite": outcome.measured["composite"],
        "machine": outcome.measured["board"],
        "condition": outcome.measured["condition"],
        "counted_on_card": outcome.measured["card"],
        "doubts": outcome.measured["doubts"],
    }


def _print(outcome: Outcome, output: Path) -> None:
    console = Console()
    table = Table(title=f"{outcome.calibration}", title_justify="left", box=None, pad_edge=False)
    table.add_column("operation", no_wrap=True)
    for heading in ("cost ns", "spread"):
        table.add_column(heading, justify="right")
    table.add_column("per", overflow="fold")
    for heading in ("other figure", "ns", "ratio", "deviations"):
        table.add_column(heading, justify="right")
    by_name = {residual.operation: residual for residual in outcome.residuals}
    for name, cost in outcome.calibration.operation.items():
        residual = by_name.get(name)
        compared = (
            ("kept", "", "", "")
            if residual is None
            else (
                residual.kind,
                f"{residual.reference_ns:,}",
                f"{residual.ratio:.2f}",
                f"{residual.deviations:+.1f}",
            )
        )
        table.add_row(name, f"{cost.cost_ns:,}", f"{cost.spread:.4f}", Text(cost.per), *compared)
    console.print(table)
    whole = Table(title="Whole pieces of work", title_justify="left", box=None, pad_edge=False)
    whole.add_column("what", no_wrap=True)
    for heading in ("CPU ns", "spread", "charged of it"):
        whole.add_column(heading, justify="right")
    for name, entry in outcome.measured["composite"].items():
        share = entry["charged_ns"] / entry["cpu_ns"]
        whole.add_row(name, f"{entry['cpu_ns']:,.0f}", f"{entry['spread']:.4f}", f"{share:.2f}")
    console.print(whole)
    card = outcome.calibration.card
    console.print(f"card: {card.writes_per_commit} writes per commit of {card.write_ns:,} ns ({card.source})")
    for doubt in outcome.measured["doubts"]:
        console.print(f"doubt: {doubt}", markup=False)
    console.print(f"written: {output}", markup=False)


def _tell(line: str) -> None:
    print(f"{line} ...", file=sys.stderr, flush=True)
