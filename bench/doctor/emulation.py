"""What emulated seats need of this machine: Unos behind ptys, a Pi in QEMU, a server behind a VPN."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.doctor.command import Command, look_for
from bench.doctor.finding import Finding, State, missing, present
from bench.pi.emulated.image import default_cache, find_image
from bench.pi.emulated.image_host import TOOLS, PiImageError, package_sources
from bench.pi.emulated.image_recipe import RELEASE
from bench.uno.boot_loader import SOURCE as OPTIBOOT

if TYPE_CHECKING:
    from collections.abc import Iterator

AVRDUDE: Final = Command("avrdude (flashes Unos)", "avrdude", "avrdude", ("-?",))
QEMU: Final = Command("QEMU for arm64", "qemu-system-aarch64", "qemu-system-arm", ("--version",))
WG: Final = Command("WireGuard's tool", "wg", "wireguard-tools", ("--version",))
IP: Final = Command("network namespaces", "ip", "iproute2", ("-Version",))
WIREGUARD_GO: Final = Command("WireGuard", "wireguard-go", "wireguard-go", ("--version",))

IMAGE_BYTES: Final = 2_000_000_000
"""Room in the cache to build the image of the emulated Pi."""
CARD_BYTES: Final = 500_000_000
"""Room for what one emulated Pi writes to its card."""
PI_MEMORY_BYTES: Final = 1_200_000_000
"""An emulated Pi's 1 GiB, and QEMU's own."""

_MEMORY = Path("/proc/meminfo")
_PTYS = Path("/proc/sys/kernel/pty")
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BINFMT_RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
_MODULES = Path("/sys/module")
_TUN = Path("/dev/net/tun")


def uno_findings(count: int) -> Iterator[Finding]:
    """What `count` emulated Unos need."""
    yield look_for(AVRDUDE)
    source = OPTIBOOT / "optiboot.c"
    yield (
        present("boot loader's source", str(source))
        if source.is_file()
        else missing("boot loader's source", f"no {source}", "apt-get install arduino-core-avr")
    )
    yield _ptys(count)


def pi_findings(count: int) -> Iterator[Finding]:
    """What `count` emulated Pis need."""
    yield look_for(QEMU)
    image = find_image()
    if image is None:
        yield from _image_builder_findings()
        yield Finding(
            "image",
            State.OPTIONAL,
            f"not built yet; it will lie below {default_cache()}",
            "bench pi image builds it in some minutes; the first run does so otherwise",
        )
    else:
        yield present("image", f"{image.folder} ({image.size_bytes / 1e6:.0f} MB)")
    needed_bytes = count * CARD_BYTES + (0 if image else IMAGE_BYTES)
    yield _room("disk space for images and cards", default_cache(), needed_bytes)
    yield _memory(count * PI_MEMORY_BYTES)


def server_findings(*, vpn: bool) -> Iterator[Finding]:
    """What an emulated server needs, behind the bench's VPN or on loopback alone."""
    if not vpn:
        yield present("VPN", "none, loopback alone")
        return
    yield (
        present("permission to make networks", "root")
        if os.geteuid() == 0
        else missing(
            "permission to make networks",
            "a plain user",
            'run the bench as root (sudo), or set vpn = "none" in [server]',
        )
    )
    yield look_for(IP)
    yield look_for(WG)
    if kernel_has_wireguard():
        yield present("WireGuard", "the kernel's")
        return
    yield look_for(WIREGUARD_GO)
    yield (
        present("tun device", str(_TUN))
        if os.access(_TUN, os.R_OK | os.W_OK)
        else missing(
            "tun device",
            f"no {_TUN} that may be opened",
            "modprobe tun, or give the container that device (--device /dev/net/tun)",
        )
    )


def kernel_has_wireguard() -> bool:
    """Whether this kernel has WireGuard, loaded or to be loaded; it is not loaded for the question."""
    if (_MODULES / "wireguard").exists():
        return True
    folder = Path("/lib/modules") / os.uname().release
    for listing in ("modules.dep", "modules.builtin"):
        with suppress(OSError):
            if "/wireguard.ko" in (folder / listing).read_text(encoding="utf-8", errors="replace"):
                return True
    return False


