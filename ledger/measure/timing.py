"""Timed work in interleaved rounds, and what the rounds say: median and spread."""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.effects import Spent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ledger.effects import Effect, Operation

WARM_UP_ROUNDS = 1
_STEPS = 64


class CoreError(ValueError):
    """A core that this process cannot stay on; the message names those that it may use."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work to be timed: `prepare` makes ready, untimed, and returns what is to be run under the clock.

    That returns the ledger's effects, from which its expenses are counted afterwards. It makes `calls`
    calls; a batch is `repeats` times prepare and run, and only the runs count.
    """

    name: str
    calls: int
    prepare: Callable[[], Callable[[], Sequence[Effect]]]
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch took: CPU time of this process, time of the steady clock (ns), and what was spent."""

    cpu_ns: int
    elapsed_ns: int
    calls: int
    spent: Mapping[Operation, int]

    @property
    def cpu_ns_per_call(self) -> float:
        """CPU time of one call."""
        return self.cpu_ns / self.calls

    @property
    def elapsed_ns_per_call(self) -> float:
        """Time of one call by the steady clock, waiting included."""
        return self.elapsed_ns / self.calls


@dataclass(frozen=True, slots=True)
class Summary:
    """What several batches say about one figure."""

    median: float
    spread: float
    """Standard deviation of the natural logarithm over batches; 0 when a batch is not above 0."""
    batches: int


def summary_of(figures: Sequence[float]) -> Summary:
    """Sum up the same figure of several batches. Raises ValueError when there is none."""
    if not figures:
        raise ValueError("no batch was measured: ask for one round at least")
    spread = 0.0
    if len(figures) > 1 and min(figures) > 0:
        spread = statistics.stdev(map(math.log, figures))
    return Summary(statistics.median(figures), spread, len(figures))


def measure_rounds(tasks: Sequence[Task], rounds: int) -> dict[str, list[Batch]]:
    """Run every task once a round, in their order, and return their batches by name.

    Interleaving lets whatever drifts (heat, other load, a store that grows) touch all tasks alike. The first
    round warms caches and is thrown away.
    """
    batches: dict[str, list[Batch]] = {task.name: [] for task in tasks}
    # What is there already stays: so collecting before each batch is quick.
    gc.collect()
    gc.freeze()
    for number in range(WARM_UP_ROUNDS + rounds):
        for task in tasks:
            batch = _batch_of(task)
            if number >= WARM_UP_ROUNDS:
                batches[task.name].append(batch)
    return batches


def _batch_of(task: Task) -> Batch:
    cpu_ns = elapsed_ns = 0
    spent: Counter[Operation] = Counter()
    for _ in range(task.repeats):
        run_cpu_ns, run_elapsed_ns, effects = _timed(task.prepare())
        cpu_ns += run_cpu_ns
        elapsed_ns += run_elapsed_ns
        for effect in effects:
            if isinstance(effect, Spent):
                spent[effect.operation] += effect.count
    return Batch(cpu_ns, elapsed_ns, task.calls * task.repeats, spent)


def _timed(run: Callable[[], Sequence[Effect]]) -> tuple[int, int, Sequence[Effect]]:
    cpu_clock, steady_clock = time.CLOCK_PROCESS_CPUTIME_ID, time.CLOCK_MONOTONIC
    gc.collect()
    gc.disable()
    try:
        started_ns = time.clock_gettime_ns(steady_clock)
        cpu_started_ns = time.clock_gettime_ns(cpu_clock)
        effects = run()
        cpu_ns = time.clock_gettime_ns(cpu_clock) - cpu_started_ns
        elapsed_ns = time.clock_gettime_ns(steady_clock) - started_ns
    finally:
        gc.enable()
    return cpu_ns, elapsed_ns, effects


def smallest_step_ns(clock: int) -> int:
    """Return the smallest difference seen between two looks at a clock that showed different times."""
    steps = []
    for _ in range(_STEPS):
        before = time.clock_gettime_ns(clock)
        while (after := time.clock_gettime_ns(clock)) == before:
            pass
        steps.append(after - before)
    return min(steps)


def stay_on_core(core: int | None = None) -> int:
    """Keep this process on one core, the last it may use unless told; return which. Raises CoreError."""
    usable = sorted(os.sched_getaffinity(0))
    chosen = usable[-1] if core is None else core
    try:
        os.sched_setaffinity(0, {chosen})
    except OSError:
        cores = ", ".join(map(str, usable))
        raise CoreError(f"core {chosen} cannot be used here: give one of {cores}") from None
    return chosen
