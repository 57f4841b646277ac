"""Is every reading in the server's ledger, unaltered, once, and can that be audited?"""

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import allure
import pytest

from bench.assembly import LEAD_IN_NS
from bench.campaign import BASELINE, Campaign
from bench.capacity.figures import broken, figures_of
from bench.suites.evidence import attach_plots, attach_trial
from bench.trial import TrialOutcome
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream

pytestmark = allure.suite("integrity")

_REFUSED_AS = {
    "altered": {"bad_tag"},
    "truncated": {"truncated", "bad_tag"},
    "stranger": {"unknown_meter"},
    "forged_ack": {"other_kind"},
}
"""Why a gateway refuses an attack. What is cut can be as long as a frame of fewer registers."""
_FETCH_NS = NS_PER_S // 2
"""What a gateway takes to fetch a packet from its chip, at most; until then another may take its place."""
_FLIPS = 24


@pytest.fixture(scope="module")
def baseline(campaign: Campaign) -> TrialOutcome:
    """The rig as its file describes it."""
    return campaign.trial(BASELINE)


def audit(database: Path) -> subprocess.CompletedProcess[str]:
    """What `ledger verify` says, as an operator would run it."""
    command = [sys.executable, "-m", "ledger.cli", "verify", str(database)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@allure.title("Every reading is accounted for, and none is altered")
def test_every_reading_is_accounted_for(campaign: Campaign, baseline: TrialOutcome) -> None:
    attach_trial(campaign, baseline)
    verdict = baseline.verdict
    assert verdict.injected > 0
    assert verdict.altered == 0, verdict.examples
    assert verdict.unaccounted == 0


@allure.title("Every criterion of the rig file holds")
def test_criteria_hold(campaign: Campaign, baseline: TrialOutcome) -> None:
    attach_plots(campaign)
    figures = figures_of(baseline)
    faults = broken(campaign.rig.criteria.values(), figures)
    assert not faults, [f"{criterion}: found {figures[criterion.name]}" for criterion in faults]


@allure.title("The same seed gives the same trace, another seed another one")
def test_trial_is_repeatable(campaign: Campaign) -> None:
    if campaign.rig.is_paced:
        pytest.skip("what keeps the wall clock repeats its ledger's content, not its trace: see suite twin")
    window_s = 3 * max(branch.uno.interval_s for branch in campaign.rig.branches)
    first = campaign.trial("repeatable", window_s=window_s)
    again = campaign.trial("repeated", window_s=window_s)
    other = campaign.trial("another seed", window_s=window_s, seed=campaign.seed + 1)
    assert first.trace_sha256 == again.trace_sha256
    assert first.trace_sha256 != other.trace_sha256


@allure.title("All ledgers end with the same heads, and pass their audit")
def test_ledgers_agree(baseline: TrialOutcome) -> None:
    assert len(set(baseline.heads.values())) == 1, baseline.heads
    databases = sorted(baseline.plan.directory.glob("*.db"))
    assert len(databases) == 1 + len(baseline.pis)
    for database in databases:
        finished = audit(database)
        assert finished.returncode == 0, finished.stdout + finished.stderr


@allure.title("A single changed byte of a stored block is found and its block named")
def test_changed_bytes_are_found(campaign: Campaign, baseline: TrialOutcome, tmp_path: Path) -> None:
    content = baseline.server_database.read_bytes()
    connection = sqlite3.connect(f"file:{baseline.server_database}?mode=ro", uri=True)
    blocks: list[tuple[bytes, bytes]] = connection.execute("SELECT hash, raw FROM block").fetchall()
    connection.close()
    # Long blocks lie in pieces on several pages; short ones can be found whole and changed in place.
    found = [(block_hash, raw, content.find(raw)) for block_hash, raw in blocks]
    whole = [(block_hash, raw, at) for block_hash, raw, at in found if at >= 0]
    assert whole, "no stored block lies in one piece"
    draws = Stream(campaign.seed, "changed bytes")
    for index in range(_FLIPS):
        block_hash, raw, at = whole[draws.below(len(whole), 3 * index)]
        changed = bytearray(content)
        changed[at + draws.below(len(raw), 3 * index + 1)] ^= 1 + draws.below(255, 3 * index + 2)
        database = tmp_path / f"changed-{index}.db"
        database.write_bytes(changed)
        finished = audit(database)
        assert finished.returncode == 1, finished.stdout + finished.stderr
        assert block_hash.hex()[:12] in finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr


def heard_attacks(outcome: TrialOutcome, alone_ns: int = 0) -> Counter[str]:
    """By kind, the attacks that reached a gateway's chip whole: nobody has to refuse the others.

    Counted are those of the judged window after which the chip neither received nor sent for `alone_ns`.
    """
    until_ns = outcome.zero_ns + LEAD_IN_NS + outcome.plan.window_ns
    attacks: dict[tuple[str, int], str] = {}
    begun: Counter[str] = Counter()
    chips: dict[str, list[tuple[int, str]]] = {name: [] for name in outcome.pis}
    with outcome.trace_path.open(encoding="ascii") as lines:
        for t_ns, source, kind, fields in map(json.loads, lines):
            if kind == "attack":
                attacks[source, begun[source]] = fields["attack"]
                begun[source] += 1
            elif source in chips and kind == "transmission":
                chips[source].append((t_ns, ""))
            elif source in chips and kind == "reception" and fields["outcome"] == "delivered":
                chips[source].append((t_ns, attacks.get((fields["sender"], fields["number"]), "")))
    return Counter(
        attack
        for events in chips.values()
        for (t_ns, attack), (next_ns, _) in pairwise([*events, (until_ns + alone_ns, "")])
        if attack and t_ns <= until_ns and next_ns - t_ns >= alone_ns
    )


def unrefused(heard: Counter[str], refused: Counter[str]) -> list[tuple[str, ...]]:
    """Kinds of attacks of which more were heard than was refused for all their reasons together."""
    return [
        attacks
        for count in range(1, len(_REFUSED_AS) + 1)
        for attacks in combinations(_REFUSED_AS, count)
        if sum(heard[attack] for attack in attacks)
        > sum(refused[reason] for reason in set().union(*(_REFUSED_AS[attack] for attack in attacks)))
    ]


@allure.title("An intruder's frames are refused and counted, and nothing valid is lost")
def test_intruder_is_refused(campaign: Campaign) -> None:
    if any(branch.uno.kind == "real" for branch in campaign.rig.branches):
        pytest.skip("the intruder transmits on the modelled medium, and real radios do not hear it")
    # On the wall clock chance decides what is heard, and a window is short: each kind has several turns.
    outcome = campaign.trial("intruder", intruder_period_s=2 if campaign.rig.is_paced else 7)
    attach_trial(campaign, outcome)
    assert outcome.attacks.keys() >= {*_REFUSED_AS, "replay"}
    heard = heard_attacks(outcome)
    assert heard.keys() >= {*_REFUSED_AS, "replay"}, heard
    refused: Counter[str] = Counter()
    for pi in outcome.pis.values():
        refused.update(pi.rejected)
    for attack, reasons in _REFUSED_AS.items():
        assert refused.keys() & reasons, (attack, refused)
    fetched = heard_attacks(outcome, _FETCH_NS)
    assert not unrefused(fetched, refused), (fetched, refused)
    assert sum(pi.repeats for pi in outcome.pis.values()) > 0
    assert (outcome.verdict.altered, outcome.verdict.unaccounted, outcome.verdict.foreign) == (0, 0, 0)
    assert outcome.verdict.delivered >= 0.99
