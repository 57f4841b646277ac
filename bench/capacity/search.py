"""Capacity search: the largest size that holds, the smallest that fails, and how sure that is.

The search knows nothing about rigs. It calls a probe (one trial at one size with one seed) and
narrows a bracket on the axis of sizes: doubling from a start, bisection, then confirmation of both
sides with fresh seeds. Nothing here reads a clock or randomness, so the same probe gives the
same sequence of events.

A size *holds* when enough of its seeds held (the plan's quorum: by default all of them). A size
whose seeds disagree can therefore change sides at confirmation; the bracket then moves and the
search goes on, within the plan's limit of probes. Lower and upper bound have the meaning of
MLRsearch (draft-ietf-bmwg-mlrsearch): `smallest_failed` is the smallest size that failed, and
`largest_held` the largest size below it that held: every size probed up to it held, every size
probed above it failed. Sizes whose seeds disagreed are reported.
"""

import enum
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

Value = int | float | str | bool | None

PPM = 1_000_000

# The two-sided 95 % point of the normal distribution, 1.96, as a fraction, so that an interval is
# integer arithmetic and equal on every host.
_Z = Fraction(196, 100)


class SearchError(ValueError):
    """A plan that cannot be searched, or a search that was not played to its end."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one trial showed at one size: did every criterion hold, with which figures, and what bound."""

    holds: bool
    values: Mapping[str, Value]
    bound_by: str | None = None


class Probe(Protocol):
    """One trial at one size with one seed. Equal arguments must give equal verdicts."""

    def __call__(self, size: int, seed: int) -> Verdict:
        """Run the trial and judge it."""
        ...


