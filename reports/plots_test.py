import copy
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reports.model import SCHEMA_PATH, CapacityResult, parse
from reports.plots import airtime, fan_in, free, latency, missing, plots

SAMPLE_PATH = SCHEMA_PATH.with_name("sample.json")


@pytest.fixture
def sample() -> CapacityResult:
    return parse(json.loads(SAMPLE_PATH.read_text("utf-8")))


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """All plots of the sample."""
    return plots(parse(json.loads(SAMPLE_PATH.read_text("utf-8"))))


def texts(svg: str) -> str:
    """All text of a picture; fails when it is not well-formed."""
    return " ".join(text for text in ElementTree.fromstring(svg).itertext() if text.strip())


def test_equal_results_give_equal_bytes_in_another_process(drawn: dict[str, str]) -> None:
    program = (
        "import sys, hashlib\nfrom pathlib import Path\n"
        "from reports.model import load\nfrom reports.plots import plots\n"
        "drawn = plots(load(Path(sys.argv[1])))\n"
        "print(hashlib.sha256(''.join(drawn.values()).encode()).hexdigest())\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(SAMPLE_PATH)],
        cwd=SCHEMA_PATH.parents[1],
        env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert there.strip() == hashlib.sha256("".join(drawn.values()).encode()).hexdigest()


def test_every_plot_is_drawn_well_formed_and_asks_nothing_of_the_network(drawn: dict[str, str]) -> None:
    assert list(drawn) == [
        "fan_in_sensors_per_uno",
        "fan_in_unos_per_pi",
        "missing",
        "free",
        "latency",
        "airtime",
    ]
    for svg in drawn.values():
        texts(svg)
        addresses = set(re.findall(r'(?:href|src)="([^"#][^"]*)"|url\(([^#)][^)]*)\)', svg))
        assert addresses == set()
        assert "<metadata" not in svg


def test_identifiers_of_two_plots_never_meet(drawn: dict[str, str]) -> None:
    identifiers = [name for svg in drawn.values() for name in set(re.findall(r'\bid="([^"]+)"', svg))]
    assert len(identifiers) == len(set(identifiers))
    for svg in drawn.values():
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= own
        assert "*{" not in svg.replace(" *{", "")


def test_the_bracket_and_the_criterion_are_marked(sample: CapacityResult) -> None:
    unos = next(capacity for capacity in sample["capacities"] if capacity["axis"] == "unos_per_pi")
    shown = texts(fan_in(unos) or "")
    assert f"{unos['largest_held']} held" in shown
    assert f"{unos['smallest_failed']} failed" in shown
    assert "criterion \u2265 99" in shown
    assert "Unos per Pi, with 4 sensors per Uno" in shown


def test_sizes_that_lie_close_share_no_place_on_the_axis(sample: CapacityResult) -> None:
    capacity = copy.deepcopy(sample["capacities"][1])
    for probe, size in zip(capacity["probes"], [1, 2, 4, 8, 16, 32, 64, 47, 48, 49], strict=False):
        probe["size"] = size
    shown = texts(fan_in(capacity) or "")
    labels = shown[shown.index("over Unos per Pi") : shown.index("with 4 sensors")].split()
    assert [label for label in labels if label.isdigit()] == ["1", "2", "4", "8", "16", "32", "47", "64"]


def test_causes_and_totals_of_missing_readings_are_named(sample: CapacityResult) -> None:
    trial = copy.deepcopy(sample["trials"][0])
    trial["readings"].update(
        {
            "injected": 1000,
            "missing": 60,
            "unaccounted": 10,
            "missing_by_cause": {"radio": 20, "sunspots": 30},
        }
    )
    shown = texts(missing([trial]) or "")
    for word in ["radio", "sunspots", "unaccounted", "6\u202f%"]:
        assert word in shown


def test_trials_at_one_size_are_told_apart_by_name(sample: CapacityResult) -> None:
    first = sample["trials"][0]
    sample["trials"] = [{**first, "name": "rig as it is"}, {**first, "name": "with a stranger on air"}]
    for svg in (missing(sample["trials"]), latency(sample)):
        assert "rig as it is" in texts(svg or "")
        assert "with a stranger on air" in texts(svg or "")


def test_of_many_trials_those_that_miss_most_are_shown(sample: CapacityResult) -> None:
    trials = [copy.deepcopy(sample["trials"][0]) for _ in range(100)]
    for number, trial in enumerate(trials):
        trial["name"] = f"trial {number}"
        trial["readings"].update({"injected": 1000, "missing": number, "missing_by_cause": {"radio": number}})
    shown = texts(missing(trials) or "")
    assert "30 trials of 100" in shown
    assert "trial 99" in shown
    assert "trial 42" not in shown


def test_free_says_what_is_free_and_never_less_than_nothing(sample: CapacityResult) -> None:
    resource = copy.deepcopy(sample["free"][0])
    quarter, over = {**resource, "used": 25, "total": 100}, {**resource, "used": 130, "total": 100}
    shown = texts(free([quarter, over]) or "")  # type: ignore[list-item] # a changed copy is a plain dict to mypy
    assert "75\u202f% free" in shown
    assert "0\u202f% free" in shown


def test_a_branch_of_many_stations_shows_the_busiest(sample: CapacityResult) -> None:
    trial = next(trial for trial in sample["trials"] if trial["unos_per_pi"] == 10 and trial["radio"])
    assert trial["radio"] is not None
    gateway, uno = trial["radio"]["stations"][:2]
    trial["radio"]["stations"] = [gateway] + [
        {**uno, "name": f"uno {number}", "duty_ppm": number} for number in range(1, 201)
    ]
    shown = texts(airtime(sample) or "")
    assert "the 24 busiest of 201 stations" in shown
    assert "uno 200" in shown
    assert "uno 100" not in shown


def test_names_with_special_characters_are_shown_as_they_are(sample: CapacityResult) -> None:
    sample["free"][0]["resource"] = "a$b$ <c> & _d"
    assert "a$b$ <c> & _d" in texts(free(sample["free"]) or "")


def test_nothing_measured_draws_nothing(sample: CapacityResult) -> None:
    for trial in sample["trials"]:
        trial["radio"], trial["latency"] = None, None
    for capacity in sample["capacities"]:
        for probe in capacity["probes"]:
            probe["values"] = {}
    assert set(plots(sample)) == {"missing", "free"}
    sample["trials"], sample["free"], sample["capacities"] = [], [], []
    assert plots(sample) == {}
    assert (latency(sample), airtime(sample), missing([]), free([])) == (None, None, None, None)


def test_a_trial_without_losses_and_one_size_can_be_drawn(sample: CapacityResult, tmp_path: Path) -> None:
    sample["trials"] = sample["trials"][:1]
    sample["trials"][0]["readings"].update({"missing": 0, "unaccounted": 0, "missing_by_cause": {}})
    for capacity in sample["capacities"]:
        capacity["probes"] = capacity["probes"][:1]
        capacity["largest_held"], capacity["smallest_failed"] = None, capacity["probes"][0]["size"]
    for name, svg in plots(sample).items():
        (tmp_path / f"{name}.svg").write_text(svg)
        texts(svg)
    assert "0\u202f%" in texts(missing(sample["trials"]) or "")
