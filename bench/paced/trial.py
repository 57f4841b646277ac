"""One trial of a rig that keeps the wall clock: prepare the seats, raise the curtain, play, fetch, judge."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bench.assembly import LEAD_IN_NS, Stage
from bench.keys import FreshKeys
from bench.oracle import Oracle
from bench.paced.delivery import Delivery
from bench.paced.scene import Scene, SceneOver
from bench.paced.unos import EmulatedCell
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import Retry, State
from bench.trial import TRACE_FILE, RadioCount, clear_directory, outcome_of
from bench.world.paced import PacedWorld
from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace, TraceFile
from ledger.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bench.paced.scene import Disturb
    from bench.paced.seats import Seats
    from bench.paced.unos import Cell
    from bench.rig.strategy import Strategy
    from bench.trial import Progress, TrialOutcome, TrialPlan
    from bench.uno.image import FirmwareImage

MOST_LAG_NS = 500 * NS_PER_MS
"""A world that falls further behind the clock has played another trial than was asked for."""

PATIENCE_NS = 60 * NS_PER_S
"""Beyond a plan's drain: an acknowledgement is slower in real time, and a collision costs a whole retry."""

SETTLING_NS = 13 * NS_PER_S
"""From a block that is due to the server, over a way that loses datagrams, at most."""

_LOOK_S = 0.2


def play(
    seats: Seats,
    strategy: Strategy,
    plan: TrialPlan,
    firmware: FirmwareImage,
    progress: Progress,
    disturb: Disturb | None,
) -> TrialOutcome:
    """Play a trial on flashed seats: raises what `bench.trial.run_trial` does, and InfrastructureError."""
    began_s = time.perf_counter()
    clear_directory(plan.directory)
    # Where time begins is known when the seats are ready.
    stage = Stage(plan.rig, Stream(plan.seed), FreshKeys(), firmware, plan.directory, 0, 0)
    seats.give_orders(stage)
    names = [branch.name for branch in plan.rig.branches]
    gateways = [seats.gateways[name] for name in names]
    strategy.reach(State.RUNNING, [seats.unos[name] for name in names])
    records: list[Record] = []
    trace = Trace()
    trace.subscribe(records.append)
    with ExitStack() as stack:
        world = stack.enter_context(PacedWorld(Simulation(), trace))
        stack.callback(_stand_down, strategy)
        cells = {
            branch.name: seats.unos[branch.name].cell(plan.rig.attenuated(branch), stage.seed, world)
            for branch in plan.rig.branches
        }
        # Before the world stops, by whose time the stimuli are played.
        for cell in cells.values():
            stack.callback(cell.close)
        for gateway, cell in zip(gateways, cells.values(), strict=True):
            if isinstance(cell, EmulatedCell):
                gateway.tune(world, cell.gateway_chip)
        strategy.reach(State.JOINED, [seats.server, *gateways])
        stage = _raise_curtain(seats, plan, stage, world, cells)
        scene = Scene(world, gateways, stage.begin_ns + plan.window_ns)
        _play_out(scene, plan, Delivery(records), progress, disturb)
        instruments_told = seats.instruments.notes()
        if disturb is None:
            for gateway in gateways:
                gateway.check()
        found = [cell.harvest() for cell in cells.values()]
        # What is acknowledged after its gateway's ledger was copied would pass for lost.
        for name in names:
            seats.unos[name].power_off()
        stage = replace(stage, until_ns=world.now_ns)
        # An uplink may come back only now.
        _fetch_ledgers(seats, plan, stage, _end_ns(scene, plan, disturb) - world.now_ns)
        for gateway in gateways:
            gateway.gather(world)
        seats.server.check_life()
        harvests = [
            harvest.with_pi(gateway.figures()) for harvest, gateway in zip(found, gateways, strict=True)
        ]
        accepted_ns = {
            block: unix_ns - world.began_unix_ns for block, unix_ns in seats.server.accepted_unix_ns().items()
        }
        records += seats.server.records(world.began_unix_ns)
        for gateway in gateways:
            records += gateway.records()
        lag_ns = world.largest_lag_ns
    oracle, count = Oracle(scene.window_end_ns), RadioCount()
    sha256 = _told(plan, firmware, records, (oracle, count))
    # A window may have been closed before its time.
    played = replace(plan, window_ns=scene.window_end_ns - stage.begin_ns)
    outcome = outcome_of(stage, played, harvests, accepted_ns, oracle, count, sha256, began_s)
    notes = (
        *outcome.notes,
        *(
            f"{branch.name}: no relay stands between Pi and server, so the uplink is as the loopback is"
            for branch in plan.rig.branches
            if seats.server.relay(branch) is None
        ),
        f"the world was at most {lag_ns / NS_PER_MS:.1f} ms behind the clock",
        *(note for gateway in gateways for note in gateway.notes()),
        *instruments_told,
    )
    return replace(outcome, notes=notes)


def _stand_down(strategy: Strategy) -> None:
    """Leave the seats ready for the next trial, unless there is none.

    What has been played stands whether or not that works: the next trial meets the same trouble.
    """
    if strategy.broken is None:
        try:
            strategy.reach(State.FLASHED)
        except InfrastructureError as error:
            strategy.note(Retry(error.seat, State.FLASHED, 1, str(error)))


