"""One trial: one rig, one data set, one seed; prepare, play the data, wait, judge."""

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.assembly import LEAD_IN_NS, SERVER, BranchHarvest, BranchPart, PiFigures, ServerPart, Stage
from bench.keys import SeededKeys
from bench.oracle import LedgerEntry, Oracle, Verdict
from bench.rig.calibration import load_calibration
from bench.rig.model import Branch, Rig
from bench.uno.image import FirmwareImage
from bench.uno.translation.library import translate
from bench.uno.virtual import UnoFigures
from bench.world.island import Conductor, Host, LocalHost
from bench.world.process import ProcessHost
from bench.world.simulation import NS_PER_MS, NS_PER_S
from bench.world.streams import Stream
from bench.world.trace import Record, Trace, TraceFile
from ledger.block import Block
from ledger.registry import Registry
from ledger.store.sqlite import SqliteStore

TRACE_FILE = "trace.jsonl"

_PROGRESS_STEPS = 100

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
    processes: int = 1
    """Over how many processes the branches are spread; no outcome depends on it."""
    translated: bool = False
    """Whether the Unos run their firmware translated to native code; no outcome depends on it."""

    @property
    def drain_ns(self) -> int:
        """How long the rig runs on after the last judged snapshot, so that it can reach the server."""
        slowest = max(self.rig.branches, key=lambda branch: branch.uno.interval_s + branch.pi.batch_age_s)
        return (2 * slowest.uno.interval_s + slowest.pi.batch_age_s + 10) * NS_PER_S


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
    zero_ns: int = 0
    """Where in its trace the trial's own time begins: on the wall clock, seats are made ready before."""

    @property
    def retries(self) -> int:
        """Transmissions of frames that had been sent before."""
        return sum(self.repeated.values())

    @property
    def trace_path(self) -> Path:
        """The trace, one JSON array a line."""
        return self.plan.directory / TRACE_FILE

    @property
    def server_database(self) -> Path:
        """The server's ledger."""
        return self.plan.directory / "server.db"


class RadioCount:
    """Subscriber that adds up what happened on the air."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.airtime_ns: Counter[str] = Counter()
        self.receptions: Counter[str] = Counter()

    def __call__(self, record: Record) -> None:
        """Take one record of the trace in."""
        if record.kind == "transmission":
            self.sent[record.source] += 1
            self.airtime_ns[record.source] += int(record.fields["end_ns"]) - record.t_ns
        elif record.kind == "reception":
            self.receptions[str(record.fields["outcome"])] += 1

    def stations(self) -> dict[str, StationFigures]:
        """Every radio that sent."""
        return {name: StationFigures(self.sent[name], self.airtime_ns[name]) for name in sorted(self.sent)}


def run_trial(
    plan: TrialPlan, firmware: FirmwareImage, progress: Progress = lambda _share: None
) -> TrialOutcome:
    """Run a trial of a virtual rig to its end.

    Raises RigError, DatasetError, S0Error or MainsError for a rig that cannot be put together, TrialError
    where the directory cannot be written.
    """
    began_s = time.perf_counter()
    clear_directory(plan.directory)
    stage = Stage(
        plan.rig,
        Stream(plan.seed),
        SeededKeys(Stream(plan.seed)),
        firmware,
        plan.directory,
        LEAD_IN_NS,
        LEAD_IN_NS + plan.window_ns + plan.drain_ns,
        translate(firmware.flash) if plan.translated else None,
        plan.intruder_period_ns,
    )
    trace, oracle, count = Trace(), Oracle(LEAD_IN_NS + plan.window_ns), RadioCount()
    with (
        (plan.directory / TRACE_FILE).open("w", encoding="ascii", newline="\n") as text,
        _cast(stage, plan.processes) as cast,
    ):
        file = TraceFile(text)
        for subscriber in (file, oracle, count):
            trace.subscribe(subscriber)
        trace.record(0, "trial", "plan", seed=plan.seed, firmware=firmware.sha256)
        conductor = Conductor(cast.hosts, _lookahead_ns(plan.rig), trace)
        for share in range(1, _PROGRESS_STEPS + 1):
            conductor.play(stage.until_ns * share // _PROGRESS_STEPS)
            progress(share / _PROGRESS_STEPS)
        trace.settle()
        branches, accepted_ns = cast.harvest(plan.rig), cast.server.harvest()
    return outcome_of(stage, plan, branches, accepted_ns, oracle, count, file.hexdigest(), began_s)


def _lookahead_ns(rig: Rig) -> int:
    """No message crosses between two islands faster than the quickest uplink."""
    return min(branch.uplink.delay_ms for branch in rig.branches) * NS_PER_MS


@dataclass(frozen=True, slots=True)
class _Cast:
    """The parts of a trial and where they play: here, or the branches spread over processes of their own."""

    server: ServerPart
    local: tuple[BranchPart, ...]
    remote: tuple[ProcessHost, ...]

    @property
    def hosts(self) -> tuple[Host, ...]:
        """This process, then the others."""
        here = LocalHost([self.server.island, *(part.island for part in self.local)])
        return here, *self.remote

    def harvest(self, rig: Rig) -> list[BranchHarvest]:
        """What all branches found, in the order of the rig file."""
        found = [part.harvest() for part in self.local]
        found += [harvest for host in self.remote for harvest in host.harvest()]
        by_branch = {harvest.branch: harvest for harvest in found}
        return [by_branch[branch.name] for branch in rig.branches]


@contextlib.contextmanager
def _cast(stage: Stage, processes: int) -> Iterator[_Cast]:
    branches = stage.rig.branches
    processes = min(processes, len(branches))
    with contextlib.ExitStack() as stack:
        # Processes are forked before any database is open: SQLite's connections must not be shared by a fork.
        shares = [branches[share::processes] for share in range(processes)] if processes > 1 else []
        remote = [ProcessHost(partial(_branch_parts, share, stage)) for share in shares]
        for host in remote:
            stack.callback(host.close)
        server = ServerPart(stage)
        stack.callback(server.close)
        local = [] if remote else _branch_parts(branches, stage)
        for part in local:
            stack.callback(part.close)
        yield _Cast(server, tuple(local), tuple(remote))


def _branch_parts(branches: Sequence[Branch], stage: Stage) -> list[BranchPart]:
    return [BranchPart(branch, stage) for branch in branches]


def outcome_of(
    stage: Stage,
    plan: TrialPlan,
    branches: list[BranchHarvest],
    accepted_ns: dict[bytes, int],
    oracle: Oracle,
    count: RadioCount,
    trace_sha256: str,
    began_s: float,
) -> TrialOutcome:
    """Judge a trial by the databases that it left at the stage's places."""
    databases = {SERVER: stage.server_database}
    databases |= {
        harvest.pi_name: stage.gateway_database(branch)
        for harvest, branch in zip(branches, plan.rig.branches, strict=True)
    }
    heads: dict[str, tuple[str, ...]] = {}
    server: list[LedgerEntry] = []
    waiting: list[LedgerEntry] = []
    forks: list[str] = []
    ledger_bytes = 0
    for name, path in databases.items():
        with contextlib.closing(SqliteStore(path, read_only=True)) as store:
            heads[name] = tuple(head.hex() for head in store.heads())
            forks += _forks(name, store, stage.registry(range(0)))
            if name == SERVER:
                server = list(_entries(store, accepted_ns))
                ledger_bytes = sum(len(block.raw) for block in store.blocks())
            else:
                waiting += _held(store)
    meters = [meter for harvest in branches for meter in harvest.meters]
    return TrialOutcome(
        plan=plan,
        verdict=oracle.judge(meters, server, waiting, forks),
        virtual_ns=stage.duration_ns,
        wall_s=time.perf_counter() - began_s,
        trace_sha256=trace_sha256,
        firmware=stage.firmware,
        unos={name: figures for harvest in branches for name, figures in harvest.unos.items()},
        pis={harvest.pi_name: harvest.pi for harvest in branches},
        stations=count.stations(),
        repeated=oracle.repeated,
        receptions=dict(sorted(count.receptions.items())),
        attacks=_attacks(branches),
        heads=heads,
        ledger_bytes=ledger_bytes,
        calibrations=_calibrations(plan.rig),
        notes=(*(note for harvest in branches for note in harvest.notes), *forks),
        zero_ns=stage.begin_ns - LEAD_IN_NS,
    )


