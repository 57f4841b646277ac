"""The figures of a trial that criteria bound, and the resource that gave way when one does not hold."""

from collections.abc import Iterable, Mapping

from bench.rig.criteria import Criterion
from bench.trial import TrialOutcome
from bench.world.simulation import NS_PER_S

# Unslotted ALOHA carries most at an offered load of one half (Abramson 1970); beyond it more only collides.
_CHANNEL_SATURATION = 0.5

_RESOURCES = {
    "free_cpu_uno": "Uno CPU",
    "free_sram_b": "Uno SRAM",
    "free_cpu_pi": "Pi CPU and card",
    "airtime_duty_uno": "Uno airtime",
    "airtime_duty_gateway": "gateway airtime",
}

_FULL = 1.0
_UNKNOWN = "nothing that was measured"


def figures_of(outcome: TrialOutcome) -> dict[str, int | float | None]:
    """Every figure that a criterion may name (`bench.rig.criteria.MEANINGS`); None: not measured."""
    verdict = outcome.verdict
    latency_ns = verdict.latency_ns(99)
    return {
        "delivered": round(verdict.delivered, 6),
        "altered": verdict.altered,
        "unaccounted": verdict.unaccounted,
        "latency_p99_s": None if latency_ns is None else round(latency_ns / NS_PER_S, 3),
        "free_cpu_uno": None if (awake := awake_share(outcome)) is None else round(1 - awake, 6),
        "free_sram_b": free_sram_bytes(outcome),
        "free_cpu_pi": round(1 - busy_share(outcome), 6),
        "airtime_duty_uno": _duty(outcome, outcome.unos),
        "airtime_duty_gateway": _duty(outcome, outcome.pis),
    }


def _duty(outcome: TrialOutcome, names: Iterable[str]) -> float | None:
    airtime_ns = longest_airtime_ns(outcome, names)
    return None if airtime_ns is None else round(airtime_ns / outcome.virtual_ns, 6)


def awake_share(outcome: TrialOutcome) -> float | None:
    """Share of its cycles that the busiest Uno was awake; None where no Uno can be looked into."""
    return max((uno.active_cycles / uno.cycles for uno in outcome.unos.values()), default=None)


def free_sram_bytes(outcome: TrialOutcome) -> int | None:
    """SRAM that the stack of the fullest Uno never reached; None where no Uno can be looked into."""
    return min((uno.free_sram_bytes for uno in outcome.unos.values()), default=None)


def longest_airtime_ns(outcome: TrialOutcome, names: Iterable[str]) -> int | None:
    """Time on air of the one of these stations that sent longest; None where the air is real."""
    sent = outcome.stations
    if not sent:
        return None
    return max((sent[name].airtime_ns for name in names if name in sent), default=0)


def busy_share(outcome: TrialOutcome) -> float:
    """Share of the time that the busiest Pi's gateway process was working or waiting for its card."""
    return max(pi.busy_ns for pi in outcome.pis.values()) / outcome.virtual_ns


def channel_load(outcome: TrialOutcome) -> float | None:
    """Airtime offered by a branch's stations per time, in the fullest branch; None where the air is real."""
    if not outcome.stations:
        return None
    loads = [
        sum(
            station.airtime_ns
            for name, station in outcome.stations.items()
            if name.startswith(f"{branch.name}/")
        )
        for branch in outcome.plan.rig.branches
    ]
    return max(loads) / outcome.virtual_ns


def broken(criteria: Iterable[Criterion], figures: Mapping[str, int | float | None]) -> list[Criterion]:
    """The criteria that these figures do not meet, in the order of the rig file."""
    return [criterion for criterion in criteria if not criterion.holds(figures[criterion.name])]


def bound_by(outcome: TrialOutcome, criterion: Criterion) -> str:
    """The resource that made a criterion fail: its own, or for delivery and delay the most strained one.

    Nothing, in words, where that was not measured, or where one that was not may be the most strained.
    """
    if criterion.name in _RESOURCES:
        known = figures_of(outcome)[criterion.name] is not None
        return f"{_RESOURCES[criterion.name] if known else _UNKNOWN} ({criterion})"
    load, awake = channel_load(outcome), awake_share(outcome)
    strain = {
        "radio channel": None if load is None else load / _CHANNEL_SATURATION,
        "Pi CPU and card": busy_share(outcome),
        "Uno CPU": awake,
    }
    measured = {name: share for name, share in strain.items() if share is not None}
    most = max(measured, key=lambda name: measured[name])
    known = len(measured) == len(strain) or measured[most] >= _FULL
    return f"{most if known else _UNKNOWN} ({criterion})"
