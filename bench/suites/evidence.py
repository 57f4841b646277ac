"""What the suites attach to the report."""

import json
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import allure

from bench.campaign import Campaign
from bench.faults.plan import FaultEvidence
from bench.summary import summary_of
from bench.trial import TrialOutcome
from bench.twin import Twins, twins_document
from reports.model import load
from reports.plots import plots

_EXTRACT_LINES = 100


def attach_trial(campaign: Campaign, outcome: TrialOutcome) -> None:
    """The trial's figures, both ends of its trace, the rig file, and what repeats it."""
    _attach_json(summary_of(outcome), "trial")
    allure.attach(trace_extract(outcome.trace_path), "trace extract", allure.attachment_type.TEXT)
    allure.attach(campaign.rig_path.read_text(encoding="utf-8"), "rig", allure.attachment_type.TEXT)
    again = {
        "seed": outcome.plan.seed,
        "firmware_sha256": outcome.firmware.sha256,
        "trace_sha256": outcome.trace_sha256,
    }
    _attach_json(again, "what repeats it")


def attach_plots(campaign: Campaign) -> None:
    """All plots that can be drawn from what the campaign has found so far."""
    for name, svg in plots(load(campaign.write_result())).items():
        allure.attach(svg, name, allure.attachment_type.SVG)


def attach_twins(twins: Twins) -> None:
    """Both trials figure by figure, and what differs."""
    _attach_json(twins_document(twins), "twins")


def attach_faults(evidence: Sequence[FaultEvidence]) -> None:
    """Each fault, that it fired, and what was found."""
    allure.attach("\n".join(map(str, evidence)), "faults", allure.attachment_type.TEXT)


def trace_extract(path: Path) -> str:
    """The first and the last lines of a trace."""
    with path.open(encoding="ascii") as lines:
        first = list(islice(lines, _EXTRACT_LINES))
        last = deque(lines, maxlen=_EXTRACT_LINES)
    return "".join([*first, *(["...\n"] if len(last) == _EXTRACT_LINES else []), *last])


def _attach_json(value: object, name: str) -> None:
    allure.attach(json.dumps(value, indent=2), name, allure.attachment_type.JSON)