def _ptys(count: int) -> Finding:
    subject = "pseudo-terminals"
    mend = "mount -t devpts devpts /dev/pts, or end programs that hold many; limit: sysctl kernel.pty.max"
    try:
        for descriptor in os.openpty():
            os.close(descriptor)
    except OSError as error:
        return missing(subject, f"none can be opened: {error.strerror}", mend)
    try:
        most, used = (int((_PTYS / name).read_text(encoding="ascii")) for name in ("max", "nr"))
    except (OSError, ValueError):
        return present(subject, "can be opened")
    if most - used < count:
        return missing(
            subject, f"{most - used} left, {count} needed", f"sysctl -w kernel.pty.max={used + count}"
        )
    return present(subject, f"{count} of {most - used}")


def _image_builder_findings() -> Iterator[Finding]:
    """What the image of the Pi is built with; nothing of it is needed once it is built."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    absent = {name: package for name, package in TOOLS.items() if shutil.which(name, path=path) is None}
    yield (
        missing(
            "tools to build the image",
            f"no {', '.join(absent)}",
            f"apt-get install {' '.join(dict.fromkeys(absent.values()))}",
        )
        if absent
        else present("tools to build the image", ", ".join(TOOLS))
    )
    yield _foreign_programs()
    try:
        sources = package_sources(RELEASE)
    except PiImageError as error:
        yield missing("Debian's packages", str(error), "mend apt's sources as said")
    else:
        yield present("Debian's packages", f"{RELEASE}: {len(sources.splitlines())} sources of this machine")


def _foreign_programs() -> Finding:
    """Whether arm64 programs run here by qemu-user, or would once the build registers them."""
    subject = "arm64 programs by qemu-user"
    try:
        state = (_BINFMT / "qemu-aarch64").read_text(encoding="ascii")
    except OSError:
        if not _BINFMT_RULE.is_file():
            return missing(subject, f"no {_BINFMT_RULE}", "apt-get install qemu-user-static")
        if os.geteuid() != 0:
            return missing(
                subject,
                "not registered in binfmt_misc",
                f"as root, once: head -1 {_BINFMT_RULE} > {_BINFMT}/register",
            )
        return present(subject, "not registered yet: the build of the image does it")
    flags = re.search(r"^flags: (\w*)$", state, re.MULTILINE)
    if not state.startswith("enabled") or flags is None or "F" not in flags[1]:
        return missing(
            subject,
            f"{_BINFMT / 'qemu-aarch64'} is not enabled with flag F",
            f"as root: echo -1 > {_BINFMT / 'qemu-aarch64'}, and register it again",
        )
    return present(subject, "registered in binfmt_misc")


def _room(subject: str, folder: Path, needed_bytes: int) -> Finding:
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    free_bytes = shutil.disk_usage(there).free
    found = f"{free_bytes / 1e9:.1f} GB free, {needed_bytes / 1e9:.1f} GB needed ({there})"
    if free_bytes < needed_bytes:
        short_bytes = needed_bytes - free_bytes
        return missing(
            subject,
            found,
            f"free {short_bytes / 1e9:.1f} GB more there, or set XDG_CACHE_HOME to another disk",
        )
    return present(subject, found)


def _memory(needed_bytes: int) -> Finding:
    subject = "memory"
    try:
        text = _MEMORY.read_text(encoding="ascii")
    except OSError:
        text = ""
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    if available is None:
        return present(subject, f"{needed_bytes / 1e9:.1f} GB needed; what is free is not told here")
    free_bytes = int(available[1]) * 1024
    found = f"{free_bytes / 1e9:.1f} GB available, {needed_bytes / 1e9:.1f} GB needed"
    if free_bytes < needed_bytes:
        return missing(subject, found, "end other programs, or take fewer emulated Pis")
    return present(subject, found)
