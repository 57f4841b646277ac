"""One trial: one rig, one data set, one seed; prepare, play the data, wait, judge."""

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.assembly import Stage, VirtualRig, assemble
from bench.oracle import LedgerEntry, Oracle, Verdict
from bench.rig.model import Rig
from bench.uno.image import FirmwareImage
from bench.uno.virtual import UnoFigures
from bench.world.simulation import NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace, TraceFile
from ledger.block import Block
from ledger.store.sqlite import SqliteStore

LEAD_IN_NS = 2 * NS_PER_S
"""The sensors begin when every Uno has booted."""

_STEP_NS = 10 * NS_PER_S

Progress = Callable[[float], None]
"""Told the share that is done, 0 to 1."""


class TrialError(RuntimeError):
    """A trial that could not be run; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What to run, and where to leave the trace and the ledgers."""

    rig: Rig
    seed: int
    window_ns: int
    directory: Path
    intruder_period_ns: int | None = None
    """How often an intruder attacks every branch's channel; None for a channel without one."""

    @property
    def drain_ns(self) -> int:
        """How long the rig runs on after the last judged snapshot, so that it can reach the server."""
        slowest = max(self.rig.branches, key=lambda branch: branch.uno.interval_s + branch.pi.batch_age_s)
        return (2 * slowest.uno.interval_s + slowest.pi.batch_age_s + 10) * NS_PER_S


@dataclass(frozen=True, slots=True)
class PiFigures:
    """What one gateway spent and saw."""

    busy_ns: int
    longest_queue: int
    uplink_sent_bytes: int
    rejected: dict[str, int]
    repeats: int
    spent: dict[str, int]
    blocks: int


@dataclass(frozen=True, slots=True)
class StationFigures:
    """One radio's share of the air."""

    sent: int
    airtime_ns: int


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """Everything a trial showed. Times are virtual, but for `wall_s`."""

    plan: TrialPlan
    verdict: Verdict
    retries: int
    virtual_ns: int
    wall_s: float
    trace_sha256: str
    firmware: FirmwareImage
    unos: dict[str, UnoFigures]
    pis: dict[str, PiFigures]
    stations: dict[str, StationFigures]
    repeated: dict[str, int]
    receptions: dict[str, int]
    attacks: dict[str, int]
    heads: dict[str, tuple[str, ...]]
    ledger_bytes: int
    calibrations: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def trace_path(self) -> Path:
        """The trace, one JSON array a line."""
        return self.plan.directory / "trace.jsonl"

    @property
    def server_database(self) -> Path:
        """The server's ledger."""
        return self.plan.directory / "server.db"


