"""What runs on the Pi to deploy a release: one file, the standard library alone, started as root.

``python3 -I installer.py probe PREFIX`` tells what the machine is like. ``python3 -I installer.py install
REQUEST`` carries out a request (a JSON file of mode 0600, since it holds keys) and tells what it changed.
Both print one JSON object. Every step looks first and does nothing where all is as wanted; a file or folder
is made complete beside its place and then renamed, so that neither a power cut nor a full card leaves half
of one.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import grp
import gzip
import hashlib
import json
import os
import platform
import pwd
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

USER = "dag-ledger"
BASE = "opt/dag-ledger"
SETTINGS = "etc/dag-ledger"
STORE = "var/lib/dag-ledger"
KEPT_RELEASES = 2
RESTART_DUE = f"{BASE}/.restart-due"
"""There from the first change to what a gateway runs on until systemd has been told of all. A power cut may
lose it, since the gateway then starts anew by itself."""
SPARE_BYTES = 16 * 1024 * 1024
"""Left free beside what is installed, so that the store can go on."""


class Refusal(Exception):  # noqa: N818  # an answer to the bench, not a defect
    """What cannot be done, and the mend."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


def main(arguments: list[str]) -> None:
    """Answer one call; the exit status is 0 also for a refusal, which the answer tells."""
    if arguments[0] == "probe":
        answer = probe(arguments[1])
    else:
        with open(arguments[1], encoding="utf-8") as file:
            request = json.load(file)
        try:
            answer = {"changes": Installation(request).carry_out()}
        except Refusal as refusal:
            answer = {"refused": {"what": refusal.what, "mend": refusal.mend}}
        except OSError as error:
            place = "" if error.filename is None else f" at {error.filename}"
            answer = {
                "refused": {
                    "what": f"{error.strerror or error}{place}",
                    "mend": "mend the file system (full, read-only or damaged) and deploy again",
                }
            }
    print(json.dumps(answer))


def probe(prefix: str) -> dict[str, Any]:
    """Tell what the bench must know before it sends a release."""
    releases = os.path.join(prefix, BASE, "releases")
    return {
        "machine": platform.machine(),
        "pointer_bits": struct.calcsize("P") * 8,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "glibc": platform.libc_ver()[1],
        "systemd": os.path.isdir("/run/systemd/system"),
        "root": os.geteuid() == 0,
        "releases": sorted(os.listdir(releases)) if os.path.isdir(releases) else [],
    }


