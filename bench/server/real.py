"""The real seat of the server: the ledger's own server on a host that is reached by SSH.

It runs as a transient unit of systemd, under an account of its own that the first deployment makes, with its
files below ``/etc/dag-ledger-server`` and its store below ``/var/lib/dag-ledger-server``. The program comes
from `bench.pi.deployed.deployment.install_release`, or is one that the host has already; what else is missing
is told.
"""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.pi.deployed.gateway_service import log_pages
from bench.pi.deployed.store_copy import COPY_S, fetch_store
from bench.pi.ledger_process import LedgerEvent, Listener, NodeFolder, NodeSettings
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from bench.pi.ssh import Finished, SshSeat

UNIT: Final = "dag-ledger-server.service"
USER: Final = "dag-ledger-server"
SETTINGS: Final = "/etc/dag-ledger-server"
STORE: Final = "/var/lib/dag-ledger-server/store.db"
FILES: Final = NodeFolder(Path(SETTINGS))
"""Where the host has what the configuration names; the store lies in `STORE`."""
READY_S: Final = 90.0

# Signing keys are of no use to the account's group, which `ledger` refuses to see.
_DEPLOY: Final = f"""
set -e
umask 077
id {USER} >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {USER}
install -d -m 0750 -o {USER} -g {USER} {SETTINGS} $(dirname {STORE})
for file in node.toml registry.json signing.key; do
    install -m 0600 -o {USER} -g {USER} "$1/$file" {SETTINGS}/$file.part
    sync {SETTINGS}/$file.part
    mv {SETTINGS}/$file.part {SETTINGS}/$file
done
"""
# Type=notify: the command returns when the server has said that it is ready.
_START: Final = f"""
systemctl is-active -q {UNIT} && exit 0
systemctl reset-failed {UNIT} 2>/dev/null
exec systemd-run --quiet --collect --unit={UNIT} --description="Server of the DAG ledger" \\
    -p Type=notify -p NotifyAccess=all -p TimeoutStartSec=60 -p TimeoutStopSec=20 -p User={USER} \\
    -p UMask=0077 -p WatchdogSec=120 -p Restart=on-watchdog \\
    -p NoNewPrivileges=yes -p ProtectSystem=strict -p ReadWritePaths=$(dirname {STORE}) -p ProtectHome=yes \\
    -p PrivateTmp=yes -p LogRateLimitIntervalSec=0 "$1" serve --config {FILES.configuration}
"""


class RealServer:
    """The server on a host of the lab, through an SSH seat that is connected.

    Every call may raise InfrastructureError (the login, sudo, systemd). `program` is the ledger's command on
    the host. `listener` is called with each event when they are collected.
    """

    def __init__(self, name: str, ssh: "SshSeat", program: str, listener: Listener) -> None:
        self.name = name
        self._ssh = ssh
        self._program = program
        self._listener = listener
        self._cursor: str | None = None
        self._since_us = 0

    def check(self) -> None:
        """Raise InfrastructureError for the first thing that the host lacks."""
        if self._as_root("true").status:
            raise self._error("the login may not use sudo without a password", "permit it in /etc/sudoers.d")
        if self._as_root("test -d /run/systemd/system && command -v systemd-run").status:
            raise self._error("systemd does not run there", "use a host that is started by systemd")
        tried = self._as_root(f"{shlex.quote(self._program)} --help")
        if tried.status:
            raise self._error(
                f"the ledger is not there as {self._program} ({tried.last_words})",
                "install a release for this host (bench.pi.deployed.deployment), or the package dag-ledger",
            )

    def deploy(self, settings: NodeSettings) -> None:
        """Give it new settings, which hold from its next start."""
        stage = self._ssh.run("umask 077; mktemp -d /dev/shm/server.XXXXXXXXXX").output.strip()
        try:
            for name, content in (
                ("node.toml", settings.configuration.encode()),
                ("registry.json", settings.registry),
                ("signing.key", settings.signing_key.hex().encode() + b"\n"),
            ):
                self._ssh.put_bytes(content, f"{stage}/{name}", 0o600)
            self._checked("its settings cannot be written", _DEPLOY, stage)
        finally:
            self._ssh.run(f"rm -rf {shlex.quote(stage)}", check=False)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self._mark()
        self._checked("it does not start", _START, self._program, timeout_s=READY_S)

    def stop(self) -> None:
        """Stop it, and wait for that."""
        self._as_root(f"systemctl stop {UNIT}", timeout_s=READY_S)

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End it at once, by SIGKILL; it stays down until it is started."""
        self._as_root(f"systemctl kill --signal=SIGKILL {UNIT}")
        until_s = time.monotonic() + READY_S
        while self.is_running() and time.monotonic() < until_s:
            time.sleep(0.1)

    def is_running(self) -> bool:
        """Whether it is up and has said that it is ready."""
        return self._as_root(f"systemctl is-active -q {UNIT}").status == 0

    def collect_events(self) -> int:
        """Hand what it has told since the last time to the listener; return how many events that were."""
        collected = 0
        beginning = f"--since=@{self._since_us // 1_000_000}"
        for log in log_pages(self.name, UNIT, self._told_to_root, self._cursor, beginning):
            self._cursor = log.cursor
            for line in log.lines:
                if line.event is not None and "t_ns" in line.event and "event" in line.event:
                    facts = dict(line.event)
                    self._listener(LedgerEvent(int(facts.pop("t_ns")), str(facts.pop("event")), facts))
                    collected += 1
        return collected

    def verify(self) -> bool:
        """Whether `ledger verify` finds the store whole; audit a server that does not run."""
        command = f"runuser -u {USER} -- {shlex.quote(self._program)} verify --json {STORE}"
        finished = self._as_root(command, timeout_s=COPY_S)
        try:
            return bool(json.loads(finished.output)["clean"])
        except (ValueError, KeyError, TypeError):
            raise self._error(
                f"its store cannot be audited ({finished.last_words})", "start it once"
            ) from None

    def fetch_store(self, target: Path) -> None:
        """Copy the store as it is at one moment, also while the server writes to it."""
        fetch_store(self._ssh, STORE, target)

    def erase_store(self) -> None:
        """Begin a new ledger: stop the server, delete its store, and start it again if it ran."""
        ran = self.is_running()
        self.stop()
        self._as_root(f"rm -f {STORE} {STORE}-wal {STORE}-shm")
        if ran:
            self.start()

    def close(self) -> None:
        """Stop it; the host keeps its files."""
        self.stop()

    def _mark(self) -> None:
        """Remember from when on its journal is of interest, by the host's own clock."""
        if self._cursor is None and self._since_us == 0:
            self._since_us = int(self._ssh.run("date +%s").output) * 1_000_000

    def _checked(self, what: str, script: str, *arguments: str, timeout_s: float = 60.0) -> None:
        finished = self._as_root(script, *arguments, timeout_s=timeout_s)
        if finished.status:
            raise self._error(f"{what} ({finished.last_words})", f"look at `journalctl -u {UNIT}` there")

    def _as_root(self, script: str, *arguments: str, timeout_s: float = 60.0) -> "Finished":
        return self._ssh.run_as_root(script, *arguments, timeout_s=timeout_s)

    def _told_to_root(self, command: str) -> str:
        return self._as_root(command, timeout_s=COPY_S).output

    def _error(self, what: str, mend: str) -> InfrastructureError:
        return InfrastructureError(self.name, what, mend)
