"""What the suites ask of a rig, and what they make of what it shows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.assembly import LEAD_IN_NS
from bench.campaign import Campaign
from bench.progress import Reporter
from bench.rig.loader import load_rig
from bench.suites import fan_in_suite, throughput_suite
from bench.suites.integrity_suite import _FETCH_NS, _REFUSED_AS, heard_attacks, unrefused
from bench.trial import TRACE_FILE, TrialOutcome, TrialPlan, run_trial
from bench.uno.build import build_firmware
from bench.uno.image import FirmwareImage
from bench.world.simulation import NS_PER_S
from ledger.frame import FrameError, FrameId, Snapshot, Status, open_frame, seal_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.capacity.search import Plan
    from bench.rig.model import Rig

RIGS = Path(__file__).parents[1] / "rigs"


class Asked(Exception):  # noqa: N818  # not an error: the suite has come to its search
    """What a suite searches."""

    def __init__(self, plan: Plan, rig_of: Callable[[int], Rig]) -> None:
        super().__init__()
        self.plan = plan
        self.rig_of = rig_of


def asked(suite: Any, rig: Rig, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Play a suite as far as its search."""

    def search(_campaign: Campaign, _axis: str, _unit: str, plan: Plan, rig_of: Any, **_: object) -> None:
        raise Asked(plan, rig_of)

    monkeypatch.setattr(Campaign, "search", search)
    reporter = Reporter(lambda _text: None, is_terminal=False)
    firmware = FirmwareImage("none", b"\xff")
    with pytest.raises(Asked) as caught:
        suite(Campaign(rig, RIGS / "virtual.toml", 1, False, directory, firmware, reporter))
    return caught.value


@pytest.mark.parametrize(
    ("name", "interval_s", "start"),
    [("virtual.toml", 60, 1), ("emulated.toml", 10, 6), ("emulated.toml", 7, 6), ("emulated.toml", 90, 1)],
)
def test_every_rate_that_is_searched_is_played_exactly(
    name: str, interval_s: int, start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = load_rig(RIGS / name).with_changes(interval_s=interval_s)
    search = asked(throughput_suite.test_frames_per_minute, rig, tmp_path, monkeypatch)
    assert list(search.plan.axis) == [1, 2, 3, 4, 5, 6, 10, 12]
    assert search.plan.start == start
    for rate in search.plan.axis:
        assert {rate * branch.uno.interval_s for branch in search.rig_of(rate).branches} == {60}


def test_no_branch_on_the_wall_clock_is_asked_for_more_unos_than_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = load_rig(RIGS / "emulated.toml")
    east = rig.branches[0]
    west = east.model_copy(update={"name": "west", "uno": east.uno.model_copy(update={"count": 2})})
    two = rig.model_copy(update={"branch": (east, west)})
    plan = asked(fan_in_suite.test_unos_per_pi, two, tmp_path, monkeypatch).plan
    assert (plan.start, plan.ceiling) == (2, 2)


def test_a_frame_that_was_cut_is_refused_as_the_suite_expects() -> None:
    key = bytes(16)
    plaintext = Snapshot(Status(0), 0, 0, (), (1, 2, 3, 4)).encode()
    frame = seal_frame(key, FrameId(1, 2, 3), plaintext)
    reasons = set()
    for length in range(1, len(frame)):
        with pytest.raises(FrameError) as caught:
            open_frame(key, frame[:length])
        reasons.add(str(caught.value.reason))
    assert reasons == _REFUSED_AS["truncated"]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> TrialOutcome:
    rig = load_rig(RIGS / "virtual.toml").with_changes(unos=2, interval_s=20)
    directory = tmp_path_factory.mktemp("trial") / "trial"
    return run_trial(TrialPlan(rig, 3, 240 * NS_PER_S, directory, 4 * NS_PER_S), build_firmware())


def test_each_attack_that_was_heard_must_be_refused(attacked: TrialOutcome) -> None:
    heard = heard_attacks(attacked, _FETCH_NS)
    assert heard.keys() >= _REFUSED_AS.keys()
    refused = Counter(attacked.pis["east/pi"].rejected)
    assert unrefused(heard, refused) == []
    for attack, reasons in _REFUSED_AS.items():
        overlooked = Counter({reason: refused[reason] for reason in refused if reason not in reasons})
        assert any(attack in attacks for attacks in unrefused(heard, overlooked))
    # Refusals of altered frames do not stand for those that were cut.
    only_altered = Counter({**refused, "truncated": 0, "bad_tag": heard["altered"]})
    assert ("altered", "truncated") in unrefused(heard, only_altered)


def test_attacks_after_the_window_or_soon_followed_are_not_expected_to_be_refused(
    attacked: TrialOutcome, tmp_path: Path
) -> None:
    end_ns = LEAD_IN_NS + attacked.plan.window_ns
    close_ns = 2 * NS_PER_S + _FETCH_NS - 1
    lines: list[tuple[int, str, str, dict[str, object]]] = [
        (9 * NS_PER_S + 1, "east/pi", "transmission", {"number": 0})
    ]
    for number, t_ns in enumerate([1, 2 * NS_PER_S, close_ns, 9 * NS_PER_S, end_ns, end_ns + _FETCH_NS]):
        heard = {"sender": "east/intruder", "number": number, "outcome": "delivered"}
        lines += [
            (t_ns, "east/intruder", "attack", {"attack": "stranger"}),
            (t_ns, "east/uno-1", "reception", heard),
            (t_ns, "east/pi", "reception", heard),
        ]
    lines.sort(key=lambda line: line[0])
    (tmp_path / TRACE_FILE).write_text("\n".join(map(json.dumps, lines)))
    told = replace(attacked, plan=replace(attacked.plan, directory=tmp_path))
    assert heard_attacks(told) == {"stranger": 5}
    assert heard_attacks(told, _FETCH_NS) == {"stranger": 3}
