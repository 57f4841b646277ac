"""One whole measurement, from empty stores to a document of figures."""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger.measure.board import board, condition, doubts
from ledger.measure.card import CardCounts, card_counts
from ledger.measure.derivation import RADIO, OperationCost, composites, operation_costs
from ledger.measure.radio import check_chip, radio_costs, radio_tasks
from ledger.measure.timing import measure_rounds, stay_on_core, summary_of
from ledger.measure.workload import Exchange, FrameIntake, first_block, simple_tasks, store_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.effects import Operation
    from ledger.gateway.port import SpiPort
    from ledger.measure.timing import Batch, Summary

FORMAT: Final = 1
"""Version of the document."""

DEFAULT_ROUNDS: Final = 9
DEFAULT_COMMITS: Final = 64
CARD_SERIES: Final = 5
DISTURBED: Final = 1.05
"""Elapsed by CPU time of work that never waits, from which on something else must have run on the core."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How to measure: `folder` is on the card that a gateway's store lies on."""

    folder: Path
    rounds: int = DEFAULT_ROUNDS
    commits: int = DEFAULT_COMMITS
    """Durable commits in each of the series by which the card's writes are counted."""
    core: int | None = None


def measure(plan: Plan, port: SpiPort | None = None) -> dict[str, Any]:
    """Measure and return the document that ``--json`` prints.

    Raises CoreError, StoreError, OSError, RadioError (no chip on a port that was given) and DerivationError.
    """
    started_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    core = stay_on_core(plan.core)
    if port is not None:
        check_chip(port)
    before = condition(core)
    with tempfile.TemporaryDirectory(prefix="measure-", dir=plan.folder) as name:
        folder = Path(name)
        intake, exchange = FrameIntake(folder), Exchange(folder)
        try:
            tasks = [*simple_tasks(first_block(exchange)), *store_tasks(intake, exchange)]
            tasks += radio_tasks(port) if port is not None else []
            batches = measure_rounds(tasks, plan.rounds)
            card = _card_per_commit(intake, folder, plan.commits)
        finally:
            intake.close()
            exchange.close()
    after = condition(core)
    costs = operation_costs(batches)
    if port is not None:
        costs |= _radio_costs(batches)
    figures = {operation: cost.cost_ns.median for operation, cost in costs.items()}
    found = [*doubts(before, after), *_disturbance(batches)]
    return {
        "format": FORMAT,
        "board": dataclasses.asdict(board()),
        "condition": {"before": dataclasses.asdict(before), "after": dataclasses.asdict(after)},
        "doubts": found,
        "core": core,
        "rounds": plan.rounds,
        "hash_seed": os.environ.get("PYTHONHASHSEED", "random"),
        "cpu_ns": time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID),
        "elapsed_ns": time.clock_gettime_ns(time.CLOCK_MONOTONIC) - started_ns,
        "operation": {
            operation.value: {
                **_figures(cost.cost_ns, "cost_ns"),
                "per": cost.per,
                "calls": cost.calls,
                "how": cost.how,
            }
            for operation, cost in costs.items()
        },
        "composite": {
            name: {
                **_figures(composite.cpu_ns, "cpu_ns"),
                "elapsed_ns": composite.elapsed_ns.median,
                "calls": composite.calls,
                "spent": {operation.value: number for operation, number in composite.spent.items()},
                "charged_ns": composite.charged_ns,
            }
            for name, composite in composites(batches, figures).items()
        },
        "card": card,
    }


def _figures(summary: Summary, name: str) -> dict[str, float | int]:
    return {name: summary.median, "spread": summary.spread, "batches": summary.batches}


def _radio_costs(batches: Mapping[str, Sequence[Batch]]) -> dict[Operation, OperationCost]:
    rounds = [radio_costs(batches, number) for number in range(len(batches["radio_fetch"]))]
    how = "fetching a frame of 61 B and answering with 19 B over the board's port, waiting included"
    calls = sum(batch.calls for batch in batches["radio_fetch"])
    return {
        operation: OperationCost(summary_of([costs[operation] for costs in rounds]), per, calls, how)
        for operation, per in RADIO.items()
    }


def _card_per_commit(intake: FrameIntake, folder: Path, commits: int) -> dict[str, float] | None:
    """Count what one durable commit writes to the card, in the median of several series."""
    series: list[CardCounts] = []
    for _ in range(CARD_SERIES):
        before = card_counts(folder)
        if before is None:
            return None
        intake.commit_many(commits)
        after = card_counts(folder)
        assert after is not None, "the device was there a moment ago"
        series.append(after.since(before))
    return {
        "commits": float(commits * CARD_SERIES),
        "writes_per_commit": statistics.median(counts.writes for counts in series) / commits,
        "bytes_per_commit": statistics.median(counts.written_bytes for counts in series) / commits,
        "flushes_per_commit": statistics.median(counts.flushes for counts in series) / commits,
    }


def _disturbance(batches: Mapping[str, Sequence[Batch]]) -> list[str]:
    series = batches["ascon_open"]
    ratio = statistics.median(batch.elapsed_ns / batch.cpu_ns for batch in series)
    if ratio <= DISTURBED:
        return []
    return [
        f"work that never waits took {ratio:.2f} times its CPU time: something else ran on this core; stop it"
    ]
