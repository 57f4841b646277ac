from __future__ import annotations

import io

from rich.console import Console

from bench.doctor.finding import Finding, State, missing, present, render


def printed(findings: list[Finding]) -> tuple[int, str]:
    text = io.StringIO()
    status = render(findings, Console(file=text, width=100))
    return status, text.getvalue()


def test_nothing_missing_means_status_0() -> None:
    status, text = printed([present("a", "x[1].y"), Finding("b", State.OPTIONAL, "none", "get [b]")])
    assert status == 0
    assert "x[1].y" in text
    assert "  b: get [b]\n" in text
    assert "Everything needed is here." in text


def test_what_is_missing_is_counted_and_its_mend_names_the_seat() -> None:
    status, text = printed(
        [
            present("Python", "3.11"),
            Finding("login", State.MISSING, "refused", "ssh-copy-id", seat="Pi of east"),
            Finding("clock", State.PRESENT, "fine", "never told", seat="Pi of east"),
            missing("disk space", "none", ""),
        ]
    )
    assert status == 1
    assert "  Pi of east, login: ssh-copy-id\n" in text
    assert "never told" not in text
    assert text.endswith("Needed and not ok: 2\n")


def test_each_seat_heads_its_own_lines() -> None:
    findings = [
        present("first", "1"),
        Finding("second", State.PRESENT, "2", seat="Pi of east"),
        Finding("third", State.PRESENT, "3", seat="Pi of east"),
        Finding("fourth", State.PRESENT, "4", seat="server"),
    ]
    _, text = printed(findings)
    words = [line.split()[:2] for line in text.splitlines()[1:]]
    assert words[:6] == [
        ["ok", "first"],
        ["Pi", "of"],
        ["ok", "second"],
        ["ok", "third"],
        ["server"],
        ["ok", "fourth"],
    ]
