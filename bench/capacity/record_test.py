from dataclasses import replace
from pathlib import Path

import pytest

from bench.capacity import record
from bench.capacity.answers import answers_of
from bench.capacity.figures import bound_by, broken, channel_load, figures_of
from bench.capacity.result import Kind, Label, Question, Role, Tier
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


def test_a_figure_of_all_branches_names_the_calibrations_of_all(outcome: TrialOutcome) -> None:
    rig = outcome.plan.rig
    east, published = rig.branches[0], RIGS / "calibration/pi3b-published.toml"
    west = east.model_copy(
        update={"name": "west", "pi": east.pi.model_copy(update={"calibration": published})}
    )
    two = rig.model_copy(update={"branch": (west, east)})
    told = replace(outcome, plan=replace(outcome.plan, rig=two))
    both = Label(Kind.VIRTUAL, "pi3b-published + pi3b-qemu")
    pi = record.trial_of("trial", told).pi
    assert pi is not None
    assert (record.label_of(two), pi.label) == (both, both)
    *_, signing = record.protection_of(told)
    assert signing.label == Label(Kind.VIRTUAL, "pi3b-published"), "charged by the first branch's Pi alone"
    named = {calibration.name for calibration in record.calibrations_of(two)}
    assert {row.label.calibrated_by for row in record.free_of("trial", told)} <= named
    assert "+" not in "".join(calibration.name for calibration in record.calibrations_of(rig))


def test_memory_is_told_where_a_gateway_is_a_process(outcome: TrialOutcome) -> None:
    [(name, pi)] = outcome.pis.items()
    assert not [row for row in record.free_of("trial", outcome) if row.tier is Tier.PI and row.unit == "B"]
    seen = replace(pi, resident_peak_bytes=40_000_000, memory_limit_bytes=250_000_000)
    told = replace(outcome, pis={name: seen})
    use = record.trial_of("trial", told).pi
    assert use is not None
    assert use.memory_bytes == 40_000_000
    free = record.free_of("trial", told)
    [row] = [row for row in free if row.tier is Tier.PI and row.unit == "B"]
    assert (row.used, row.total, row.label) == (40_000_000, 250_000_000, Label(Kind.VIRTUAL))
    trial = record.trial_of("trial", told)
    limits = {
        with_it: answers_of(trial, rows, record.protection_of(outcome), ())[1].open
        for with_it, rows in ((True, free), (False, record.free_of("trial", outcome)))
    }
    assert [any("memory" in limit for limit in limits[seen]) for seen in (True, False)] == [False, True]


def test_figures_of_emulated_unos_beside_real_ones_are_emulated(outcome: TrialOutcome) -> None:
    rig = outcome.plan.rig
    branches = [
        rig.branches[0].model_copy(
            update={"name": kind, "uno": rig.branches[0].uno.model_copy(update={"kind": kind})}
        )
        for kind in ("real", "emulated")
    ]
    mixed = rig.model_copy(update={"branch": tuple(branches)})
    trial = record.trial_of("trial", replace(outcome, plan=replace(outcome.plan, rig=mixed)))
    assert trial.uno is not None
    assert trial.radio is not None
    assert trial.uno.label == Label(Kind.EMULATED, record.ON_CHIP)
    assert trial.radio.label == Label(Kind.EMULATED, record.ON_AIR)


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