def _attacks(branches: Sequence[BranchHarvest]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for harvest in branches:
        total.update(harvest.attacks)
    return dict(total)


def _calibrations(rig: Rig) -> tuple[str, ...]:
    paths = sorted({branch.pi.calibration for branch in rig.branches})
    return tuple(str(load_calibration(path)) for path in paths)


def _entries(store: SqliteStore, accepted_ns: dict[bytes, int]) -> Iterator[LedgerEntry]:
    """Every reading of every block that counts, as often as it stands there."""
    for block in _counting_blocks(store):
        for reading in block.readings:
            yield LedgerEntry(*reading.key, reading.plaintext, accepted_ns.get(block.hash))


def _counting_blocks(store: SqliteStore) -> list[Block]:
    """A frozen issuer's blocks are void from its fork on, unless a block that counts builds on them."""
    forks = store.frozen()
    built_on: set[bytes] = set()
    counting: list[Block] = []
    # Children stand behind their parents.
    for stored in reversed(list(store.blocks())):
        fork = forks.get(stored.issuer)
        if fork is None or stored.seq < fork or stored.hash in built_on:
            block = Block.decode(stored.raw)
            built_on.update(block.header.parents)
            counting.append(block)
    return counting[::-1]


def _forks(name: str, store: SqliteStore, registry: Registry) -> Iterator[str]:
    for issuer, seq in store.frozen().items():
        yield f"{name}: {registry.issuer_name(issuer)} is frozen: it signed two blocks with seq {seq}"


def _held(store: SqliteStore) -> Iterator[LedgerEntry]:
    """What a gateway has, in blocks that count or still pending."""
    yield from _entries(store, {})
    for reading in store.pending(store.pending_count()):
        yield LedgerEntry(*reading.key, reading.plaintext)


def clear_directory(directory: Path) -> None:
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
        raise _unwritable(directory, error) from None


def make_directory(directory: Path) -> None:
    """Make a directory where it is missing. Raises TrialError where nothing can be written in it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _unwritable(directory, error) from None


def _unwritable(directory: Path, error: OSError) -> TrialError:
    return TrialError(f"{directory} cannot be written ({error.strerror or error}): choose another directory")
