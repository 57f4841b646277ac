"""A node of the ledger, gateway or server, as a process of this host: `ledger gateway` or `ledger serve`.

It is the program that a Pi or a server runs, started and ended as often as one likes; what it tells, one JSON
object a line, goes to a listener.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from bench.pi.bound_process import BoundProcess
from bench.pi.vpn.keys import write_private
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

READY_S: Final = 60.0
STOP_S: Final = 30.0
_POLL_S: Final = 0.02
_LONGEST_LINE_OCTETS: Final = 1 << 20
_CHUNK_OCTETS: Final = 1 << 16


class LedgerFailureError(RuntimeError):
    """The ledger itself failed: it ended where it should run, or did not end as it should."""


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """Something that a node told. `t_ns` is Unix time by the node's clock."""

    t_ns: int
    kind: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """Where a node on this host has its files."""

    path: Path

    @property
    def configuration(self) -> Path:
        """The file for ``--config``."""
        return self.path / "node.toml"

    @property
    def registry(self) -> Path:
        """The registry, with the meters' keys if it is a gateway's."""
        return self.path / "registry.json"

    @property
    def signing_key(self) -> Path:
        """The node's signing key."""
        return self.path / "signing.key"

    @property
    def store(self) -> Path:
        """The ledger itself."""
        return self.path / "store.db"

    def write(self, settings: "NodeSettings") -> None:
        """Write all that the node reads, for its owner's eyes only."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.configuration, settings.configuration.encode())
        write_private(self.registry, settings.registry)
        write_private(self.signing_key, settings.signing_key.hex().encode() + b"\n")

    def erase_store(self) -> None:
        """Delete the ledger, for a new one to begin."""
        for suffix in ("", "-wal", "-shm"):
            self.store.with_name(self.store.name + suffix).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node is told. The configuration names the files of its `NodeFolder`."""

    configuration: str
    registry: bytes = field(repr=False)
    """The JSON of `ledger.registry.Registry.save`."""
    signing_key: bytes = field(repr=False)
    """The seed of the Ed25519 key, 32 octets."""


Listener = Callable[[LedgerEvent], None]
Enclose = Callable[[Sequence[str]], list[str]]


