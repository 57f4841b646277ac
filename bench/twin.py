"""A trial on the wall clock beside the same trial in virtual time: is the ledger's content the same?

The content of a ledger is what every Uno said at every counter: its registers. Boot epochs differ, since a
board that is reset and provisioned has booted more often than one new from the factory; so do times, blocks
and signatures, and the backlog that a frame reports, which hangs on when the one before was acknowledged.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.capacity.figures import figures_of
from bench.trial import TrialOutcome
from ledger.frame import AlternatingCurrent, Snapshot
from ledger.store.sqlite import SqliteStore

_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Registers:
    """What one snapshot says of energy: pulses by S0 channel and the AC channels."""

    pulses: tuple[int, ...]
    alternating_current: tuple[AlternatingCurrent, ...]


Content = Mapping[tuple[int, int], Registers]
"""By (uno_id, counter). A trial has one boot of each Uno, so that a counter stands once."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Two trials of one seed, data set and firmware, side by side."""

    virtual: TrialOutcome
    paced: TrialOutcome
    compared: int
    """Snapshots that both ledgers hold."""
    only_virtual: int
    only_paced: int
    differences: tuple[str, ...]
    """The first few snapshots whose registers differ, in words."""
    differing: int

    @property
    def same(self) -> bool:
        """Whether both ledgers say the same of every snapshot that was due in both."""
        return self.compared > 0 and self.differing == 0 and self.only_virtual == self.only_paced == 0

    def rows(self) -> list[tuple[str, Any, Any]]:
        """Figure by figure: its name, as found in virtual time, as found on the wall clock."""
        virtual, paced = _figures(self.virtual), _figures(self.paced)
        return [(name, virtual[name], paced[name]) for name in virtual]


def twins_document(twins: Twins) -> dict[str, Any]:
    """Plain data for `bench twin --json` and the report."""
    return {
        "same": twins.same,
        "snapshots_compared": twins.compared,
        "only_virtual": twins.only_virtual,
        "only_paced": twins.only_paced,
        "differing": twins.differing,
        "differences": list(twins.differences),
        "side_by_side": [
            {"figure": name, "virtual": virtual, "paced": paced} for name, virtual, paced in twins.rows()
        ],
    }


def content_of(database: Path) -> dict[tuple[int, int], Registers]:
    """Everything that a ledger says of every Uno."""
    content: dict[tuple[int, int], Registers] = {}
    with contextlib.closing(SqliteStore(database, read_only=True)) as store:
        for reading in store.readings():
            snapshot = Snapshot.decode(reading.plaintext)
            content[reading.uno_id, reading.counter] = Registers(
                tuple(snapshot.pulses), tuple(snapshot.alternating_current)
            )
    return content


def compare(virtual: TrialOutcome, paced: TrialOutcome) -> Twins:
    """Hold the server's ledgers of two trials against each other, as far as both trials judge.

    How many snapshots follow after the judged window depends on how far each trial happened to run on: those
    that only one ledger has are left out.
    """
    left, right = content_of(virtual.server_database), content_of(paced.server_database)
    due = _due_counters(virtual)
    differences = [
        f"Uno {uno_id} at counter {counter}: {left[uno_id, counter]} virtual, {right[uno_id, counter]} paced"
        for uno_id, counter in sorted(left.keys() & right.keys())
        if left[uno_id, counter] != right[uno_id, counter]
    ]
    return Twins(
        virtual=virtual,
        paced=paced,
        compared=len(left.keys() & right.keys()),
        only_virtual=sum(counter < due for _, counter in left.keys() - right.keys()),
        only_paced=sum(counter < due for _, counter in right.keys() - left.keys()),
        differences=tuple(differences[:_EXAMPLES]),
        differing=len(differences),
    )


def _due_counters(outcome: TrialOutcome) -> int:
    """How many counters every Uno has surely come to within the window."""
    slowest = max(branch.uno.interval_s for branch in outcome.plan.rig.branches)
    return max(0, outcome.plan.window_ns // (slowest * 1_000_000_000) - 1)


def _figures(outcome: TrialOutcome) -> dict[str, Any]:
    verdict = outcome.verdict
    return {
        "kind": outcome.plan.rig.kind,
        "readings injected": verdict.injected,
        "in the server's ledger": verdict.in_server_ledger,
        "altered": verdict.altered,
        "unaccounted": verdict.unaccounted,
        "transmissions repeated": outcome.retries if outcome.unos else None,
        "blocks": sum(pi.blocks for pi in outcome.pis.values()),
        **figures_of(outcome),
    }
