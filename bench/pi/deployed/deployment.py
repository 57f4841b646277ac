"""The ledger on a Pi: one call brings a machine from anything to a gateway with this release and these
settings.

A second call finds everything as wanted and changes nothing. On the machine there are then::

    /opt/dag-ledger/releases/DIGEST   the last two releases, and `current`, a link to the gateway's
    /etc/dag-ledger                   gateway.toml, registry.json and signing.key
    /var/lib/dag-ledger               the store
    dag-gateway.service               the systemd unit, started at boot

Keys travel inside the SSH connection into files that only their owner may read: they are in no command line
and in no log.
"""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.pi.deployed import installer
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.pi.deployed.release import Release
    from bench.pi.ssh import SshSeat

UNIT: Final = "dag-gateway.service"
SLICE: Final = "dagledger.slice"
"""Holds the service's share of CPU and memory over its restarts, when its own group is made anew."""
USER: Final = installer.USER
CURRENT: Final = f"/{installer.BASE}/current"
SETTINGS: Final = f"/{installer.SETTINGS}"
STORE: Final = f"/{installer.STORE}/gateway.db"
CONFIGURATION_FILE: Final = f"{SETTINGS}/gateway.toml"
REGISTRY_FILE: Final = f"{SETTINGS}/registry.json"
SIGNING_KEY_FILE: Final = f"{SETTINGS}/signing.key"

GPIO_CHIP: Final = "/dev/gpiochip0"
MEMORY_BYTES: Final = 256 * 1024 * 1024
"""What a gateway may have of its Pi's memory, unless its settings say otherwise."""

PATIENCE_S: Final = 300.0
"""For unpacking on a slow card or an emulated machine."""

