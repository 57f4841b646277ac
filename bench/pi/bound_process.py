"""A process of this host that ends with its owner, whatever ends the owner.

Its output goes to a file, so that it never waits for a reader. The kernel kills it when the owner dies
(``prctl(2)``, PR_SET_PDEATHSIG, set by ``setpriv``).
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.rig.infrastructure import InfrastructureError

_TAIL_OCTETS = 2000


def _new_starter() -> ThreadPoolExecutor:
    # PR_SET_PDEATHSIG watches the thread that started the process, not its process: all are started by one
    # thread that lives as long as the owner.
    return ThreadPoolExecutor(1, thread_name_prefix="starter of processes")


def _renew_starter() -> None:
    """A fork has no threads of its parent."""
    global _starter
    _starter = _new_starter()


_starter = _new_starter()
os.register_at_fork(after_in_child=_renew_starter)


class BoundProcess:
    """A running process; `log` gets what it prints, appended: all of it, or only errors where `output` gets
    the rest.
    """

    def __init__(
        self,
        seat: str,
        argv: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        self.seat = seat
        self.log = log
        command = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        with log.open("ab") as errors, (output or log).open("ab") as printed:
            try:
                self._process = _starter.submit(
                    subprocess.Popen,
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=errors,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                ).result()
            except FileNotFoundError as error:
                raise InfrastructureError(
                    seat, f"cannot start it: there is no {error.filename}", "install the package util-linux"
                ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What it ended with (negative: by that signal); None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.is_running:
            self._process.send_signal(number)

    def stop(self, patience_s: float = 10) -> int:
        """End it by SIGTERM, by SIGKILL if it does not heed that; return what it ended with."""
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it by SIGKILL, as a power cut of this one process; return what it ended with."""
        self.signal(signal.SIGKILL)
        return self._process.wait()

    def last_words(self) -> str:
        """The end of what it printed, for a person."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_OCTETS))
            return file.read().decode(errors="replace").strip()
