"""A gateway and a server as real processes with a cable between them, for tests."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from ledger.registry import METER_KEY_BYTES, Issuer, Registry
from ledger.service.identity import write_new_key
from ledger.service.proxy import Proxy
from ledger.store import StoreError
from ledger.verify import open_for_reading, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.block import Reading

DEADLINE_S = 120.0
_LOOK_EVERY_S = 0.02

Events = dict[str, list[dict[str, Any]]]


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, with a generous deadline."""
    waiting = threading.Event()
    for _ in range(int(DEADLINE_S / _LOOK_EVERY_S)):
        if condition():
            return
        waiting.wait(_LOOK_EVERY_S)
    raise AssertionError("it did not come to that")


class Daemon:
    """One process of the ledger, started as often as one likes; ``environment`` is added to this one's."""

    def __init__(self, command: str, config: Path, store: Path) -> None:
        self.store = store
        self.config = config
        self.environment: dict[str, str] = {}
        self._command = command
        self._log = config.with_suffix(".log")
        self._errors = config.with_suffix(".err")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it says that it has."""
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ledger.cli", self._command, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                env={**os.environ, **self.environment},
            )
        until(lambda: self.events()["started"] or self._has_ended())
        assert not self._has_ended(), self.errors()

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> Events:
        """End it by SIGTERM, which must succeed; return the events of its life."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(DEADLINE_S) == 0, self.errors()
        assert self.errors() == ""
        return self.events()

    def events(self) -> Events:
        """What it has told since it was started last, by event."""
        events: Events = collections.defaultdict(list)
        # A line that a killed process has not finished is no event.
        for line in self._log.read_bytes().split(b"\n")[:-1]:
            event = json.loads(line)
            events[event["event"]].append(event)
        return events

    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._errors.read_text()

    def close(self) -> None:
        """End it if it runs."""
        if self._process is not None and not self._has_ended():
            self.kill()

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


class ProcessPair:
    """A gateway "east" that calls a server through a cable, with one meter."""

    uno_id = 7

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meter_key = bytes(range(METER_KEY_BYTES))
        keys = {name: write_new_key(folder / f"{name}.key") for name in ("east", "server")}
        registry = Registry(
            bytes(16), 1, {key: Issuer(name) for name, key in keys.items()}, {self.uno_id: self.meter_key}
        )
        registry.save(folder / "registry.json")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.cable = Proxy(port)
        self._write("server", f'listen = "127.0.0.1:{port}"', ("east", "127.0.0.1"))
        self.gateway = Daemon("gateway", folder / "east.toml", folder / "east.db")
        self.server = Daemon("serve", folder / "server.toml", folder / "server.db")

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End both processes."""
        self.gateway.close()
        self.server.close()
        self.cable.close()

    def configure(self, radio: str, readings: int, age_s: float) -> None:
        """Write the gateway's configuration with these lines for its radio."""
        rest = f"[batch]\nreadings = {readings}\nage_s = {age_s}\n[radio]\n{radio}"
        self._write("east", rest, ("server", f"127.0.0.1:{self.cable.port}"))

    def wait_until_converged(self, count: int) -> None:
        """Wait until the server has the meter's readings 0 to ``count - 1``."""
        until(lambda: set(range(count)) <= {reading.counter for reading in readings(self.server.store)})

    def check(self, acknowledged: int) -> None:
        """See, with both processes ended, that every acknowledged reading is whole and in both ledgers."""
        for daemon in (self.gateway, self.server):
            audit = verify(daemon.store)
            assert audit.clean, audit.findings
            held = readings(daemon.store)
            lost = set(range(acknowledged)) - {reading.counter for reading in held}
            assert not lost, f"{daemon.store}: acknowledged and lost: {sorted(lost)}"
        with contextlib.closing(open_for_reading(self.server.store)) as store:
            assert store.reading_counts().conflicts == 0
            assert store.frozen() == {}

    def _write(self, name: str, rest: str, peer: tuple[str, str]) -> None:
        (self.folder / f"{name}.toml").write_text(
            f'name = "{name}"\nstore = "{name}.db"\nregistry = "registry.json"\nsigning_key = "{name}.key"\n'
            f'{rest}\n[[peer]]\nname = "{peer[0]}"\naddress = "{peer[1]}"\n'
        )


def readings(path: Path) -> list[Reading]:
    """The readings in a store, in blocks and pending; none while it is busy or not there yet."""
    if not path.exists():
        return []
    try:
        with contextlib.closing(open_for_reading(path)) as store:
            return [*store.readings(), *store.pending(1_000_000)]
    except StoreError:
        return []