class Purpose(enum.StrEnum):
    """Why a size is probed."""

    BRACKET = "bracket"
    BISECT = "bisect"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to search and how hard.

    The axis runs from `smallest` to `ceiling`, both included; `ceiling_reason` names what ends it
    ("pins" for the twelve inputs of an Uno, "search limit" when nothing physical does). `sizes` are those
    on it, ascending; None stands for every integer. `seed` finds the bracket; the `confirmations` seeds
    that follow it are fresh and confirm both sides. `quorum` is how many of all these seeds must hold for
    a size to hold; None stands for every one.
    """

    ceiling: int
    ceiling_reason: str
    seed: int
    smallest: int = 1
    start: int = 1
    confirmations: int = 3
    quorum: int | None = None
    probe_limit: int | None = None
    sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.start <= self.ceiling:
            raise SearchError(
                f"a search needs 1 <= smallest <= start <= ceiling; "
                f"got {self.smallest}, {self.start}, {self.ceiling}"
            )
        named = {self.smallest, self.start, self.ceiling}
        if self.sizes is not None and (
            list(self.sizes) != sorted({*self.sizes, *named})
            or (self.sizes[0], self.sizes[-1]) != (self.smallest, self.ceiling)
        ):
            raise SearchError(
                f"the sizes must ascend from {self.smallest} by way of {self.start} to {self.ceiling}; "
                f"got {self.sizes}"
            )
        if self.confirmations < 0:
            raise SearchError(f"confirmations must be 0 or more; got {self.confirmations}")
        if self.quorum is not None and not 1 <= self.quorum <= len(self.seeds):
            raise SearchError(f"the quorum must be between 1 and {len(self.seeds)} seeds; got {self.quorum}")
        if self.probe_limit is not None and self.probe_limit < 1:
            raise SearchError(f"the limit of probes must be 1 or more; got {self.probe_limit}")

    @property
    def seeds(self) -> range:
        """The seed of the search, then the fresh seeds of the confirmation."""
        return range(self.seed, self.seed + 1 + self.confirmations)

    @property
    def needed(self) -> int:
        """How many seeds must hold for a size to hold."""
        return len(self.seeds) if self.quorum is None else self.quorum

    @property
    def axis(self) -> Sequence[int]:
        """Every size that may be probed, ascending."""
        return range(self.smallest, self.ceiling + 1) if self.sizes is None else self.sizes

    @property
    def steady_bound(self) -> int:
        """The most probes that an oracle with one sharp threshold can take."""
        return 2 * len(self.axis).bit_length() + 1 + 2 * self.confirmations

    @property
    def limit(self) -> int:
        """The most probes that this search makes, whatever the outcomes."""
        return 3 * self.steady_bound if self.probe_limit is None else self.probe_limit


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe that was made, in order."""

    size: int
    seed: int
    purpose: Purpose
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Confidence:
    """`agreed` of `seeds` fresh seeds agreed with the side that a size is on.

    The seed that found the bracket is not counted: the size was chosen because of it.
    """

    agreed: int
    seeds: int

    @property
    def expected(self) -> Fraction:
        """Laplace's rule of succession: the chance that the next fresh seed agrees."""
        return Fraction(self.agreed + 1, self.seeds + 2)

    @property
    def interval_ppm(self) -> tuple[int, int]:
        """Wilson's 95 % interval (1927) of that chance in parts per million, rounded outwards."""
        if self.seeds == 0:
            return 0, PPM
        agreed, seeds, z2 = Fraction(self.agreed), self.seeds, _Z * _Z
        centre = (agreed + z2 / 2) / (seeds + z2)
        spread_squared = z2 * (agreed * (seeds - agreed) / seeds + z2 / 4) / (seeds + z2) ** 2
        spread_ppm = _root_ppm(spread_squared)
        return (
            max(0, math.floor(centre * PPM) - spread_ppm),
            min(PPM, math.ceil(centre * PPM) + spread_ppm),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a search. Both sizes were probed; neither is inferred.

    `largest_held` is None when the smallest size of the axis failed; `smallest_failed` is None when the
    ceiling of the axis held, and `bound_by` then names the ceiling. `settled` is False when the limit
    of probes ended the search before both sides were adjacent and confirmed. `moves` counts how often a
    confirmation took a size to the other side; `mixed` are the sizes whose seeds disagreed.
    """

    plan: Plan
    largest_held: int | None
    smallest_failed: int | None
    bound_by: str | None
    held_confidence: Confidence | None
    failed_confidence: Confidence | None
    settled: bool
    moves: int
    mixed: tuple[int, ...]
    probes: tuple[Probed, ...]


@dataclass(frozen=True, slots=True)
class ProbeStarted:
    """A probe is about to run."""

    number: int
    limit: int
    size: int
    seed: int
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class ProbeEnded:
    """A probe has run; the bracket is as it stands now."""

    number: int
    limit: int
    probed: Probed
    largest_held: int | None
    smallest_failed: int | None


@dataclass(frozen=True, slots=True)
class BracketMoved:
    """Confirmation took a size to the other side."""

    size: int
    held_now: bool


@dataclass(frozen=True, slots=True)
class SearchEnded:
    """The last event."""

    result: Result


Event = ProbeStarted | ProbeEnded | BracketMoved | SearchEnded


def search(probe: Probe, plan: Plan) -> Iterator[Event]:
    """Search step by step. A probe runs between its ProbeStarted and its ProbeEnded; SearchEnded is last."""
    outcomes = _Outcomes(plan)
    moves = 0
    while (step := outcomes.next_step()) is not None and len(outcomes.probes) < plan.limit:
        size, seed, purpose = step
        number = len(outcomes.probes) + 1
        yield ProbeStarted(number, plan.limit, size, seed, purpose)
        before = outcomes.holds(size)
        probed = Probed(size, seed, purpose, probe(size, seed))
        outcomes.add(probed)
        held, failed = outcomes.bracket()
        yield ProbeEnded(number, plan.limit, probed, held, failed)
        if before is not None and before != outcomes.holds(size):
            moves += 1
            yield BracketMoved(size, not before)
    yield SearchEnded(outcomes.result(settled=step is None, moves=moves))


def find(probe: Probe, plan: Plan) -> Result:
    """Search to the end and return the result alone."""
    for event in search(probe, plan):
        if isinstance(event, SearchEnded):
            return event.result
    raise SearchError("the search ended without a result")


class _Outcomes:
    """All probes so far, and what they say about each size."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.probes: list[Probed] = []
        self._by_size: dict[int, list[Probed]] = {}

    def add(self, probed: Probed) -> None:
        self.probes.append(probed)
        self._by_size.setdefault(probed.size, []).append(probed)

    def holds(self, size: int) -> bool | None:
        """Which side a size is on: None unprobed; provisional until enough seeds have spoken."""
        probes = self._by_size.get(size, [])
        if not probes:
            return None
        held = sum(probed.verdict.holds for probed in probes)
        failed = len(probes) - held
        if held >= self.plan.needed:
            return True
        if failed > len(self.plan.seeds) - self.plan.needed:
            return False
        return held > failed

    def bracket(self) -> tuple[int | None, int | None]:
        """The largest held size below the smallest failed one, and that smallest failed size."""
        failed = min((size for size in self._by_size if not self.holds(size)), default=None)
        held = max(
            (size for size in self._by_size if self.holds(size) and (failed is None or size < failed)),
            default=None,
        )
        return held, failed

    def next_step(self) -> tuple[int, int, Purpose] | None:
        """The next probe, or None when both sides are adjacent and confirmed. It never repeats a probe."""
        plan, axis = self.plan, self.plan.axis
        held, failed = self.bracket()
        # Places are counted from 1, so that on the axis of all integers they are the sizes.
        held_place = 0 if held is None else axis.index(held) + 1
        failed_place = len(axis) + 1 if failed is None else axis.index(failed) + 1
        if held is None and failed is None:
            return plan.start, plan.seed, Purpose.BRACKET
        if failed is None and held_place < len(axis):
            return axis[min(2 * held_place, len(axis)) - 1], plan.seed, Purpose.BRACKET
        if held is None and failed_place > 1:
            return axis[failed_place // 2 - 1], plan.seed, Purpose.BRACKET
        if failed_place - held_place > 1:
            return axis[(held_place + failed_place) // 2 - 1], plan.seed, Purpose.BISECT
        # The held side comes first: when it falls, the failed side is no longer adjacent.
        for size in (held, failed):
            if size is not None and (seed := self._fresh_seed(size)) is not None:
                return size, seed, Purpose.CONFIRM
        return None

    def _fresh_seed(self, size: int) -> int | None:
        used = {probed.seed for probed in self._by_size[size]}
        return next((seed for seed in self.plan.seeds if seed not in used), None)

    def _confidence(self, size: int | None, held: bool) -> Confidence | None:
        if size is None:
            return None
        fresh = [probed for probed in self._by_size[size] if probed.seed != self.plan.seed]
        return Confidence(sum(probed.verdict.holds is held for probed in fresh), len(fresh))

    def _bound_by(self, failed: int | None) -> str | None:
        """What the failing probes at the smallest failed size named most often; first named wins a tie."""
        if failed is None:
            return self.plan.ceiling_reason
        named = Counter(
            probed.verdict.bound_by
            for probed in self._by_size[failed]
            if not probed.verdict.holds and probed.verdict.bound_by is not None
        )
        return named.most_common(1)[0][0] if named else None

    def result(self, settled: bool, moves: int) -> Result:
        held, failed = self.bracket()
        sizes = sorted(self._by_size)
        return Result(
            plan=self.plan,
            largest_held=held,
            smallest_failed=failed,
            bound_by=self._bound_by(failed) if settled or failed is not None else None,
            held_confidence=self._confidence(held, True),
            failed_confidence=self._confidence(failed, False),
            settled=settled,
            moves=moves,
            mixed=tuple(size for size in sizes if len(self._verdicts(size)) > 1),
            probes=tuple(self.probes),
        )

    def _verdicts(self, size: int) -> set[bool]:
        return {probed.verdict.holds for probed in self._by_size[size]}


def _root_ppm(square: Fraction) -> int:
    """The square root of a fraction in parts per million, rounded up."""
    scaled = square * PPM * PPM
    floor = math.isqrt(scaled.numerator // scaled.denominator)
    return floor if floor * floor == scaled else floor + 1
