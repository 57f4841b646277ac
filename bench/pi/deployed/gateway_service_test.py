"""What the service's machine says, read; the service itself is tried in the emulated Pi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pi.deployed.gateway_service import figures_from, log_from, log_pages
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

SAID = """\
MainPID=612
NRestarts=3
ActiveState=active
BootId=9f0c41f4-0a0d-4f0e-9c8a-0d2a6c1d7b11
CpuUs=1834567
GroupBytes=40550400
GroupPeakBytes=51200000
ResidentKiB=38120
ResidentPeakKiB=40960
DiskFreeKiB=1700032
Card=4250 1311 390938 14211 1320 981 50480 19931 0 17000 35012 0 0 0 0 41 870
UptimeS=123.45
"""


def test_figures_are_read_in_their_units() -> None:
    figures = figures_from(SAID)
    assert figures.active
    assert (figures.restarts, figures.uptime_ms) == (3, 123_450)
    assert figures.cpu_ns == 1_834_567_000
    assert (figures.resident_bytes, figures.resident_peak_bytes) == (38120 * 1024, 40960 * 1024)
    assert (figures.group_bytes, figures.group_peak_bytes) == (40_550_400, 51_200_000)
    assert (figures.card_writes, figures.card_written_bytes) == (1320, 50_480 * 512)
    assert figures.disk_free_bytes == 1_700_032 * 1024


@given(st.sets(st.sampled_from(SAID.splitlines())))
def test_what_a_system_does_not_tell_is_none(missing: set[str]) -> None:
    kept = [line if line not in missing else f"{line.partition('=')[0]}=" for line in SAID.splitlines()]
    figures = figures_from("\n".join(kept))
    assert (figures.cpu_ns is None) == any(line.startswith("CpuUs") for line in missing)
    assert (figures.card_writes is None) == any(line.startswith("Card") for line in missing)
    assert (figures.group_bytes is None) == any(line.startswith("GroupBytes") for line in missing)
    assert figures.active != any(line.startswith("ActiveState") for line in missing)


def journal(*messages: object) -> str:
    return "".join(
        json.dumps({"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": str(1000 + number), "MESSAGE": message})
        + "\n"
        for number, message in enumerate(messages)
    )


def test_events_are_told_from_other_lines() -> None:
    log = log_from(journal('{"event": "ready"}', "Started Gateway", "{broken", "[1]"), None)
    assert [line.event for line in log.lines] == [{"event": "ready"}, None, None, None]
    assert [line.realtime_us for line in log.lines] == [1000, 1001, 1002, 1003]
    assert log.cursor == "c3"


def test_bytes_and_nothing_are_shown_as_text() -> None:
    log = log_from(journal([0xFF, 0x41], None), None)
    assert [line.text for line in log.lines] == ["\ufffdA", ""]


@given(st.text(), st.none() | st.just("before"))
def test_whatever_stands_in_a_journal_gives_lines_and_a_cursor(text: str, cursor: str | None) -> None:
    log = log_from(text, cursor)
    assert log.cursor == cursor or log.lines


def test_a_line_that_holds_another_kind_of_line_end_is_one_line() -> None:
    entry = {"__CURSOR": "c", "__REALTIME_TIMESTAMP": "1", "MESSAGE": "one\u2028two"}
    assert [line.text for line in log_from(json.dumps(entry, ensure_ascii=False) + "\n", None).lines] == [
        "one\u2028two"
    ]


JOURNALCTL = """\
#!{python} -I
import json, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
after = [int(word.split("=c")[1]) for word in sys.argv if word.startswith("--after-cursor")]
assert sys.argv[1:3] == ["-u", "x.service"]
assert after or "--since=@7" in sys.argv
for number in range(after[0] + 1 if after else 0, {lines}):
    entry = {{"__CURSOR": f"c{{number}}", "__REALTIME_TIMESTAMP": "1", "MESSAGE": str(number)}}
    print(json.dumps(entry), flush=number % 100 == 0)
if {status}:
    sys.stdout.flush()
    sys.exit("the journal is damaged")
"""


class Shell:
    """Carries commands out beside a journalctl that has so many lines and ends so."""

    def __init__(self, folder: Path, lines: int, status: int = 0) -> None:
        self._path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self.pages = 0
        program = folder / "journalctl"
        program.write_text(JOURNALCTL.format(python=sys.executable, lines=lines, status=status), "utf-8")
        program.chmod(0o755)

    def __call__(self, command: str) -> str:
        self.pages += 1
        run = subprocess.run(
            ["sh", "-c", command], env={"PATH": self._path}, capture_output=True, text=True, check=False
        )
        return run.stdout


@pytest.mark.parametrize(("lines", "pages"), [(0, 1), (499, 1), (500, 2), (1234, 3)])
def test_a_long_log_is_read_from_its_beginning_in_pages(tmp_path: Path, lines: int, pages: int) -> None:
    shell = Shell(tmp_path, lines)
    found = list(log_pages("pi", "x.service", shell, None, "--since=@7", page_lines=500))
    assert [line.text for log in found for line in log.lines] == [str(number) for number in range(lines)]
    assert found[-1].cursor == (f"c{lines - 1}" if lines else None)
    assert shell.pages == len(found) == pages


def test_a_log_is_read_on_after_a_cursor(tmp_path: Path) -> None:
    (page,) = log_pages("pi", "x.service", Shell(tmp_path, 9), "c6")
    assert [line.text for line in page.lines] == ["7", "8"]
    assert page.cursor == "c8"


def test_a_log_that_breaks_off_is_not_taken_for_all_of_it(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"pi: the log of x\.service cannot be read to its end"):
        list(log_pages("pi", "x.service", Shell(tmp_path, 9, status=1), None, "--since=@7"))
    with pytest.raises(InfrastructureError, match="cannot be read to its end"):
        list(log_pages("pi", "x.service", lambda _command: "", None))
