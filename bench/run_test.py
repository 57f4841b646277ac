"""`bench run` around a stand-in for pytest, which is not what is tested here."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import run
from reports.model import ReportError

ROOT = Path(__file__).parents[1]
RIG = ROOT / "rigs/virtual.toml"
SAMPLE = ROOT / "reports/sample.json"

FAILING = "sys.exit(3)"

SLOW_TO_STOP = """
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(1)
    (report / "capacity.json").write_text("found until then")
    sys.exit(2)
"""

DEAF = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", os.getpid(), flush=True)
time.sleep(600)
"""

BENCH = """
import signal, sys
# Where the tests run in the background, SIGINT is ignored, and so it would be here.
signal.signal(signal.SIGINT, signal.default_int_handler)
from bench import cli, run
run.find_allure = lambda tools: tools
sys.executable, *arguments = sys.argv[1:]
sys.argv = ["bench", "run", *arguments]
cli.main()
"""


def stand_in(folder: Path, behaviour: str) -> Path:
    """A program that takes pytest's place: it is started as `PROGRAM -m pytest ... --report DIR ...`."""
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\nfrom pathlib import Path\n"
        f'report = Path(sys.argv[sys.argv.index("--report") + 1])\n{behaviour}\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_allure", lambda tools: tools)
    monkeypatch.setattr(sys, "executable", str(stand_in(tmp_path, FAILING)))


def started(folder: Path, behaviour: str) -> subprocess.Popen[str]:
    """`bench run` in a process group of its own, which gets what a terminal would send."""
    program = stand_in(folder, behaviour)
    return subprocess.Popen(
        [sys.executable, "-c", BENCH, program, "--rig", RIG, "--report", folder / "report"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        process_group=0,
    )


def line_of(bench: subprocess.Popen[str], beginning: str) -> str:
    assert bench.stdout is not None
    return next(line for line in bench.stdout if line.startswith(beginning))


def test_an_interrupted_run_waits_until_the_suites_have_left_what_they_found(tmp_path: Path) -> None:
    with started(tmp_path, SLOW_TO_STOP) as bench:
        line_of(bench, "ready")
        os.killpg(bench.pid, signal.SIGINT)
        _, errors = bench.communicate(timeout=300)
    assert (tmp_path / "report/capacity.json").read_text() == "found until then"
    assert bench.returncode == 130
    assert "bench: stopping" in errors
    assert "Traceback" not in errors


def test_a_second_interruption_ends_suites_that_do_not_stop(tmp_path: Path) -> None:
    with started(tmp_path, DEAF) as bench:
        suites = os.pidfd_open(int(line_of(bench, "ready").split()[1]))
        os.killpg(bench.pid, signal.SIGINT)
        assert bench.stderr is not None
        assert any(line.startswith("bench: stopping") for line in bench.stderr)
        os.killpg(bench.pid, signal.SIGINT)
        _, errors = bench.communicate(timeout=300)
    with os.fdopen(suites):
        assert select.select([suites], [], [], 300)[0], "they have ended"
    assert bench.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.usefixtures("failing")
def test_a_run_without_result_says_so_and_leaves_none_of_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    (report / "plots").mkdir(parents=True)
    shutil.copy(SAMPLE, report / "capacity.json")
    for name in ("capacity.html", "index.html", "plots/free.svg", "plots/fan_in_unos_per_pi.svg"):
        (report / name).write_text("of another rig")
    (report / "plots" / "mine.svg").write_text("not of the bench")
    assert run.run_suites(RIG, 1, report, short=True) == 3
    assert "left no capacities" in capfd.readouterr().err
    left = [path.name for path in report.rglob("*") if path.is_file()]
    assert left == ["mine.svg"]


@pytest.mark.usefixtures("failing")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=r"file/report cannot be written .*name another folder by --report"):
        run.run_suites(RIG, 1, tmp_path / "file" / "report", short=True)
