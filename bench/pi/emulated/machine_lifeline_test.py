"""A program with a lifeline ends with it, whoever ends first; its log is bounded."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pi.emulated.machine_lifeline import BoundedLog, command_with_lifeline

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 300.0


def started(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A shell with a lifeline, and a descriptor of its process."""
    command = ["sh", "-c", "echo $$; exec sleep 600"]
    watcher = subprocess.Popen(
        command_with_lifeline(command), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert watcher.stdout is not None
    return watcher, os.pidfd_open(int(watcher.stdout.readline()))


def has_ended(process: int) -> bool:
    ended = bool(select.select([process], [], [], DEADLINE_S)[0])
    os.close(process)
    return ended


def test_it_ends_when_the_lifeline_is_cut(tmp_path: Path) -> None:
    watcher, process = started(tmp_path)
    with watcher:
        assert watcher.stdin is not None
        watcher.stdin.close()
        assert has_ended(process)
        assert watcher.wait() == 128 + signal.SIGKILL


def test_it_ends_when_its_watcher_is_killed(tmp_path: Path) -> None:
    watcher, process = started(tmp_path)
    with watcher:
        watcher.kill()
        assert has_ended(process)


def test_it_lives_on_when_the_thread_ends_that_started_it(tmp_path: Path) -> None:
    found: list[tuple[subprocess.Popen[bytes], int]] = []
    thread = threading.Thread(target=lambda: found.append(started(tmp_path)))
    thread.start()
    thread.join()
    watcher, process = found[0]
    with watcher:
        assert select.select([process], [], [], 0.2)[0] == []
        watcher.kill()
        assert has_ended(process)


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM)])
def test_its_status_is_told_as_a_shell_does(tmp_path: Path, script: str, status: int) -> None:
    command = command_with_lifeline(["sh", "-c", script])
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE) as watcher:
        assert watcher.wait() == status


def test_everything_it_says_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = command_with_lifeline(["sh", "-c", "seq 20000; echo last >&2"], log, 1 << 20)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watcher:
        assert watcher.wait() == 0
    assert log.read_text() == "".join(f"{number}\n" for number in range(1, 20_001)) + "last\n"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_a_log_holds_the_newest_and_is_bounded(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = BoundedLog(path, limit_bytes=32)
    said = b""
    for piece in pieces:
        log.write(piece)
        said += piece
        held = path.read_bytes()
        assert len(held) <= 32
        assert said.endswith(held)
        assert len(held) >= min(16, len(said))
