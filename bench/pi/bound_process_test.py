import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.pi.bound_process import BoundProcess
from bench.rig.infrastructure import InfrastructureError
from bench.world.patience import until

PATIENCE_S = 30
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(3600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True); time.sleep(3600)",
]

pytestmark = pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="needs setpriv of the package util-linux"
)


def test_it_runs_prints_and_ends_as_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with BoundProcess("server", SLEEPER, log) as process:
        until(lambda: process.last_words() == "up", PATIENCE_S)
        assert process.is_running
        assert process.exit_status is None
        assert process.stop() == -signal.SIGTERM
        assert not process.is_running
        assert process.stop() == process.kill() == -signal.SIGTERM
    finished = BoundProcess("server", [sys.executable, "-c", "raise SystemExit(3)"], log)
    until(lambda: finished.exit_status == 3, PATIENCE_S)


def test_who_does_not_heed_is_killed(tmp_path: Path) -> None:
    with BoundProcess("server", STUBBORN, tmp_path / "log") as process:
        until(lambda: process.last_words() == "up", PATIENCE_S)
        assert process.stop(patience_s=0.1) == -signal.SIGKILL


def test_it_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    started = list[BoundProcess]()
    thread = threading.Thread(
        target=lambda: started.append(BoundProcess("server", SLEEPER, tmp_path / "log"))
    )
    thread.start()
    thread.join()
    with started[0] as process:
        until(lambda: process.last_words() == "up", PATIENCE_S)
        assert process.is_running


def test_it_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from pathlib import Path\n"
            "from bench.pi.bound_process import BoundProcess\n"
            f"process = BoundProcess('server', {SLEEPER!r}, Path(sys.argv[1]))\n"
            "print(process.pid, flush=True)\n"
            "time.sleep(3600)\n",
            str(tmp_path / "log"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        until(lambda: (tmp_path / "log").read_text() == "up\n", PATIENCE_S)
        os.kill(pid, 0)
    finally:
        owner.kill()
        owner.communicate()
    until(lambda: not _runs(pid), PATIENCE_S)


def test_a_fork_starts_processes_of_its_own(tmp_path: Path) -> None:
    with BoundProcess("server", SLEEPER, tmp_path / "log"):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                BoundProcess("server", [sys.executable, "-c", "pass"], tmp_path / "forked").stop()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_host_without_setpriv_is_told_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureError, match="util-linux"):
        BoundProcess("server", SLEEPER, tmp_path / "log")
