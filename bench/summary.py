"""The figures of one trial as plain data, for `bench trial --json` and the report's attachments."""

from typing import Any

from bench.capacity.figures import broken, channel_load, figures_of
from bench.trial import TrialOutcome
from bench.world.simulation import NS_PER_S

_PERCENTS = (50, 90, 99, 100)


def summary_of(outcome: TrialOutcome) -> dict[str, Any]:
    """One JSON object a trial; times in seconds, sizes in bytes, shares from 0 to 1."""
    verdict, plan = outcome.verdict, outcome.plan
    figures = figures_of(outcome)
    return {
        "rig": plan.rig.name,
        "kind": plan.rig.kind,
        "calibrated_by": list(outcome.calibrations),
        "seed": plan.seed,
        "window_s": plan.window_ns / NS_PER_S,
        "virtual_s": outcome.virtual_ns / NS_PER_S,
        "wall_s": round(outcome.wall_s, 3),
        "trace_sha256": outcome.trace_sha256,
        "firmware_sha256": outcome.firmware.sha256,
        "readings": {
            "injected": verdict.injected,
            "in_server_ledger": verdict.in_server_ledger,
            "altered": verdict.altered,
            "missing": verdict.missing,
            "unaccounted": verdict.unaccounted,
            "missing_by_cause": {cause.value: count for cause, count in verdict.missing_by_cause.items()},
        },
        "latency_s": {
            f"p{percent}": None
            if (latency_ns := verdict.latency_ns(percent)) is None
            else latency_ns / NS_PER_S
            for percent in _PERCENTS
        },
        "criteria": {
            "broken": [str(criterion) for criterion in broken(plan.rig.criteria.values(), figures)],
            "figures": figures,
        },
        "radio": _radio_of(outcome),
        "gateways": {
            name: {
                "busy_s": round(pi.busy_ns / NS_PER_S, 6),
                "blocks": pi.blocks,
                "uplink_sent_bytes": pi.uplink_sent_bytes,
                "rejected": pi.rejected,
            }
            for name, pi in outcome.pis.items()
        },
        "ledger": {
            "bytes": outcome.ledger_bytes,
            "heads": {name: list(heads) for name, heads in outcome.heads.items()},
        },
        "files": {
            "trace": str(outcome.trace_path),
            "server_ledger": str(outcome.server_database),
        },
        "disagreements": list(verdict.examples),
        "notes": list(outcome.notes),
    }


def _radio_of(outcome: TrialOutcome) -> dict[str, Any] | None:
    """None where the air is real, which the bench does not hear."""
    load = channel_load(outcome)
    if load is None:
        return None
    return {
        "retries": outcome.retries,
        "channel_load": round(load, 6),
        "receptions": outcome.receptions,
    }
