"""Lets a process that runs an emulated Pi tell others on this host how to log in to it.

A file in the cache, locked while the process lives: a lock ends with its holder, whatever ended it.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.pi.ssh import SshTarget

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def announce(target: SshTarget, cache: Path) -> Iterator[None]:
    """Tell where a Pi is reached until the block ends."""
    folder = cache / "pi" / "running"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}.json"
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        json.dump(asdict(target) | {"identity": str(target.identity)}, stream)
        stream.flush()
        part.rename(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def announced(cache: Path) -> SshTarget | None:
    """Where the Pi is reached that was started last and is still run by its process; None if none is."""
    files = sorted(
        (cache / "pi" / "running").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in files:
        with path.open(encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                values = json.load(stream)
                return SshTarget(**values | {"identity": Path(values["identity"])})
            path.unlink(missing_ok=True)
    return None
