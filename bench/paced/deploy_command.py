"""`bench pi deploy`: the ledger brought to a Pi in one call; a second call changes nothing."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.paced.gateways import JOIN_S
from bench.paced.host_facts import python_version
from bench.pi.deployed.deployment import GatewaySettings, deploy, radio_devices
from bench.pi.deployed.release import build_release
from bench.pi.emulated.image import default_cache
from bench.pi.emulated.machine_announcement import announced
from bench.pi.ssh import SshSeat, SshTarget
from bench.rig.infrastructure import InfrastructureError
from bench.rig.loader import load_rig
from ledger.service.config import SpidevWires, Wires, load_gateway

_KEY_TEXT: Final = re.compile(r"[0-9a-fA-F]{64}")


def deploy_command(
    config: Annotated[
        Path,
        typer.Option(help="The gateway's configuration (TOML).", exists=True, dir_okay=False, metavar="FILE"),
    ],
    registry: Annotated[
        Path, typer.Option(help="Its registry (JSON).", exists=True, dir_okay=False, metavar="FILE")
    ],
    signing_key: Annotated[
        Path, typer.Option(help="Made by `ledger keygen`.", exists=True, dir_okay=False, metavar="FILE")
    ],
    rig: Annotated[
        Path | None,
        typer.Option(help="Rig file: its first real Pi. Left out: that of `bench pi boot`.", metavar="FILE"),
    ] = None,
) -> None:
    """Deploy the ledger with these settings as a service; the wheels it needs are brought along.

    The configuration names the files as they will be on the Pi: below /etc/dag-ledger, the store in
    /var/lib/dag-ledger/gateway.db.
    """
    wires, key = load_gateway(config).wires, _key(signing_key)
    with SshSeat(_target(rig)) as pi:
        pi.connect(JOIN_S)
        release = build_release(default_cache() / "release", python_version(pi))
        settings = GatewaySettings(
            configuration=config.read_text(encoding="utf-8"),
            registry=registry.read_bytes(),
            signing_key=key,
            devices=radio_devices(pi, *_port(wires)),
        )
        typer.echo(str(deploy(pi, release, settings)))


def _target(rig: Path | None) -> SshTarget:
    if rig is None:
        running = announced(default_cache())
        if running is None:
            raise InfrastructureError(
                "emulated pi",
                "is not running",
                "start `bench pi boot` elsewhere, or name a real one by --rig",
            )
        return running
    for branch in load_rig(rig).branches:
        if branch.pi.login is not None:
            return SshTarget.of(f"{branch.name}/pi", branch.pi.login)
    raise typer.BadParameter(f"{rig} has no real Pi to log in to", param_hint="--rig")


def _key(file: Path) -> bytes:
    text = file.read_text(encoding="ascii", errors="replace").strip()
    if not _KEY_TEXT.fullmatch(text):
        raise typer.BadParameter(f"{file} is no key of `ledger keygen`", param_hint="--signing-key")
    return bytes.fromhex(text)


def _port(wires: Wires) -> tuple[str, str]:
    """Kind and address of a radio's port."""
    if isinstance(wires, SpidevWires):
        return "spidev", f"{wires.bus}.{wires.chip_select}"
    return "serial", wires.address