class LedgerProcess(Closable):
    """A node that is started, stopped and killed; `listener` gets each event, in a thread of its own.

    `enclose` makes of a command the one that runs it where it belongs (a network namespace). `seat` is what
    errors call it. `counts` of events by kind and `life` say what happened so far.
    """

    def __init__(
        self,
        seat: str,
        command: Literal["gateway", "serve"],
        folder: NodeFolder,
        listener: Listener,
        enclose: Enclose = list,
    ) -> None:
        self.seat = seat
        self.folder = folder
        self.life = 0
        """How often it was started."""
        self._command = command
        self._listener = listener
        self._enclose = enclose
        self._process: BoundProcess | None = None
        self._events: _EventReader | None = None

    @property
    def store(self) -> Path:
        """Its ledger; others may read it at any time."""
        return self.folder.store

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process is not None and self._process.is_running else None

    def start(self, deadline_s: float = READY_S) -> None:
        """Start it and wait until it says that it has; nothing happens if it runs.

        Raises InfrastructureError if it finds its surroundings wrong, LedgerFailureError if it breaks.
        """
        if self.is_running:
            return
        self.close()
        self.life += 1
        path = self.folder.path
        printed, errors = path / f"events-{self.life}.jsonl", path / f"errors-{self.life}.log"
        for old in (printed, errors):
            old.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "ledger.cli", self._command, "--config", str(self.folder.configuration)]
        self._process = BoundProcess(self.seat, self._enclose(argv), errors, output=printed)
        self._events = _EventReader(f"events of {self.seat}", printed, self._listener)
        end = time.monotonic() + deadline_s
        while not self._events.has_started:
            if not self._process.is_running:
                raise self._failed_start(self._process)
            if time.monotonic() >= end:
                self.kill()
                raise InfrastructureError(
                    self.seat,
                    f"was not ready within {deadline_s:g} s",
                    "see what keeps this host busy",
                    retry_helps=True,
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End it as its service manager would; nothing happens if it does not run.

        Raises LedgerFailureError if it does not end well.
        """
        process = self._process
        if process is None:
            return
        ended_by_itself = not process.is_running
        status = process.stop(STOP_S)
        self._settle()
        if status == 0 and not ended_by_itself:
            return
        how = "it had ended by itself" if ended_by_itself else "it did not end well"
        raise LedgerFailureError(f"{self.seat}: {how} ({_told(status, process)})")

    def kill(self) -> None:
        """End it by SIGKILL, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._settle()

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def check(self) -> None:
        """Raise LedgerFailureError if it was started and has ended by itself."""
        process = self._process
        if process is not None and not process.is_running:
            assert process.exit_status is not None, "it has ended"
            raise LedgerFailureError(
                f"{self.seat}: it ended by itself ({_told(process.exit_status, process)})"
            )

    def close(self) -> None:
        """End it, however it is; all that it told has reached the listener then."""
        self.kill()

    def _settle(self) -> None:
        self._process = None
        if self._events is not None:
            self._events.close()
            self._events = None

    def _failed_start(self, process: BoundProcess) -> Exception:
        status = process.exit_status
        assert status is not None, "it has ended"
        said = process.last_words()
        self._settle()
        if status in (1, 2) and "Traceback" not in said:
            in_use = "cannot listen on" in said
            what = said.removeprefix("error: ") or f"it ended with status {status}"
            return InfrastructureError(self.seat, what, f"see {process.log}", retry_helps=in_use)
        return LedgerFailureError(f"{self.seat}: it broke at its start ({_told(status, process)})")


class HostedNode(Closable):
    """A node on this host in a seat of a rig: its files and its process. Close it, also after an error."""

    def __init__(self, name: str, folder: NodeFolder, process: LedgerProcess) -> None:
        self.name = name
        self.folder = folder
        self.process = process

    @property
    def store(self) -> Path:
        """Its ledger; others may read it at any time."""
        return self.folder.store

    def deploy(self, settings: NodeSettings) -> None:
        """Give it new settings, which hold from its next start."""
        self.folder.write(settings)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process.start()

    def stop(self) -> None:
        """Stop it, and wait for that."""
        self.process.stop()

    def restart(self) -> None:
        """Stop and start it."""
        self.process.restart()

    def kill(self) -> None:
        """End it at once, by SIGKILL; unlike a service it stays down until it is started."""
        self.process.kill()

    def is_running(self) -> bool:
        """Whether it is up and has said that it is ready."""
        return self.process.is_running

    def erase_store(self) -> None:
        """Begin a new ledger: stop the node, delete its store, and start it again if it ran."""
        ran = self.is_running()
        self.process.close()
        self.folder.erase_store()
        if ran:
            self.start()

    def close(self) -> None:
        """End it."""
        self.process.close()


def _told(status: int, process: BoundProcess) -> str:
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    return f"{how}; {process.last_words() or 'it said nothing'}"


class _EventReader:
    """Follows a file of events in a thread, so that who writes it never waits."""

    def __init__(self, name: str, path: Path, listener: Listener) -> None:
        self.has_started = False
        self._path = path
        self._listener = listener
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read to the end and stop."""
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        unfinished = b""
        with self._path.open("rb") as file:
            while True:
                last = self._closing.is_set()
                while chunk := os.read(file.fileno(), _CHUNK_OCTETS):
                    *lines, unfinished = (unfinished + chunk).split(b"\n")
                    for line in lines:
                        self._take(line)
                    if len(unfinished) > _LONGEST_LINE_OCTETS:
                        unfinished = b""
                if last:
                    # A line that a killed process has not finished is no event.
                    return
                self._closing.wait(_POLL_S)

    def _take(self, line: bytes) -> None:
        event = parse_event(line)
        if event is None:
            return
        self._listener(event)
        self.has_started = self.has_started or event.kind == "started"


def parse_event(line: bytes | str) -> LedgerEvent | None:
    """The event in a line; None if there is none in it."""
    try:
        facts = json.loads(line)
        return LedgerEvent(int(facts.pop("t_ns")), str(facts.pop("event")), facts)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
