"""From timed batches to the cost of each operation, such that what a gateway spends adds up to what it takes.

Five operations are timed alone. The other three are what is left of a whole piece of work when all else that
the ledger says it spent in it has been paid: a commit of a frame stored, a byte encoded of a block sealed, a
byte decoded of a block admitted. So they carry the work around them (lookups, the index, messages to peers),
and a simulation that charges the ledger's expenses charges all of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.effects import Operation
from ledger.measure.timing import Batch, Summary, summary_of
from ledger.measure.workload import BLOCK_SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALONE: Final = {
    Operation.ASCON_OPEN: "frame of 21 B plaintext and 11 B associated data",
    Operation.ASCON_TAG: "acknowledgement (no plaintext, 11 B associated data)",
    Operation.ED25519_SIGN: "signature",
    Operation.ED25519_VERIFY: "signature",
    Operation.BLAKE2B: "128 B hashed, or the last part of them",
}
"""The operations timed alone, and what each counts once."""

LEFT_OF: Final = {
    Operation.COMMIT: ("frame_stored", "durable transaction, besides the card's time"),
    Operation.BLOCK_ENCODE: (f"block_{BLOCK_SIZES[-1]}_sealed", "byte of block"),
    Operation.BLOCK_DECODE: (f"block_{BLOCK_SIZES[-1]}_admitted", "byte of block"),
}
"""The operations that are what is left of a composite, in the order in which they can be found."""

RADIO: Final = {
    Operation.RADIO_READ: "byte over SPI",
    Operation.RADIO_WRITE: "byte over SPI",
}
"""The operations that need a chip (:mod:`ledger.measure.radio`)."""

RADIO_TASKS: Final = ("radio_fetch", "radio_answer")
"""The tasks that their costs are found from."""


class DerivationError(RuntimeError):
    """The batches do not give the cost of an operation; the message says which and why."""


@dataclass(frozen=True, slots=True)
class OperationCost:
    """What one operation costs, ns of CPU, counted once per `per`."""

    cost_ns: Summary
    per: str
    calls: int
    how: str


@dataclass(frozen=True, slots=True)
class Composite:
    """A whole piece of work: what it took and what its expenses come to, ns, per call."""

    cpu_ns: Summary
    elapsed_ns: Summary
    calls: int
    spent: Mapping[Operation, float]
    charged_ns: float


def operation_costs(batches: Mapping[str, Sequence[Batch]]) -> dict[Operation, OperationCost]:
    """Return the cost of every operation but those of the radio. Raises DerivationError."""
    rounds = min(len(series) for series in batches.values())
    by_round: list[dict[Operation, float]] = [_costs_of_round(batches, number) for number in range(rounds)]
    costs = {}
    for operation in (*ALONE, *LEFT_OF):
        summary = summary_of([costs_of_round[operation] for costs_of_round in by_round])
        if operation in ALONE:
            source, per, how = operation.value, ALONE[operation], "timed alone"
            calls = sum(batch.calls for batch in batches[source])
        else:
            source, per = LEFT_OF[operation]
            how = f"what is left of {source} when its other expenses are paid"
            calls = sum(batch.spent.get(operation, 0) for batch in batches[source])
        costs[operation] = OperationCost(summary, per, calls, how)
    return costs


def _costs_of_round(batches: Mapping[str, Sequence[Batch]], number: int) -> dict[Operation, float]:
    costs = {operation: batches[operation.value][number].cpu_ns_per_call for operation in ALONE}
    for operation, (source, _) in LEFT_OF.items():
        costs[operation] = left_for(operation, batches[source][number], costs)
    return costs


def left_for(operation: Operation, batch: Batch, costs: Mapping[Operation, float]) -> float:
    """Return what one operation cost in a batch, given what all others in it cost. Raises DerivationError."""
    count = batch.spent.get(operation, 0)
    if not count:
        raise DerivationError(f"{operation}: the work that it is to be derived from spends none")
    paid_ns = sum(costs[other] * number for other, number in batch.spent.items() if other is not operation)
    left_ns = (batch.cpu_ns - paid_ns) / count
    if left_ns <= 0:
        raise DerivationError(
            f"{operation}: the work around it took {batch.cpu_ns} ns, its other expenses {paid_ns:.0f}"
            " ns: the machine was disturbed while measuring; stop other load and measure again"
        )
    return left_ns


def composites(
    batches: Mapping[str, Sequence[Batch]], costs: Mapping[Operation, float]
) -> dict[str, Composite]:
    """Return every task that is more than one operation, with what it would be charged: nothing, for some."""
    found = {}
    for name, series in batches.items():
        if name in set(Operation) or name in RADIO_TASKS:
            continue
        spent: Counter[Operation] = Counter()
        for batch in series:
            spent.update(batch.spent)
        calls = sum(batch.calls for batch in series)
        per_call = {operation: number / calls for operation, number in sorted(spent.items())}
        found[name] = Composite(
            summary_of([batch.cpu_ns_per_call for batch in series]),
            summary_of([batch.elapsed_ns_per_call for batch in series]),
            calls,
            per_call,
            sum(costs[operation] * number for operation, number in per_call.items()),
        )
    return found
