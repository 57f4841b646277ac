from dataclasses import replace
from pathlib import Path

import pytest

from bench.capacity import record
from bench.capacity.answers import answers_of
from bench.capacity.figures import bound_by, broken, channel_load, figures_of
from bench.capacity.result import Kind, Question, Role, Tier
from bench.rig.loader import load_rig
from bench.trial import TrialOutcome, TrialPlan, run_trial
from bench.uno.build import build_firmware
from bench.world.simulation import NS_PER_S

RIGS = Path(__file__).parents[2] / "rigs"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> TrialOutcome:
    rig = load_rig(RIGS / "virtual.toml").with_changes(unos=2, interval_s=20)
    plan = TrialPlan(rig, 3, 60 * NS_PER_S, tmp_path_factory.mktemp("trial") / "trial", 6 * NS_PER_S)
    return run_trial(plan, build_firmware())


@pytest.fixture
def unseen(outcome: TrialOutcome) -> TrialOutcome:
    """The same trial as real Unos leave it: nobody looks into them, and nobody hears their air."""
    return replace(outcome, unos={}, stations={}, repeated={}, receptions={})


def test_stations_have_their_roles_and_an_intruder_is_none_of_them(outcome: TrialOutcome) -> None:
    assert "east/intruder" in outcome.stations
    radio = record.trial_of("trial", outcome).radio
    assert radio is not None
    assert {station.name: station.role for station in radio.stations} == {
        "east/pi": Role.GATEWAY,
        "east/uno-1": Role.UNO,
        "east/uno-2": Role.UNO,
    }


def test_figures_name_every_criterion_and_the_resource_that_gave_way(outcome: TrialOutcome) -> None:
    criteria = outcome.plan.rig.criteria
    figures = figures_of(outcome)
    assert figures.keys() >= criteria.keys()
    assert broken(criteria.values(), {**figures, "free_sram_b": 1}) == [criteria["free_sram_b"]]
    assert bound_by(outcome, criteria["free_sram_b"]) == "Uno SRAM (free_sram_b >= 128)"
    assert bound_by(outcome, criteria["delivered"]).startswith("radio channel")
    load = channel_load(outcome)
    assert load is not None
    assert 0 < load < 1


def test_every_figure_says_what_it_is_and_stays_within_its_whole(outcome: TrialOutcome) -> None:
    free = record.free_of("trial", outcome)
    assert {row.tier for row in free} == {Tier.UNO, Tier.RADIO, Tier.PI}
    assert all(row.label.kind is Kind.VIRTUAL and 0 <= row.used <= row.total for row in free)
    seal, *_ = record.protection_of(outcome)
    assert (seal.tier, seal.unit) == (Tier.UNO, "cycles")
    # firmware/README.md: 30,963 cycles for a plaintext of 21 B, plus the frame's own handling.
    assert 30_963 <= seal.value <= 32_500


def test_the_answers_follow_the_figures(outcome: TrialOutcome) -> None:
    trial = record.trial_of("trial", outcome)
    free, protection = record.free_of("trial", outcome), record.protection_of(outcome)
    answers = answers_of(trial, free, protection, [])
    assert [answer.question for answer in answers] == list(Question)
    failed = answers_of(replace(trial, holds=False), free, protection, [])
    assert answers[0].sentence != failed[0].sentence
    assert "does not carry" in failed[0].sentence
    assert answers[3].sentence == "No fan-in was searched in this run."


def test_what_real_unos_do_not_show_is_left_out(unseen: TrialOutcome) -> None:
    trial = record.trial_of("trial", unseen)
    assert (trial.radio, trial.uno) == (None, None)
    assert channel_load(unseen) is None
    free, protection = record.free_of("trial", unseen), record.protection_of(unseen)
    assert [(row.tier, row.resource) for row in free] == [(Tier.UNO, "flash"), (Tier.PI, "CPU and card")]
    assert {cost.tier for cost in protection} == {Tier.RADIO, Tier.PI}
    _, left, price, _ = answers_of(trial, free, protection, [])
    assert any("Time on air" in line for line in left.open)
    assert price.sentence.startswith("Sealing a frame adds 27 B on the air; opening it takes the Pi ")
    assert any("sealing" in line for line in price.open)


def test_what_was_not_measured_is_not_blamed(unseen: TrialOutcome) -> None:
    criteria = unseen.plan.rig.criteria
    assert bound_by(unseen, criteria["delivered"]) == f"nothing that was measured ({criteria['delivered']})"
    assert bound_by(unseen, criteria["free_sram_b"]).startswith("nothing that was measured")
    full = {name: replace(pi, busy_ns=unseen.virtual_ns) for name, pi in unseen.pis.items()}
    assert bound_by(replace(unseen, pis=full), criteria["delivered"]).startswith("Pi CPU and card")
