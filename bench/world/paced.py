"""A simulation at the pace of the wall clock, for what can only be met in real time: ports, processes, hosts.

A thread of its own keeps the appointments when the monotonic clock reaches them, and is the only one that
touches the world: others hand it their actions.
"""

import contextlib
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.trace import Trace, Value

SLICE_NS: Final = NS_PER_MS
"""Busy actors are played in slices of this length, and are so much behind the clock at the end of each."""
_CATCH_UP_NS: Final = 5 * NS_PER_MS
"""A late world catches up in slices of this length, so that what has come in meanwhile is not later still."""
_LONGEST_WAIT_NS: Final = 10 * NS_PER_MS
"""An idle world looks at the clock this often, so that it notices when it does not get to run."""

_NICENESS: Final = -10
"""Asked of the host for the world's thread: it needs little, but on time."""

Result = TypeVar("Result")


class WorldStoppedError(RuntimeError):
    """The paced world has come to a halt through an error in it, which is the cause of this one."""


class Leashed(Protocol):
    """An actor that runs ahead on its own, but no further than this: then something outside may reach it."""

    leash_ns: int | None


class PacedWorld:
    """Plays a simulation and settles its trace as real time goes by; the subscribers run in its thread.

    Before `start` and after `close` nothing moves, and `call` runs its action in the caller's thread.
    """

    def __init__(self, simulation: Simulation, trace: Trace) -> None:
        self.simulation = simulation
        self.trace = trace
        self.began_unix_ns = 0
        """Wall clock (Unix time) at this world's zero; 0 before `start`."""
        self.largest_lag_ns = 0
        """How late the world has come at worst with what was due; a slice's own length does not count."""
        self._began_ns = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._closing = False
        self._leashed: list[Leashed] = []
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._calls_lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._drain_wake_pipe)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # ---- for every thread ----

    @property
    def now_ns(self) -> int:
        """Time since the world's zero by the monotonic clock; the simulation follows, by its lag behind."""
        return time.monotonic_ns() - self._began_ns if self.is_playing else self.simulation.now_ns

    @property
    def is_playing(self) -> bool:
        """Between `start` and `close`, unless an error has stopped the world."""
        return self._thread is not None and not self._closing and self._failure is None

    def start(self) -> None:
        """Let time begin, at the simulation's present. A world is started once."""
        assert self._thread is None, "a paced world is started once"
        self._began_ns = time.monotonic_ns() - self.simulation.now_ns
        self.began_unix_ns = time.time_ns() - self.simulation.now_ns
        self._thread = threading.Thread(target=self._live, name="paced world", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and settle the whole trace. Raises WorldStoppedError when an error has stopped it before."""
        with self._calls_lock:
            already, self._closing = self._closing, True
        if already:
            return
        self._wake()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        self._raise_failure()
        self.trace.settle()

    def call(self, action: Callable[[], Result]) -> Result:
        """Run an action in the world's thread at its present time; what it returns or raises comes back.

        Raises WorldStoppedError.
        """
        if threading.current_thread() is self._thread:
            return action()
        outcome = self._enqueue(action)
        return action() if outcome is None else outcome.result()

    def post(self, action: Callable[[], object]) -> None:
        """As `call`, without waiting for the outcome: an error in the action stops the world."""

        def checked() -> None:
            try:
                action()
            except Exception as error:
                self._failure = error
                raise

        if threading.current_thread() is self._thread or self._enqueue(checked) is None:
            action()

    def record(self, source: str, kind: str, **fields: Value) -> None:
        """Note in the trace what happened to `source` at the present."""
        self.post(lambda: self.trace.record(self.simulation.now_ns, source, kind, **fields))

    def attach(self, descriptor: int, ready: Callable[[], object]) -> None:
        """Call `ready` in the world's thread whenever the descriptor can be read or has hung up."""
        self.call(lambda: self._selector.register(descriptor, selectors.EVENT_READ, ready))

    def detach(self, descriptor: int) -> None:
        """Forget a descriptor; must come before it is closed."""
        if not self._closing:
            self.call(lambda: self._selector.unregister(descriptor))

    def leash(self, actor: Leashed) -> None:
        """Keep an actor from running ahead of the clock."""

        def take() -> None:
            actor.leash_ns = self.simulation.now_ns
            self._leashed.append(actor)

        self.call(take)

    def unleash(self, actor: Leashed) -> None:
        """Let go of an actor."""
        self.call(lambda: self._leashed.remove(actor))

    # ---- in the world's thread ----

    def _live(self) -> None:
        with contextlib.suppress(OSError):  # an ordinary user is not given it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            while not self._closing and self._failure is None:
                due_ns = self._due_ns()
                ready = self._selector.select(max(0, due_ns - self.now_ns) / NS_PER_S)
                self._play(min(due_ns, self.now_ns))
                for key, _ in ready:
                    # What is ready may have been detached by the one before it.
                    if key.fd in self._selector.get_map():
                        key.data()
                self._answer_calls()
        except BaseException as error:
            self._failure = error
        finally:
            self._answer_calls()

    def _due_ns(self) -> int:
        """When to play on: at the next appointment, but not before a slice is over."""
        played_ns = self.simulation.now_ns
        next_ns = self.simulation.next_ns()
        latest_ns = played_ns + _LONGEST_WAIT_NS
        return latest_ns if next_ns is None else min(latest_ns, max(next_ns, played_ns + SLICE_NS))

    def _play(self, due_ns: int) -> None:
        played_ns = self.simulation.now_ns
        next_ns = self.simulation.next_ns()
        now_ns = max(self.now_ns, played_ns)
        until_ns = now_ns if next_ns is None else min(now_ns, max(next_ns, played_ns) + _CATCH_UP_NS)
        for actor in self._leashed:
            actor.leash_ns = until_ns
        self.simulation.run(until_ns)
        self.trace.settle(until_ns)
        self.largest_lag_ns = max(self.largest_lag_ns, self.now_ns - due_ns)

    def _answer_calls(self) -> None:
        while True:
            with self._calls_lock:
                if not self._calls:
                    return
                action, outcome = self._calls.popleft()
            if self._failure is not None:
                outcome.set_exception(self._told_failure())
                continue
            try:
                outcome.set_result(action())
            except BaseException as error:
                outcome.set_exception(error)

    # ---- between threads ----

    def _enqueue(self, action: Callable[[], Result]) -> Future[Result] | None:
        """The future outcome, or None when no world's thread is there to run the action."""
        with self._calls_lock:
            self._raise_failure()
            if not self.is_playing:
                return None
            outcome: Future[Result] = Future()
            self._calls.append((action, outcome))
        self._wake()
        return outcome

    def _told_failure(self) -> WorldStoppedError:
        error = WorldStoppedError(f"the paced world has stopped: {self._failure!r}")
        error.__cause__ = self._failure
        return error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._told_failure()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it will wake
            os.write(self._wake_writer, b"\0")

    def _drain_wake_pipe(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 65_536)
