"""The gateway as a service of its Pi: started, killed, watched, audited, its store brought home."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.pi.deployed.deployment import CURRENT, SLICE, STORE, UNIT, USER
from bench.pi.deployed.store_copy import COPY_S, fetch_store
from bench.pi.ssh import BOOT_ID
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bench.pi.ssh import Finished, SshSeat

MOST_LINES: Final = 20_000
"""Of the log in one answer."""
PAGE_LINES: Final = 8_000
"""Of the log at once when all of it is read: an answer over SSH has 16 MB at most."""
READY_S: Final = 90.0

# Every figure in one round over SSH; what a kernel or system does not tell stays empty.
_LOOK: Final = """
systemctl show {unit} -p ActiveState,MainPID,NRestarts
echo "BootId=$(cat {boot_id})"
group=/sys/fs/cgroup/{slice}
echo "CpuUs=$(sed -n 's/^usage_usec //p' $group/cpu.stat 2>/dev/null)"
echo "GroupBytes=$(cat $group/memory.current 2>/dev/null)"
echo "GroupPeakBytes=$(cat $group/memory.peak 2>/dev/null)"
pid=$(systemctl show {unit} -p MainPID --value)
echo "ResidentKiB=$(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$pid/status 2>/dev/null)"
echo "ResidentPeakKiB=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$pid/status 2>/dev/null)"
echo "DiskFreeKiB=$(df -Pk {folder} | sed -n '2s/ *[^ ]* *[^ ]* *[^ ]* *\\([0-9]*\\) .*/\\1/p')"
device=$(stat -c '%Hd %Ld' {folder} 2>/dev/null)
echo "Card=$(sed -n "s/^ *$(echo $device | sed 's/ / */') [^ ]* //p" /proc/diskstats)"
echo "UptimeS=$(sed 's/ .*//' /proc/uptime)"
"""
_WRITES, _WRITTEN_SECTORS = 4, 6
"""Places in a line of /proc/diskstats after the name (kernel, Documentation/admin-guide/iostats.rst)."""
_SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """How the gateway and its Pi fare; None where the system does not tell (Raspberry Pi OS: memory of
    groups).

    CPU time and peak count from the first start since boot, over all restarts.
    """

    active: bool
    restarts: int
    boot_id: str
    uptime_ms: int
    cpu_ns: int | None
    resident_bytes: int | None
    resident_peak_bytes: int | None
    group_bytes: int | None
    """Memory of the service with its share of the page cache."""
    group_peak_bytes: int | None
    card_writes: int | None
    """Requests that the card has completed since boot, of all programs."""
    card_written_bytes: int | None
    disk_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the gateway's log; `event` is what it says when it is a JSON object."""

    realtime_us: int
    text: str
    event: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Log:
    """A stretch of the log and where it ends: give the cursor to go on from there."""

    lines: tuple[LogLine, ...]
    cursor: str | None


