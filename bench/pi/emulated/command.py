"""`bench pi`: the emulated Raspberry Pi on its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated

import typer

from bench.pi.emulated.image import build_image, default_cache, find_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.emulated.machine_announcement import announce, announced
from bench.pi.ssh import openssh_command
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from bench.pi.ssh import SshTarget

app = typer.Typer(help="The emulated Raspberry Pi on its own.", no_args_is_help=True)

_BOOT_S = 300.0
_LOOK_AGAIN_S = 0.5

CardOption = Annotated[
    int | None,
    typer.Option("--card-writes-per-s", help="Hold the card to this write rate.", min=1, max=1_000_000),
]
ClockOption = Annotated[
    bool, typer.Option("--instruction-clock", help="One instruction is one nanosecond of the guest's clock.")
]


@app.command()
def image() -> None:
    """Build the image if it is not there yet, and tell where it is."""
    started_s = monotonic()
    known = find_image() is not None
    built = build_image(tell=_tell)
    how = "was there already" if known else f"built in {monotonic() - started_s:.0f} s"
    typer.echo(f"{built.folder}: {built.size_bytes / 1e6:.0f} MB, {how}")
    typer.echo(
        f"Linux {built.versions['linux']}, Python {built.versions['python3']}, {len(built.versions)} packages"
    )


@app.command()
def boot(
    card_writes_per_s: CardOption = None,
    instruction_clock: ClockOption = False,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the card in this folder, for the next boot.", metavar="DIR")
    ] = None,
) -> None:
    """Boot an emulated Pi and run it until Ctrl-C."""
    # Also where it was started in the background, which has interrupts ignored, and by a service.
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, signal.default_int_handler)
    with PiMachine(
        build_image(tell=_tell),
        folder=folder,
        card_writes_per_s=card_writes_per_s,
        instruction_clock=instruction_clock,
    ) as machine:
        target = _booted(machine)
        with announce(target, default_cache()):
            typer.echo("log in with: bench pi shell")
            typer.echo(f"or with: {' '.join(openssh_command(target, Path('KNOWN_HOSTS')))}")
            typer.echo(f"KNOWN_HOSTS holds the line: {target.known_hosts_line}")
            typer.echo(f"radio port: {machine.radio_socket}")
            typer.echo(f"console: {machine.console_log}")
            typer.echo("Ctrl-C shuts it down")
            try:
                while machine.running:
                    sleep(_LOOK_AGAIN_S)
                typer.echo("the Pi has switched itself off")
            except KeyboardInterrupt:
                _tell("shutting down")
                machine.shut_down()


@app.command()
def shell(
    command: Annotated[list[str] | None, typer.Argument(help="Command to run instead of a shell.")] = None,
) -> None:
    """Log in to the Pi that `bench pi boot` runs, or to one of its own that ends afterwards."""
    if shutil.which("ssh") is None:
        raise InfrastructureError("this host", "has no ssh on the PATH", "apt-get install openssh-client")
    target = announced(default_cache())
    if target is not None:
        raise typer.Exit(_shell(target, command or []))
    with PiMachine(build_image(tell=_tell)) as machine:
        status = _shell(_booted(machine), command or [])
        _tell("shutting down")
        machine.shut_down()
    raise typer.Exit(status)


def _booted(machine: PiMachine) -> SshTarget:
    started_s = monotonic()
    _tell("booting")
    machine.start()
    machine.wait_until_reachable(_BOOT_S)
    _tell(f"reachable after {monotonic() - started_s:.0f} s")
    return machine.ssh_target


def _shell(target: SshTarget, command: list[str]) -> int:
    with tempfile.NamedTemporaryFile("w", prefix="known_hosts-", encoding="ascii") as known_hosts:
        known_hosts.write(f"{target.known_hosts_line}\n")
        known_hosts.flush()
        return subprocess.run(
            [*openssh_command(target, Path(known_hosts.name)), *command], check=False
        ).returncode


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
