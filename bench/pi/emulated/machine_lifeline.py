"""Runs a program that must not outlive the bench: when standard input ends, however that comes, it is killed.

A process of its own, so that it works also where the bench is killed and can do nothing more, and where the
thread that started the program has ended (which PR_SET_PDEATHSIG alone takes for the end of the process).
What the program says can be kept in a log that does not grow without end.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_UNLOGGED = "-"


def command_with_lifeline(command: list[str], log: Path | None = None, log_bytes: int = 0) -> list[str]:
    """The command that runs `command` until the standard input given to it ends.

    With `log` its output goes there; beyond `log_bytes` the older half is thrown away.
    """
    kept = [_UNLOGGED, "0"] if log is None else [str(log), str(log_bytes)]
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), *kept, *command]


class BoundedLog:
    """A file that holds the newest of what is written to it: half of `limit_bytes` at least, never more."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._path.write_bytes(b"")
        self._length = 0

    def write(self, content: bytes) -> None:
        """Append; where that would go beyond the limit, only the newest half of it is kept."""
        if self._length + len(content) > self._limit_bytes:
            newest = (self._path.read_bytes() + content)[-(self._limit_bytes // 2) :]
            self._path.write_bytes(newest)
            self._length = len(newest)
        else:
            with self._path.open("ab") as stream:
                stream.write(content)
            self._length += len(content)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(log_path: str, log_bytes: str, *command: str) -> int:
    """Run a command until it ends or standard input does; returns its exit status as a shell does."""
    log = None if log_path == _UNLOGGED else BoundedLog(Path(log_path), int(log_bytes))
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=None if log is None else subprocess.PIPE,
        stderr=None if log is None else subprocess.STDOUT,
        preexec_fn=_die_with_parent,
    )
    ended = os.pidfd_open(child.pid)
    lifeline = sys.stdin.fileno()
    watched = [lifeline, ended] + ([child.stdout.fileno()] if child.stdout is not None else [])
    while child.poll() is None:
        ready, _, _ = select.select(watched, [], [])
        if lifeline in ready and not os.read(lifeline, 4096):
            child.kill()
            child.wait()
        if log is not None and child.stdout is not None and child.stdout.fileno() in ready:
            said = os.read(child.stdout.fileno(), 65536)
            log.write(said)
            if not said:
                watched.remove(child.stdout.fileno())
    if log is not None and child.stdout is not None:
        while said := os.read(child.stdout.fileno(), 65536):
            log.write(said)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