class GatewayService:
    """The service of one Pi. Every call may raise InfrastructureError (the login, sudo, systemd)."""

    def __init__(self, seat: SshSeat) -> None:
        self._seat = seat

    # Control

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self._control("start")

    def stop(self) -> None:
        """Stop it, and wait for that."""
        self._control("stop")

    def restart(self) -> None:
        """Stop and start it."""
        self._control("restart")

    def kill(self) -> None:
        """End it at once, by SIGKILL; systemd starts it again."""
        self._root(f"systemctl kill --signal=SIGKILL {UNIT}")

    def is_running(self) -> bool:
        """Whether it is up and has said that it is ready."""
        return self._root(f"systemctl is-active {UNIT}", check=False).output.strip() == "active"

    def wait_until_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until it runs, as after a kill or a reboot."""
        deadline_s = time.monotonic() + timeout_s
        while not self.is_running():
            if time.monotonic() > deadline_s:
                raise self._not_ready(f"it was not ready within {timeout_s:.0f} s")
            time.sleep(0.25)

    def _control(self, verb: str) -> None:
        finished = self._root(f"systemctl {verb} {UNIT}", timeout_s=READY_S, check=False)
        if finished.status:
            raise self._not_ready(f"`systemctl {verb} {UNIT}` ended with {finished.status}")

    def _not_ready(self, what: str) -> InfrastructureError:
        lines = self.log(limit=20).lines
        last = lines[-1].text if lines else "it logged nothing"
        return InfrastructureError(
            self._seat.target.name, f"{what} ({last})", f"look at `journalctl -u {UNIT}` on the Pi"
        )

    # Watching

    def boot_id(self) -> str:
        """Return what changes with every boot."""
        return self._seat.boot_id()

    def life(self) -> str:
        """Return what changes with every boot and every start of the gateway."""
        return self._told_to_root(f"cat {BOOT_ID}; systemctl show {UNIT} -p MainPID --value")

    def figures(self) -> ServiceFigures:
        """Look at the service and its machine."""
        folder = STORE.rpartition("/")[0]
        command = _LOOK.format(unit=UNIT, slice=SLICE, folder=folder, boot_id=BOOT_ID)
        return figures_from(self._root(command).output)

    def log(self, after: str | None = None, limit: int = MOST_LINES) -> Log:
        """Return the log after a cursor, or its end: at most `limit` lines, the latest of them."""
        command = f"journalctl -u {UNIT} -o json --output-fields=MESSAGE --no-pager -q"
        command += f" -n {min(limit, MOST_LINES)}"
        if after is not None:
            command += f" --after-cursor={shlex.quote(after)}"
        return log_from(self._root(command, timeout_s=COPY_S).output, after)

    def log_after(self, cursor: str | None) -> Iterator[LogLine]:
        """Yield all lines of the log after a cursor, or all that there are, the earliest first."""
        for page in log_pages(self._seat.target.name, UNIT, self._told_to_root, cursor):
            yield from page.lines

    def _told_to_root(self, command: str) -> str:
        return self._root(command, timeout_s=COPY_S).output

    # Store

    def verify(self) -> Mapping[str, Any]:
        """Audit the store on the Pi; return what `ledger verify --json` says, whatever it found."""
        command = f"runuser -u {USER} -- {CURRENT}/bin/ledger verify --json {STORE}"
        finished = self._root(command, timeout_s=COPY_S, check=False)
        try:
            audit: Mapping[str, Any] = json.loads(finished.output)
        except ValueError:
            raise InfrastructureError(
                self._seat.target.name,
                f"`ledger verify` ended with {finished.status} ({finished.last_words})",
                f"look whether {STORE} is there and the release whole: deploy again",
            ) from None
        return audit

    def fetch_store(self, target: Path) -> None:
        """Copy the store as it is at one moment, also while the gateway writes to it."""
        fetch_store(self._seat, STORE, target)

    def erase_store(self) -> None:
        """Begin a new ledger: stop the gateway, delete its store, and start it again if it ran."""
        files = f"{STORE} {STORE}-wal {STORE}-shm"
        command = f"systemctl is-active {UNIT}; systemctl stop {UNIT} && rm -f {files}"
        before = self._root(command, timeout_s=READY_S).output.strip()
        if before == "active":
            self.start()

    def _root(self, command: str, timeout_s: float = 60.0, check: bool = True) -> Finished:
        finished = self._seat.run_as_root(command, timeout_s=timeout_s)
        if check and finished.status:
            raise InfrastructureError(
                self._seat.target.name,
                f"`{command.split(maxsplit=1)[0]}` as root ended with {finished.status}"
                f" ({finished.last_words})",
                "look whether the login may use sudo without a password, and whether systemd runs",
            )
        return finished


def figures_from(text: str) -> ServiceFigures:
    """Read what the look at the machine printed, one NAME=VALUE in a line."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def number(name: str, factor: int = 1) -> int | None:
        value = values.get(name, "").strip()
        return int(value) * factor if value.isdecimal() else None

    card = [int(field) for field in values.get("Card", "").split() if field.isdecimal()]
    counted = len(card) > _WRITTEN_SECTORS
    return ServiceFigures(
        active=values.get("ActiveState") == "active",
        restarts=number("NRestarts") or 0,
        boot_id=values.get("BootId", ""),
        uptime_ms=round(float(values.get("UptimeS") or 0) * 1000),
        cpu_ns=number("CpuUs", 1000),
        resident_bytes=number("ResidentKiB", 1024),
        resident_peak_bytes=number("ResidentPeakKiB", 1024),
        group_bytes=number("GroupBytes"),
        group_peak_bytes=number("GroupPeakBytes"),
        card_writes=card[_WRITES] if counted else None,
        card_written_bytes=card[_WRITTEN_SECTORS] * _SECTOR_BYTES if counted else None,
        disk_free_bytes=number("DiskFreeKiB", 1024),
    )


def log_pages(
    seat: str,
    unit: str,
    run: Callable[[str], str],
    after: str | None,
    beginning: str = "",
    page_lines: int = PAGE_LINES,
) -> Iterator[Log]:
    """Yield a unit's log after a cursor, the earliest lines first, in pages; the last one may be empty.

    `run` carries a command out as root and returns what it printed; `beginning` is journalctl's option for
    where to begin without a cursor. Raises InfrastructureError when the log cannot be read to its end.
    """
    while True:
        where = beginning if after is None else f"--after-cursor={shlex.quote(after)}"
        # With a negative number of lines journalctl would count from the end. Its exit status is the last
        # line, unless the page is full before.
        text = run(
            f"{{ journalctl -u {unit} -o json --output-fields=MESSAGE --no-pager -q {where}; echo $?; }}"
            f" | head -n {page_lines}"
        )
        rows = text.split("\n")[:-1]
        ended = rows[-1:] == ["0"]
        if not ended and len(rows) < page_lines:
            raise InfrastructureError(
                seat, f"the log of {unit} cannot be read to its end", f"look at `journalctl -u {unit}` there"
            )
        log = log_from(text, after)
        yield log
        if ended:
            return
        after = log.cursor


def log_from(text: str, after: str | None) -> Log:
    """Read journalctl's JSON, one object in a line; a line that is none is passed over."""
    lines = []
    cursor = after
    for raw in text.split("\n"):
        try:
            entry = json.loads(raw)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "__REALTIME_TIMESTAMP" not in entry:
            continue
        cursor = entry.get("__CURSOR", cursor)
        message = entry.get("MESSAGE")
        if isinstance(message, list):
            # journalctl gives a message as bytes when it is not printable text.
            message = bytes(message).decode("utf-8", "replace")
        shown = message if isinstance(message, str) else ""
        lines.append(LogLine(int(entry["__REALTIME_TIMESTAMP"]), shown, _event_of(shown)))
    return Log(tuple(lines), cursor)


def _event_of(text: str) -> Mapping[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