class Installation:
    """One request, carried out below a prefix; `changes` tells in words what was not yet as wanted."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.prefix = request["prefix"]
        self.digest = request["digest"]
        self.archive = request["archive"]
        self.unpacked_bytes = request["unpacked_bytes"]
        self.files = request["files"]
        self.devices = request["devices"]
        self.unit_name = request["unit_name"]
        self.unit = request["unit"]
        self.system = request["system"]
        self.activate = request["activate"]
        self.changes: list[str] = []

    def carry_out(self) -> list[str]:
        """Deploy; return the changes."""
        base = self._path(BASE)
        os.makedirs(os.path.join(base, "releases"), mode=0o755, exist_ok=True)
        with self._locked(base):
            self._ensure_release(base)
            if self.activate:
                self._activate(base)
            else:
                self._drop_old_releases(base)
        return self.changes

    def _activate(self, base: str) -> None:
        if self.system:
            self._ensure_user()
        # First, since a device may be missing.
        groups = self._ensure_devices()
        self._ensure_current(base)
        self._drop_old_releases(base)
        self._ensure_folder(self._path(SETTINGS), 0o750, owner="root")
        self._ensure_folder(self._path(STORE), 0o750, owner=USER)
        for file in self.files:
            self._ensure_file(
                self._path(SETTINGS, file["name"]),
                base64.b64decode(file["content"]),
                file["mode"],
                owner=file["owner"],
            )
        # The kernel's control of devices knows none by their links.
        allowed = "".join(f"DeviceAllow={os.path.realpath(device)} rw\n" for device in self.devices)
        unit = self.unit.replace("@GROUPS@", " ".join(groups)).replace("@DEVICES@", allowed)
        path = self._path("etc/systemd/system", self.unit_name)
        self._ensure_file(path, unit.encode(), 0o644, owner="root", group="root")
        if self.system:
            self._tell_systemd()

    def _path(self, *parts: str) -> str:
        return os.path.join(self.prefix, *parts)

    @contextlib.contextmanager
    def _locked(self, base: str) -> Iterator[None]:
        descriptor = os.open(base, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise Refusal("another deployment is under way", "let it finish, then deploy again") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _begin_change(self) -> None:
        """Note that what runs will be out of date, also for the next deployment if this one breaks off."""
        if self.system and self.activate:
            with open(self._path(RESTART_DUE), "wb"):
                pass

    # User and devices

    def _ensure_user(self) -> None:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            self._run(
                [
                    "useradd",
                    "--system",
                    "--user-group",
                    "--no-create-home",
                    "--home-dir",
                    "/" + STORE,
                    "--shell",
                    "/usr/sbin/nologin",
                    USER,
                ]
            )
            self.changes.append(f"user {USER} made")

    def _ensure_devices(self) -> list[str]:
        """Return the groups that open the devices; a device of root alone is given to the service's group."""
        groups: set[str] = set()
        rules: list[str] = []
        for device in self.devices:
            try:
                status = os.stat(device)
            except OSError:
                raise Refusal(
                    f"there is no device {device}", "switch it on (SPI, serial port) and reboot"
                ) from None
            if not stat.S_ISCHR(status.st_mode):
                raise Refusal(f"{device} is no device", "name the radio's SPI or serial device")
            group = grp.getgrgid(status.st_gid).gr_name
            if group not in ("root", USER) and status.st_mode & stat.S_IWGRP:
                groups.add(group)
            else:
                name = os.path.basename(os.path.realpath(device))
                rules.append(f'KERNEL=="{name}", GROUP="{USER}", MODE="0660"\n')
        if rules and self.system:
            path = self._path(f"etc/udev/rules.d/70-{USER}.rules")
            if self._ensure_file(path, "".join(sorted(rules)).encode(), 0o644, owner="root", group="root"):
                self._run(["udevadm", "control", "--reload"])
            for device in self.devices:
                # udev may not have looked at the device since the rule came.
                real = os.path.realpath(device)
                if os.stat(real).st_gid == 0:
                    os.chown(real, 0, grp.getgrnam(USER).gr_gid)
                    os.chmod(real, 0o660)
        return sorted(groups)

    # Releases

    def _ensure_release(self, base: str) -> None:
        target = os.path.join(base, "releases", self.digest)
        if os.path.isdir(target):
            return
        self._drop_unfinished(base)
        free_bytes = shutil.disk_usage(base).free
        needed_bytes = self.unpacked_bytes + SPARE_BYTES
        if free_bytes < needed_bytes:
            raise Refusal(
                f"{free_bytes / 1e6:.1f} MB are free at {base}, {needed_bytes / 1e6:.1f} MB are needed",
                "free some space on the card and deploy again",
            )
        unfinished = os.path.join(base, "releases", f".unfinished-{self.digest}")
        try:
            found = unpack(self.archive, unfinished)
            if found != self.digest:
                raise Refusal("the release arrived damaged", "deploy again")
            os.chmod(unfinished, 0o755)
            # All of it must be on the card before it gets its name.
            os.sync()
            self._begin_change()
            os.rename(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        sync_folder(os.path.dirname(target))
        self.changes.append(f"release {self.digest} unpacked")

    def _drop_unfinished(self, base: str) -> None:
        releases = os.path.join(base, "releases")
        for name in os.listdir(releases):
            if name.startswith(".unfinished-"):
                shutil.rmtree(os.path.join(releases, name))

    def _ensure_current(self, base: str) -> None:
        link = os.path.join(base, "current")
        wanted = os.path.join("releases", self.digest)
        if os.path.islink(link) and os.readlink(link) == wanted:
            return
        fresh = os.path.join(base, ".current-new")
        if os.path.lexists(fresh):
            os.unlink(fresh)
        os.symlink(wanted, fresh)
        # Touched, so that the order of use is known when old ones are dropped.
        os.utime(os.path.join(base, wanted))
        self._begin_change()
        os.replace(fresh, link)
        sync_folder(base)
        self.changes.append(f"release {self.digest} is current")

    def _drop_old_releases(self, base: str) -> None:
        releases = os.path.join(base, "releases")
        names = {name for name in os.listdir(releases) if not name.startswith(".")}
        others = list(names - {self.digest} - self._in_use(base, names))
        others.sort(key=lambda name: os.stat(os.path.join(releases, name)).st_mtime, reverse=True)
        for name in others[KEPT_RELEASES - 1 :]:
            shutil.rmtree(os.path.join(releases, name))
            self.changes.append(f"old release {name} dropped")

    def _in_use(self, base: str, names: set[str]) -> set[str]:
        """Return the releases that `current` names or that a process was started from."""
        used = set()
        with contextlib.suppress(OSError):
            used.add(os.path.basename(os.readlink(os.path.join(base, "current"))))
        for process in filter(str.isdecimal, os.listdir("/proc")):
            # It may have ended meanwhile.
            with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
                command = file.read()
                used |= {name for name in names if f"/releases/{name}/".encode() in command}
        return used

    # Files

    def _ids(self, owner: str, group: str) -> tuple[int, int]:
        if not self.system:
            return os.geteuid(), os.getegid()
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid

    def _ensure_folder(self, path: str, mode: int, owner: str, group: str = USER) -> None:
        wanted = (mode, *self._ids(owner, group))
        os.makedirs(path, mode=0o700, exist_ok=True)
        if look(path)[:3] != wanted:
            self._begin_change()
            os.chown(path, *wanted[1:])
            os.chmod(path, mode)
            self.changes.append(f"{path} has its owner and mode")

    def _ensure_file(self, path: str, content: bytes, mode: int, owner: str, group: str = USER) -> bool:
        """Write a file unless it is there with this content, owner and mode; tell whether it was written."""
        wanted = (mode, *self._ids(owner, group), hashlib.sha256(content).digest())
        if os.path.lexists(path) and not os.path.islink(path) and look(path) == wanted:
            return False
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        descriptor, fresh = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchown(file.fileno(), *wanted[1:3])
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._begin_change()
            os.replace(fresh, path)
        except BaseException:
            os.unlink(fresh)
            raise
        sync_folder(os.path.dirname(path))
        self.changes.append(f"{path} written")
        return True

    # systemd

    def _tell_systemd(self) -> None:
        due = os.path.exists(self._path(RESTART_DUE))
        # Settings change from trial to trial, the unit hardly ever, and to read all units anew takes seconds.
        shown = self._run(["systemctl", "show", self.unit_name, "-p", "NeedDaemonReload", "--value"])
        if shown == "yes":
            self._run(["systemctl", "daemon-reload"])
        enabled = self._run(["systemctl", "is-enabled", self.unit_name], check=False)
        if enabled != "enabled":
            self._run(["systemctl", "enable", self.unit_name])
            self.changes.append(f"{self.unit_name} is started at boot")
        if due:
            if self._run(["systemctl", "is-active", self.unit_name], check=False) == "active":
                self._run(["systemctl", "restart", self.unit_name])
                self.changes.append(f"{self.unit_name} restarted")
            os.unlink(self._path(RESTART_DUE))

    def _run(self, command: list[str], check: bool = True) -> str:
        finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and finished.returncode:
            said = finished.stdout.strip().splitlines()
            raise Refusal(
                f"`{' '.join(command)}` ended with {finished.returncode} ({said[-1] if said else ''})",
                "look at `journalctl -xe` on the Pi",
            )
        return finished.stdout.strip()


def look(path: str) -> tuple[int | bytes, ...]:
    """Return a file's mode, owner, group and the digest of its content (none of a folder)."""
    status = os.lstat(path)
    kind = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    if stat.S_ISDIR(status.st_mode):
        return kind
    with open(path, "rb") as file:
        return (*kind, hashlib.sha256(file.read()).digest())


def unpack(archive: str, folder: str) -> str:
    """Unpack a release into a new folder and return the digest of what came out of it."""
    os.makedirs(folder, mode=0o755)
    lines = []
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                parts = entry.name.split("/")
                if not entry.isreg() or entry.name.startswith("/") or ".." in parts:
                    raise Refusal(f"the release holds {entry.name!r}", "build it again")
                stream = tar.extractfile(entry)
                assert stream is not None, "a regular file has content"
                content = stream.read()
                path = os.path.join(folder, *parts)
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                mode = entry.mode & 0o755
                with open(path, "wb") as file:
                    file.write(content)
                os.chmod(path, mode)
                lines.append(f"{entry.name}\0{mode:o}\0{hashlib.sha256(content).hexdigest()}\n")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refusal(f"the release arrived damaged ({error})", "deploy again") from None
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:24]


def sync_folder(path: str) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1:])
