import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RIG = ROOT / "rigs/virtual.toml"


def test_without_a_rig_no_suite_is_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(some_suite="def test_of_a_rig(): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_with_a_rig_alone_the_suites_of_the_bench_are_collected(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--rig", RIG, "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    collected = result.stdout.str()
    for suite in ("integrity", "partition", "throughput", "fan_in"):
        assert f"{suite}_suite.py::" in collected
    assert "_test.py::" not in collected


def test_a_wrong_rig_is_told_before_anything_runs(pytester: pytest.Pytester) -> None:
    rig = pytester.path / "wrong.toml"
    rig.write_text(RIG.read_text().replace('kind = "virtual", count', 'kind = "vitrual", count'))
    result = pytester.runpytest_subprocess("--rig", rig)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*wrong.toml*", "*vitrual*did you mean*virtual*"])
    assert "Traceback" not in result.stderr.str()


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(pytester: pytest.Pytester) -> None:
    (pytester.path / "file").touch()
    result = pytester.runpytest_subprocess("--rig", RIG, "--report", "file/report")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*file/report cannot be written*choose another directory*"])
    assert "Traceback" not in result.stderr.str()


def test_a_suite_gets_trials_and_leaves_a_result(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        own_suite="""
        def test_of_a_rig(campaign, rig):
            outcome = campaign.trial("baseline", rig=rig.with_changes(unos=1, interval_s=10), window_s=60)
            assert outcome.verdict.injected > 0
            assert outcome is campaign.trial("baseline")
        """
    )
    result = pytester.runpytest_subprocess("--rig", RIG, "--seed", "5", "--report", "report", "own_suite.py")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["rig: virtual village*seed 5"])
    capacity = json.loads((pytester.path / "report/capacity.json").read_text())
    assert [trial["name"] for trial in capacity["trials"]] == ["baseline"]
    assert capacity["trials"][0]["unos_per_pi"] == 1
    assert (pytester.path / "report/trials/baseline/trace.jsonl").exists()


def test_a_supply_that_feeds_a_pi_alone_is_not_asked_for_unos(pytester: pytest.Pytester) -> None:
    supply = "[[instruments.supply]]"
    before, _lead_of_the_unos, lead_of_the_pi = (ROOT / "rigs/emulated.toml").read_text().split(supply)
    text = before + supply + lead_of_the_pi
    for folder in ("datasets/", "calibration/"):
        text = text.replace(f'"{folder}', f'"{ROOT}/rigs/{folder}')
    rig = pytester.path / "rig.toml"
    rig.write_text(text)
    suite = ROOT / "bench/suites/power_suite.py"
    result = pytester.runpytest_subprocess("--rig", rig, "-rs", "-k", "unos or attenuator", str(suite))
    result.assert_outcomes(skipped=2, deselected=1)
    result.stdout.fnmatch_lines(["*SKIPPED*the supply feeds no Uno of east*"])
