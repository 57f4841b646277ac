"""One run over a rig by all suites: gives them trials and searches, and collects what they show."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import allure
import pytest

from bench.capacity import record, result
from bench.capacity.answers import answers_of
from bench.capacity.figures import bound_by, broken, figures_of
from bench.capacity.search import Event, Plan, ProbeEnded, Result, SearchEnded, SearchError, Verdict, search
from bench.faults.plan import Fault, FaultEvidence, planned_faults
from bench.paced.crash import crash_window_ns, strike_all
from bench.paced.rig import PacedRig
from bench.paced.scene import Disturb, Scene
from bench.progress import Reporter
from bench.rig.model import Rig
from bench.trial import TrialOutcome, TrialPlan, run_trial
from bench.uno.image import FirmwareImage
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream

RESULT_FILE = "capacity.json"
BASELINE = "baseline"
"""The trial of the rig as its file describes it."""


@dataclass
class Campaign:
    """What the suites share. `short` asks for trials just long enough to be meaningful."""

    rig: Rig
    rig_path: Path
    seed: int
    short: bool
    directory: Path
    firmware: FirmwareImage
    reporter: Reporter
    trials: dict[str, TrialOutcome] = field(default_factory=dict)
    capacities: list[result.Capacity] = field(default_factory=list)
    _standing: PacedRig | None = field(default=None, init=False)

    def trial(
        self,
        name: str,
        *,
        rig: Rig | None = None,
        seed: int | None = None,
        window_s: int | None = None,
        intruder_period_s: int | None = None,
    ) -> TrialOutcome:
        """The trial of that name: run now, or as it was run before. Its files stay beside the report."""
        if name not in self.trials:
            plan = TrialPlan(
                rig=rig or self.rig,
                seed=self.seed if seed is None else seed,
                window_ns=(window_s or self.window_s) * NS_PER_S,
                directory=self._directory(name),
                intruder_period_ns=None if intruder_period_s is None else intruder_period_s * NS_PER_S,
            )
            self.trials[name] = self._run(name, plan)
        return self.trials[name]

    @property
    def window_s(self) -> int:
        """How much virtual time a trial of a suite judges: a number of the slowest branch's intervals."""
        slowest_s = max(branch.uno.interval_s for branch in self.rig.branches)
        if self.rig.is_paced:
            return slowest_s * (6 if self.short else 30)
        return slowest_s * (10 if self.short else 60)

    @property
    def search_window_s(self) -> int:
        """The same for each of the many trials of a search."""
        return self.window_s // (2 if self.short else 4)

    @property
    def confirmations(self) -> int:
        """How many fresh seeds confirm each side of a search."""
        if self.rig.is_paced:
            return 0 if self.short else 1
        return 1 if self.short else 3

    def only_in_a_long_run(self) -> None:
        """Skip the test in a short run of a rig on the wall clock, where many trials take their real time."""
        if self.short and self.rig.is_paced:
            pytest.skip("a search in real time belongs to a long run (without --short)")

    def fan_in(self) -> dict[str, int]:
        """The sizes that the rig file gives, by axis."""
        branch = self.rig.branches[0]
        return {
            result.Axis.SENSORS_PER_UNO: sum(sensors.per_uno for sensors in branch.sensors),
            result.Axis.UNOS_PER_PI: branch.uno.count,
        }

    def search(
        self,
        axis: result.Axis,
        unit: str,
        plan: Plan,
        rig_of: Callable[[int], Rig],
        fixed: Mapping[str, int],
        window_s: int,
    ) -> result.Capacity:
        """Find the largest size along an axis at which every criterion of the rig file holds."""

        def probe(size: int, seed: int) -> Verdict:
            directory = self.directory / "trials" / f"{axis}-{size}-{seed}"
            trial_plan = TrialPlan(rig_of(size), seed, window_s * NS_PER_S, directory)
            outcome = self._run(f"{axis} = {size}, seed {seed}", trial_plan)
            shutil.rmtree(directory)
            figures = figures_of(outcome)
            faults = broken(self.rig.criteria.values(), figures)
            return Verdict(not faults, figures, bound_by(outcome, faults[0]) if faults else None)

        found = self._played(search(probe, plan))
        criteria = tuple(str(criterion) for criterion in self.rig.criteria.values())
        capacity = result.Capacity.of(found, axis, unit, fixed, criteria, record.label_of(self.rig))
        self.capacities.append(capacity)
        return capacity

    def write_result(self) -> Path:
        """Write capacity.json from all that was found so far."""
        baseline = self.trial(BASELINE)
        outcomes = list(self.trials.values())
        trials = {name: record.trial_of(name, outcome) for name, outcome in self.trials.items()}
        free, protection = record.free_of(BASELINE, baseline), record.protection_of(baseline)
        found = result.CapacityResult(
            bench_version=version("dag-bench"),
            rig=record.rig_of(self.rig, self.rig_path),
            data_sets=record.data_sets_of(self.rig),
            seeds=tuple(sorted({outcome.plan.seed for outcome in outcomes})),
            firmware=(record.firmware_of(self.firmware, self.rig, outcomes),),
            calibrations=record.calibrations_of(self.rig),
            trials=tuple(trials.values()),
            capacities=tuple(self.capacities),
            free=free,
            protection=protection,
            answers=answers_of(trials[BASELINE], free, protection, self.capacities),
        )
        path = self.directory / RESULT_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        found.write(path)
        return path

    def crash_plan(self) -> tuple[Fault, ...]:
        """The faults that the first gateway has to stand: a hundred, or a few in a short run.

        A Pi whose plug nobody can pull is spared the power cuts.
        """
        kills, power_cuts = (3, 1) if self.short else (80, 20)
        if not self.rig.can_cut_power(self.rig.branches[0]):
            power_cuts = 0
        return planned_faults(Stream(self.seed, "faults"), kills, power_cuts)

    def disturbed_trial(
        self, name: str, faults: Sequence[Fault]
    ) -> tuple[TrialOutcome, tuple[FaultEvidence, ...]]:
        """A trial of a paced rig, long enough for all these faults to strike one after the other.

        Its uplinks have no outages, since after each fault the gateway must find its server.
        """
        rig = self.rig.without_outages()
        plan = TrialPlan(rig, self.seed, crash_window_ns(faults), self._directory(name))
        evidence: list[FaultEvidence] = []

        def strike(scene: Scene) -> None:
            # A trial that the infrastructure spoiled is played again, from its first fault on.
            evidence.clear()
            strike_all(faults, scene, found=evidence.append)

        self.trials[name] = self._run(name, plan, strike)
        return self.trials[name], tuple(evidence)

    def close(self) -> None:
        """Take the rig down, where one stands."""
        if self._standing is not None:
            self._standing.close()

    @property
    def retries(self) -> tuple[str, ...]:
        """Every failure of the infrastructure that was followed by another try."""
        return () if self._standing is None else self._standing.retries

    def _directory(self, name: str) -> Path:
        return self.directory / "trials" / name.replace(" ", "-")

    def _run(self, task: str, plan: TrialPlan, disturb: Disturb | None = None) -> TrialOutcome:
        show = partial(self.reporter.show, task)
        if plan.rig.is_paced:
            outcome = self.standing_rig.play(plan, show, disturb)
        else:
            outcome = run_trial(plan, self.firmware, show)
        self.reporter.clear()
        return outcome

    @property
    def standing_rig(self) -> PacedRig:
        """The rig, brought up for the first trial and kept for all others."""
        if self._standing is None:
            self._standing = PacedRig(self.rig, self.firmware, self.directory / "rig", self.reporter.tell)
        return self._standing

    @staticmethod
    def _played(events: Iterator[Event]) -> Result:
        """Play a search to its end, each probe as a step of the report."""
        for event in events:
            match event:
                case ProbeEnded(number, limit, probed):
                    outcome = "held" if probed.verdict.holds else f"failed: {probed.verdict.bound_by}"
                    title = (
                        f"probe {number} of at most {limit}: size {probed.size}, seed {probed.seed} {outcome}"
                    )
                    with allure.step(title):
                        pass
                case SearchEnded(found):
                    return found
        raise SearchError("the search ended without a result")