class _RadioCount:
    """Subscriber that adds up what happened on the air."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.airtime_ns: Counter[str] = Counter()
        self.receptions: Counter[str] = Counter()

    def __call__(self, record: Record) -> None:
        if record.kind == "transmission":
            self.sent[record.source] += 1
            self.airtime_ns[record.source] += int(record.fields["end_ns"]) - record.t_ns
        elif record.kind == "reception":
            self.receptions[str(record.fields["outcome"])] += 1

    def stations(self) -> dict[str, StationFigures]:
        return {name: StationFigures(self.sent[name], self.airtime_ns[name]) for name in sorted(self.sent)}


def run_trial(
    plan: TrialPlan, firmware: FirmwareImage, progress: Progress = lambda _share: None
) -> TrialOutcome:
    """Run a virtual trial to its end.

    Raises RigError, DatasetError or S0Error for a rig that cannot be put together, TrialError where the
    directory cannot be written.
    """
    began_s = time.perf_counter()
    _clear(plan.directory)
    simulation, trace, count = Simulation(), Trace(), _RadioCount()
    until_ns = LEAD_IN_NS + plan.window_ns + plan.drain_ns
    with (
        (plan.directory / "trace.jsonl").open("w", encoding="ascii", newline="\n") as text,
        _assembled(plan, firmware, simulation, trace, until_ns) as rig,
    ):
        file = TraceFile(text)
        oracle = Oracle(rig.meters, LEAD_IN_NS + plan.window_ns)
        for subscriber in (file, oracle, count):
            trace.subscribe(subscriber)
        trace.record(0, "trial", "rig", seed=plan.seed, firmware=firmware.sha256, **rig.data_sha256)
        rig.power_on()
        _play(simulation, trace, until_ns, progress)
        return _outcome(plan, firmware, rig, oracle, count, file.hexdigest(), until_ns, began_s)


@contextlib.contextmanager
def _assembled(
    plan: TrialPlan, firmware: FirmwareImage, simulation: Simulation, trace: Trace, until_ns: int
) -> Iterator[VirtualRig]:
    stage = Stage(Stream(plan.seed), firmware, plan.directory, simulation, trace, LEAD_IN_NS, until_ns)
    rig = assemble(plan.rig, stage, plan.intruder_period_ns)
    try:
        yield rig
    finally:
        rig.close()


def _play(simulation: Simulation, trace: Trace, until_ns: int, progress: Progress) -> None:
    while simulation.now_ns < until_ns:
        simulation.run(min(until_ns, simulation.now_ns + _STEP_NS))
        trace.settle(simulation.now_ns)
        progress(simulation.now_ns / until_ns)
    trace.settle()


def _outcome(
    plan: TrialPlan,
    firmware: FirmwareImage,
    rig: VirtualRig,
    oracle: Oracle,
    count: _RadioCount,
    trace_sha256: str,
    until_ns: int,
    began_s: float,
) -> TrialOutcome:
    server = list(_entries(rig.server_store, rig.server.runner.accepted_ns))
    waiting = [entry for pi in rig.pis.values() for entry in _held(pi.store)]
    return TrialOutcome(
        plan=plan,
        verdict=oracle.judge(server, waiting),
        retries=sum(oracle.repeated.values()),
        virtual_ns=until_ns,
        wall_s=time.perf_counter() - began_s,
        trace_sha256=trace_sha256,
        firmware=firmware,
        unos={uno.name: uno.figures() for uno in rig.unos},
        pis={
            name: PiFigures(
                busy_ns=pi.runner.machine.busy_ns,
                longest_queue=pi.runner.machine.longest_queue,
                uplink_sent_bytes=pi.runner.uplink_sent_bytes,
                rejected=dict(sorted(pi.runner.rejected.items())),
                repeats=pi.runner.repeats,
                spent=dict(sorted(pi.runner.spent.items())),
                blocks=len(pi.runner.accepted_ns),
            )
            for name, pi in rig.pis.items()
        },
        stations=count.stations(),
        repeated=oracle.repeated,
        receptions=dict(sorted(count.receptions.items())),
        attacks=_attacks(rig),
        heads={name: tuple(head.hex() for head in store.heads()) for name, store in rig.stores()},
        ledger_bytes=sum(len(block.raw) for block in rig.server_store.blocks()),
        calibrations=tuple(rig.calibrations),
        notes=tuple(rig.notes),
    )


def _attacks(rig: VirtualRig) -> dict[str, int]:
    total: Counter[str] = Counter()
    for intruder in rig.intruders:
        total.update({attack.value: count for attack, count in intruder.attacks.items()})
    return dict(total)


def _entries(store: SqliteStore, accepted_ns: dict[bytes, int]) -> Iterator[LedgerEntry]:
    """Every reading of every block, as often as it stands there."""
    for stored in store.blocks():
        for reading in Block.decode(stored.raw).readings:
            yield LedgerEntry(*reading.key, reading.plaintext, accepted_ns.get(stored.hash))


def _held(store: SqliteStore) -> Iterator[LedgerEntry]:
    """What a gateway has, in blocks or still pending."""
    yield from _entries(store, {})
    for reading in store.pending(store.pending_count()):
        yield LedgerEntry(*reading.key, reading.plaintext)


def _clear(directory: Path) -> None:
    """Start with an empty directory; only what a trial made is ever removed."""
    mark = directory / ".trial"
    try:
        if directory.exists() and any(directory.iterdir()):
            if not mark.exists():
                raise TrialError(
                    f"{directory} is not empty and holds no earlier trial: choose another directory"
                )
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise TrialError(f"{directory} cannot be written: {error.strerror or error}") from None
