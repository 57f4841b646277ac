"""QEMU's command line for the emulated Pi. Pure.

The parts hang on memory-mapped virtio slots rather than on PCI, which the guest would have to search first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.pi.emulated.image_recipe import GUEST_ADDRESS, HOST_ADDRESS, RADIO_PORT

if TYPE_CHECKING:
    from pathlib import Path

EMULATOR = "qemu-system-aarch64"
CORES = 4
MEMORY_MB = 1024

# audit=0 would cost each login and each sudo a second: the kernel then searches a module for that protocol.
_KERNEL_ARGUMENTS = "console=ttyAMA0 quiet loglevel=4 net.ifnames=0 systemd.show_status=0"


@dataclass(frozen=True, slots=True)
class MachineParts:
    """Files and sockets that a machine is made of, and how it runs."""

    kernel: Path
    initial_ram_disk: Path
    card_socket: Path
    radio_socket: Path
    monitor_socket: Path
    card_writes_per_s: int | None = None
    instruction_clock: bool = False
    ssh_port: int = 0
    """Of this host; 0: a free one."""


def emulator_command(parts: MachineParts) -> list[str]:
    """The whole command line."""
    return [
        *(EMULATOR, "-machine", "virt", "-cpu", "cortex-a53"),
        *("-smp", str(CORES), "-m", f"{MEMORY_MB}M"),
        *_clock(parts.instruction_clock),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-kernel", str(parts.kernel), "-initrd", str(parts.initial_ram_disk), "-append", _KERNEL_ARGUMENTS),
        *("-serial", "stdio"),
        *("-chardev", f"socket,id=monitor,path={_escaped(parts.monitor_socket)},server=on,wait=off"),
        *("-mon", "chardev=monitor,mode=control"),
        *_card(parts),
        *(
            "-netdev",
            f"user,id=wire,net={_network()},host={HOST_ADDRESS},"
            f"hostfwd=tcp:127.0.0.1:{parts.ssh_port}-{GUEST_ADDRESS}:22",
        ),
        *("-device", "virtio-net-device,netdev=wire"),
        *("-device", "virtio-serial-device"),
        *("-chardev", f"socket,id=radio,path={_escaped(parts.radio_socket)},server=on,wait=off"),
        *("-device", f"virtserialport,chardev=radio,name={RADIO_PORT}"),
    ]


def _clock(instruction_clock: bool) -> list[str]:
    if instruction_clock:
        return ["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]
    return ["-accel", "tcg,thread=multi"]


def _card(parts: MachineParts) -> list[str]:
    medium = {
        "driver": "nbd",
        "server": {"type": "unix", "path": str(parts.card_socket)},
        "node-name": "medium",
    }
    device = "virtio-blk-device,id=card,discard=off,write-zeroes=off,drive="
    if parts.card_writes_per_s is None:
        return ["-blockdev", json.dumps(medium), "-device", f"{device}medium"]
    throttle = {"driver": "throttle", "node-name": "slowed", "throttle-group": "card-rate", "file": "medium"}
    return [
        *("-object", f"throttle-group,id=card-rate,x-iops-write={parts.card_writes_per_s}"),
        *("-blockdev", json.dumps(medium), "-blockdev", json.dumps(throttle), "-device", f"{device}slowed"),
    ]


def _network() -> str:
    return f"{GUEST_ADDRESS.rsplit('.', 1)[0]}.0/24"


def _escaped(path: Path) -> str:
    """QEMU takes a comma in an option for its end unless it is written twice."""
    return str(path).replace(",", ",,")
