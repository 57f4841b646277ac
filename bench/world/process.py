"""A host in a process of its own: its islands are built, played and harvested there."""

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from bench.world.island import Island, Letter, LocalHost, Report

_HARVEST = "harvest"
_CLOSE = "close"
_PARENT_CHECK_S = 5.0

# Forked, so that what the parts are built from need not be picklable.
_CONTEXT = multiprocessing.get_context("fork")


class ProcessError(RuntimeError):
    """A process of the bench failed in a way that is no user's mistake; the message has its traceback."""


class Part(Protocol):
    """An island with its seats: played by a host, and asked at the end for what it found."""

    @property
    def island(self) -> Island:
        """The island that its seats live on."""

    def harvest(self) -> Any:
        """What it found, once the last stretch was played."""

    def close(self) -> None:
        """Let go of files."""


class ProcessHost:
    """Plays the islands of some parts in a child process. Close it, also after an error."""

    def __init__(self, build: Callable[[], Sequence[Part]]) -> None:
        self._connection, child = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(child, build), daemon=True)
        self._process.start()
        child.close()
        self._islands: tuple[str, ...] = ()

    @property
    def islands(self) -> Sequence[str]:
        """The names of its islands; waits for them to be built. Raises what building them raised."""
        if not self._islands:
            self._islands = self._answer()
        return self._islands

    def begin(self, until_ns: int, letters: Sequence[Letter]) -> None:
        """Have the child play a stretch."""
        self._connection.send((until_ns, letters))

    def end(self) -> Report:
        """Wait for the child's report."""
        report: Report = self._answer()
        return report

    def harvest(self) -> list[Any]:
        """What the parts found, in their order."""
        self._connection.send(_HARVEST)
        found: list[Any] = self._answer()
        return found

    def close(self) -> None:
        """End the child."""
        with contextlib.suppress(OSError):
            self._connection.send(_CLOSE)
        self._connection.close()
        self._process.join()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise ProcessError(f"a process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection: Connection, build: Callable[[], Sequence[Part]]) -> None:
    parts: Sequence[Part] = ()
    try:
        parts = build()
        host = LocalHost([part.island for part in parts])
        connection.send(host.islands)
        while (order := _next_order(connection)) != _CLOSE:
            if order == _HARVEST:
                connection.send([part.harvest() for part in parts])
            else:
                host.begin(*order)
                connection.send(host.end())
    except (ValueError, RuntimeError) as error:
        connection.send(error if _survives_the_way(error) else ProcessError(traceback.format_exc()))
    finally:
        for part in parts:
            part.close()


def _next_order(connection: Connection) -> Any:
    """Wait for an order. A parent that was killed sends none: then it is the last one."""
    parent = os.getppid()
    while not connection.poll(_PARENT_CHECK_S):
        if os.getppid() != parent:
            return _CLOSE
    return connection.recv()


def _survives_the_way(error: Exception) -> bool:
    """Errors made of one message arrive as they were sent; others could not be built again."""
    return error.args == (str(error),)
