import json
from pathlib import Path

import pytest

RIG = Path(__file__).parents[1] / "rigs/virtual.toml"


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