def _raise_curtain(
    seats: Seats, plan: TrialPlan, stage: Stage, world: PacedWorld, cells: Mapping[str, Cell]
) -> Stage:
    """Lay the data out and have the Unos powered on, a moment from now; links begin their plan with them."""
    notice_ns = max(seats.unos[name].notice_ns for name in cells)
    curtain_ns = world.now_ns + notice_ns
    zero_ns = time.monotonic_ns() + notice_ns
    stage = replace(
        stage,
        begin_ns=curtain_ns + LEAD_IN_NS,
        until_ns=curtain_ns + LEAD_IN_NS + plan.window_ns + plan.drain_ns + PATIENCE_NS,
        intruder_period_ns=plan.intruder_period_ns,
    )
    for branch in plan.rig.branches:
        seats.gateways[branch.name].begin(zero_ns, branch.uplink)
        seats.unos[branch.name].hear(world)
    # Side by side, since the boards of a lab take a part of the notice to be greeted.
    with ThreadPoolExecutor(len(cells)) as executor:
        for raised in [executor.submit(cell.raise_curtain, stage) for cell in cells.values()]:
            raised.result()
    seats.instruments.begin()
    world.call(partial(setattr, world, "largest_lag_ns", 0))
    return stage


def _play_out(
    scene: Scene, plan: TrialPlan, delivery: Delivery, progress: Progress, disturb: Disturb | None
) -> None:
    """Let the world play to the end of the window, while somebody may disturb it, and until all has arrived.

    What the Unos measured gets the plan's drain and, where nobody disturbs, some patience besides.
    """
    disturber = _Disturber(scene, disturb)
    disturber.start()
    began_ns = scene.world.now_ns
    try:
        while True:
            now_ns, end_ns = scene.world.now_ns, _end_ns(scene, plan, disturb)
            if now_ns >= end_ns:
                break
            if now_ns > scene.window_end_ns and delivery.is_complete(scene.window_end_ns):
                break
            progress(min(1.0, (now_ns - began_ns) / max(1, scene.window_end_ns + plan.drain_ns - began_ns)))
            scene.world.call(lambda: None)
            disturber.check()
            time.sleep(min(_LOOK_S, (end_ns - now_ns) / NS_PER_S))
    finally:
        scene.end()
        disturber.join()
    disturber.check()
    # Where faults strike it counts what is lost, not when: a long trial is not thrown away for a late moment.
    if disturb is None and scene.world.largest_lag_ns > MOST_LAG_NS:
        raise InfrastructureError(
            "bench",
            f"this host fell {scene.world.largest_lag_ns / NS_PER_S:.2f} s behind the wall clock",
            "give it fewer Unos or nothing else to do",
            retry_helps=True,
        )


def _end_ns(scene: Scene, plan: TrialPlan, disturb: Disturb | None) -> int:
    """When a trial ends that does not come to rest before, in world time.

    Where faults struck it counts what became of what was acknowledged, and the Unos may keep the rest.
    """
    return scene.window_end_ns + plan.drain_ns + (PATIENCE_NS if disturb is None else 0)


def _fetch_ledgers(seats: Seats, plan: TrialPlan, stage: Stage, left_ns: int) -> None:
    """Fetch all ledgers, again while they are not at rest, as long as the last blocks may be on their way.

    At rest they are when nothing waits for its block, and all heads are the same. The last blocks have what
    is left of the trial, or what they take on an uplink that is up.
    """
    end_ns = time.monotonic_ns() + max(left_ns, _slowest_batch_ns(plan) + SETTLING_NS)
    gateways = {stage.gateway_database(branch): seats.gateways[branch.name] for branch in plan.rig.branches}
    databases = [*gateways, stage.server_database]
    while True:
        for database, gateway in gateways.items():
            gateway.fetch_store(database)
        seats.server.fetch_store(stage.server_database)
        if _are_at_rest(databases) or time.monotonic_ns() > end_ns:
            return
        for file in (file for database in databases for file in database.parent.glob(f"{database.name}*")):
            file.unlink()
        time.sleep(_LOOK_S)


def _are_at_rest(databases: Iterable[Path]) -> bool:
    heads: set[tuple[bytes, ...]] = set()
    pending = 0
    for database in databases:
        with closing(SqliteStore(database, read_only=True)) as store:
            heads.add(tuple(store.heads()))
            pending += store.pending_count()
    return len(heads) == 1 and pending == 0


def _slowest_batch_ns(plan: TrialPlan) -> int:
    return max(branch.pi.batch_age_s for branch in plan.rig.branches) * NS_PER_S


class _Disturber(threading.Thread):
    """Runs a disturbance, and keeps what it raised."""

    def __init__(self, scene: Scene, disturb: Disturb | None) -> None:
        super().__init__(name="disturber", daemon=True)
        self._scene = scene
        self._disturb = disturb
        self._error: BaseException | None = None

    def run(self) -> None:
        """Disturb until done, or until the scene is over."""
        if self._disturb is None:
            return
        try:
            self._disturb(self._scene)
        except SceneOver:
            pass
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raise what ended the disturbance, if anything did."""
        if self._error is not None:
            raise self._error


def _told(
    plan: TrialPlan, firmware: FirmwareImage, records: Iterable[Record], judges: Sequence[Oracle | RadioCount]
) -> str:
    """Write all that happened as one trace in the order of time, have it judged, and return its hash."""
    trace = Trace()
    with (plan.directory / TRACE_FILE).open("w", encoding="ascii", newline="\n") as text:
        file = TraceFile(text)
        for subscriber in (file, *judges):
            trace.subscribe(subscriber)
        trace.record(0, "trial", "plan", seed=plan.seed, firmware=firmware.sha256)
        for record in records:
            trace.add(record)
        trace.settle()
    return file.hexdigest()