_UNIT: Final = """\
[Unit]
Description=Gateway of the DAG ledger
After=network.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=@CURRENT@/bin/ledger gateway --config @CONFIGURATION@
Restart=always
RestartSec=500ms
TimeoutStartSec=60
TimeoutStopSec=20
WatchdogSec=120
LogRateLimitIntervalSec=0
User=@USER@
Group=@USER@
SupplementaryGroups=@GROUPS@
StateDirectory=dag-ledger
StateDirectoryMode=0750
Slice=@SLICE@
UMask=0077
CPUAccounting=yes
MemoryAccounting=yes
IOAccounting=yes
MemoryMax=@MEMORY_BYTES@
TasksMax=64
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
DevicePolicy=closed
@DEVICES@
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What one gateway is told: files below /etc/dag-ledger, and the devices that its service may open.

    The configuration names the others by REGISTRY_FILE, SIGNING_KEY_FILE and STORE. Devices are given by
    their real nodes, as /dev/spidev0.0.
    """

    configuration: str
    registry: bytes = field(repr=False)
    """The JSON of `ledger.registry.Registry.save`, with the meters' keys."""
    signing_key: bytes = field(repr=False)
    """The seed of the Ed25519 key, 32 bytes."""
    devices: tuple[str, ...] = ()
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a machine has now, and what had to be changed for it: nothing, when it was so already."""

    seat: str
    digest: str
    changes: tuple[str, ...]

    def __str__(self) -> str:
        """One sentence for a person."""
        if not self.changes:
            return f"{self.seat}: release {self.digest} was there with these settings, nothing changed"
        return f"{self.seat}: {'; '.join(self.changes)}"


def deploy(seat: SshSeat, release: Release, settings: GatewaySettings, *, prefix: str = "/") -> Deployment:
    """Bring a machine to this release and these settings; restart its gateway if it runs and anything
    changed.

    With a `prefix` other than "/" everything goes below that folder, under the user logged in, and systemd
    is not told: an image can be filled so, and a test be run. Raises InfrastructureError naming what the
    machine lacks.
    """
    changes = _carry_out(seat, release, settings, prefix)
    return Deployment(seat.target.name, release.digest, changes)


def install_release(seat: SshSeat, release: Release, *, prefix: str = "/") -> str:
    """Bring a release to a machine beside what is in use there, which is left alone; return its folder.

    Of releases that are not in use the last two stay.

    Raises InfrastructureError as :func:`deploy` does.
    """
    _carry_out(seat, release, None, prefix)
    return f"{prefix.rstrip('/')}/{installer.BASE}/releases/{release.digest}"


def _carry_out(
    seat: SshSeat, release: Release, settings: GatewaySettings | None, prefix: str
) -> tuple[str, ...]:
    system = prefix == "/"
    stage = _stage(seat)
    try:
        seat.put(Path(installer.__file__), f"{stage}/installer.py", 0o600)
        machine = _probe(seat, stage, prefix)
        _check(seat, machine, release, system)
        if system:
            _check_sudo(seat, machine)
        archive = f"{stage}/release.tar.gz"
        if release.digest not in machine["releases"]:
            _check_room(seat, release, stage)
            seat.put(release.archive, archive, 0o600)
        request = _request(release, settings, prefix, archive)
        seat.put_bytes(json.dumps(request).encode(), f"{stage}/request.json", 0o600)
        sudo = "sudo -n " if system and not machine["root"] else ""
        answer = _answer(seat, f"{sudo}python3 -I {stage}/installer.py install {stage}/request.json")
    finally:
        seat.run(f"rm -rf {shlex.quote(stage)}", check=False)
    if "refused" in answer:
        raise InfrastructureError(seat.target.name, answer["refused"]["what"], answer["refused"]["mend"])
    return tuple(answer["changes"])


def radio_devices(pi: SshSeat, kind: str, address: str) -> tuple[str, ...]:
    """Return the devices by which a gateway reaches a radio port KIND:ADDRESS, by their real nodes.

    Raises InfrastructureError (the login).
    """
    if kind == "spidev":
        return (f"/dev/spidev{address}", GPIO_CHIP)
    if not address.startswith("/"):
        return ()
    return (pi.run(f"readlink -f {shlex.quote(address)}").output.strip(),)


def unit_text(settings: GatewaySettings) -> str:
    """Return the systemd unit; its places for groups and devices are filled on the machine."""
    values = {
        "@CURRENT@": CURRENT,
        "@CONFIGURATION@": CONFIGURATION_FILE,
        "@USER@": USER,
        "@SLICE@": SLICE,
        "@MEMORY_BYTES@": str(settings.memory_bytes),
    }
    text = _UNIT
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def _stage(seat: SshSeat) -> str:
    """Make a folder for the time of the deployment that only the login can read, in memory: keys pass
    through it.
    """
    made = seat.run("umask 077; mktemp -d /dev/shm/deploy.XXXXXXXXXX 2>/dev/null || mktemp -d", check=False)
    if made.status:
        raise InfrastructureError(
            seat.target.name,
            f"no temporary folder can be made ({made.last_words})",
            "free some space in /tmp",
        )
    return made.output.strip()


def _probe(seat: SshSeat, stage: str, prefix: str) -> dict[str, Any]:
    finished = seat.run(f"python3 -I {stage}/installer.py probe {shlex.quote(prefix)}", check=False)
    if finished.status:
        raise InfrastructureError(
            seat.target.name,
            f"python3 cannot tell what the machine is ({finished.last_words})",
            "install Python: apt-get install python3",
        )
    machine: dict[str, Any] = json.loads(finished.output)
    return machine


def _check(seat: SshSeat, machine: dict[str, Any], release: Release, system: bool) -> None:
    if machine["machine"] != release.platform or machine["pointer_bits"] != 64:
        raise InfrastructureError(
            seat.target.name,
            f"its operating system is {machine['pointer_bits']}-bit on {machine['machine']},"
            f" the release is for 64-bit {release.platform}",
            "install the 64-bit system: not all wheels exist for 32 bit"
            if machine["pointer_bits"] == 32
            else "build the release for this machine",
        )
    if machine["python"] != release.python_version:
        raise InfrastructureError(
            seat.target.name,
            f"its Python is {machine['python']}, the release is for {release.python_version}",
            f"build the release for Python {machine['python']}, or install {release.python_version}",
        )
    if system and not machine["systemd"]:
        raise InfrastructureError(
            seat.target.name, "systemd does not run there", "use a system that is started by systemd"
        )


def _check_sudo(seat: SshSeat, machine: dict[str, Any]) -> None:
    if machine["root"]:
        return
    tried = seat.run("sudo -n true", check=False)
    if tried.status:
        raise InfrastructureError(
            seat.target.name,
            f"the login may not use sudo without a password ({tried.last_words})",
            "install sudo and permit it: echo 'USER ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/bench",
        )


def _check_room(seat: SshSeat, release: Release, stage: str) -> None:
    finished = seat.run(f"df -Pk {stage} | tail -1", check=False)
    fields = finished.output.split()
    if finished.status or len(fields) < 4 or not fields[3].isdigit():
        return
    free_bytes = int(fields[3]) * 1024
    if free_bytes < release.archive_bytes + 4 * 1024 * 1024:
        raise InfrastructureError(
            seat.target.name,
            f"{free_bytes / 1e6:.1f} MB are free for temporary files, the release has"
            f" {release.archive_bytes / 1e6:.1f} MB",
            f"free some space where {stage} lies",
        )


def _request(release: Release, settings: GatewaySettings | None, prefix: str, archive: str) -> dict[str, Any]:
    return {
        "prefix": prefix,
        "system": prefix == "/",
        "digest": release.digest,
        "archive": archive,
        "unpacked_bytes": release.unpacked_bytes,
        "activate": settings is not None,
        "files": _files(settings) if settings is not None else [],
        "devices": list(settings.devices) if settings is not None else [],
        "unit_name": UNIT,
        "unit": unit_text(settings) if settings is not None else "",
    }


def _files(settings: GatewaySettings) -> list[dict[str, Any]]:
    files: Sequence[tuple[str, bytes, int, str]] = (
        (CONFIGURATION_FILE, settings.configuration.encode(), 0o640, "root"),
        (REGISTRY_FILE, settings.registry, 0o640, "root"),
        # The gateway refuses a signing key that any other user may read, root's group included.
        (SIGNING_KEY_FILE, settings.signing_key.hex().encode() + b"\n", 0o600, USER),
    )
    return [
        {
            "name": Path(path).name,
            "content": base64.b64encode(content).decode(),
            "mode": mode,
            "owner": owner,
        }
        for path, content, mode, owner in files
    ]


def _answer(seat: SshSeat, command: str) -> dict[str, Any]:
    finished = seat.run(command, timeout_s=PATIENCE_S, check=False)
    try:
        answer: dict[str, Any] = json.loads(finished.output)
    except ValueError:
        raise InfrastructureError(
            seat.target.name,
            f"the deployment broke off with exit status {finished.status} ({finished.last_words})",
            "deploy again; what was there before still runs",
            retry_helps=True,
        ) from None
    return answer
