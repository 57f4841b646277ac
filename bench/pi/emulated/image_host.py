"""What the host must have to build the image: a way to run arm64 programs, and a way to Debian's packages."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "unshare": "util-linux",
    "qemu-aarch64-static": "qemu-user-static",
}
"""Commands of the build and the Debian packages that they come from."""

SUBORDINATES = (Path("/etc/subuid"), Path("/etc/subgid"))
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BINFMT_RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
_PASSED_ON = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::Languages")


class PiImageError(RuntimeError):
    """The image of the emulated Pi cannot be built; the message says why and what mends it."""


def check_tools() -> None:
    """Raise PiImageError naming all packages whose commands are missing."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [package for command, package in TOOLS.items() if shutil.which(command, path=path) is None]
    if missing:
        raise PiImageError(
            f"building the Pi's image needs {', '.join(missing)}; "
            f"get it with: apt-get install {' '.join(missing)}"
        )


def check_user() -> None:
    """Raise PiImageError where this user, not being root, has no ids for a namespace (subuid(5))."""
    if os.geteuid() == 0:
        return
    user = pwd.getpwuid(os.geteuid()).pw_name
    for file in SUBORDINATES:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if not any(line.split(":")[0] in (user, str(os.geteuid())) for line in text.splitlines()):
            raise PiImageError(
                f"{file} grants {user} no ids for the files of another system; as root, once: "
                f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            )


def enable_foreign_programs() -> None:
    """See to it that this host runs arm64 programs by qemu-user, also in another root (flags POF).

    Root mounts binfmt_misc and registers what is missing; anyone else is told what to do.
    """
    entry = _BINFMT / "qemu-aarch64"
    try:
        if not (_BINFMT / "status").exists():
            _as_root(f"mount -t binfmt_misc binfmt_misc {_BINFMT}")
            subprocess.run(
                ["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True, capture_output=True
            )
        if not entry.exists():
            _as_root(f"head -1 {_BINFMT_RULE} > {_BINFMT}/register")
            (_BINFMT / "register").write_text(_BINFMT_RULE.read_text(encoding="ascii"), encoding="ascii")
    except FileNotFoundError as error:
        raise PiImageError(f"no {error.filename}; get it with: apt-get install qemu-user-static") from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise PiImageError(
            f"this kernel does not take a handler for arm64 programs ({error}); build on a machine or in a "
            "container that may mount binfmt_misc, or copy the image's cache folder from one"
        ) from error
    state = entry.read_text(encoding="ascii")
    flags = next((line.split()[1] for line in state.splitlines() if line.startswith("flags: ")), "")
    if not state.startswith("enabled") or "F" not in flags:
        raise PiImageError(
            f"{entry} is not enabled with flag F, so arm64 programs do not run in another root; "
            f"as root: echo -1 > {entry}, then build again"
        )


def _as_root(command: str) -> None:
    if os.geteuid() != 0:
        raise PiImageError(f"this host does not run arm64 programs yet; as root, once: {command}")


def package_sources(release: str) -> str:
    """The host's own apt sources for a Debian release, one ``deb`` line each, whatever form they have there.

    Raises PiImageError when the host has none, as on another distribution.
    """
    return sources_of(
        release, _output("apt-get", "indextargets", "--format", _TARGET, "Created-By: Packages")
    )


_TARGET = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


def sources_of(release: str, targets: str) -> str:
    """The ``deb`` lines out of apt's list of index targets (address, release, component; one a line)."""
    wanted = {release, f"{release}-updates", f"{release}-security"}
    lines = {
        f"deb {address} {suite} {component}"
        for address, suite, component in (
            line.split() for line in targets.splitlines() if line.count(" ") == 2
        )
        if suite in wanted and component == "main"
    }
    if not any(line.split()[2] == release for line in lines):
        raise PiImageError(
            f"apt on this host has no source for Debian {release} main, which the Pi's image is made of; "
            "add one to /etc/apt/sources.list.d, then: apt-get update"
        )
    return "".join(f"{line}\n" for line in sorted(lines))


def package_settings() -> str:
    """The host's own way of fetching packages (proxy, certificates, retries) as an apt configuration file."""
    return settings_of(_output("apt-config", "dump").splitlines())


def settings_of(dump: Iterable[str]) -> str:
    """Those lines of ``apt-config dump`` that say how packages are fetched."""
    return "".join(f"{line}\n" for line in dump if line.startswith(_PASSED_ON))


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise PiImageError(f"no {command[0]} here; the image is built on Debian or its like") from error
    except subprocess.CalledProcessError as error:
        raise PiImageError(
            f"{command[0]} says: {error.stderr.strip()}; mend apt's configuration first"
        ) from error
