from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bench.doctor.finding import State, present
from bench.doctor.inquiry import Inquiry, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.doctor.finding import Finding


def test_inquiries_are_made_side_by_side_and_told_in_their_order() -> None:
    everybody = threading.Barrier(5, timeout=30)

    def meeting(number: int) -> Iterator[Finding]:
        everybody.wait()
        yield present(f"first of {number}", "")
        yield present(f"second of {number}", "")

    findings = ask([Inquiry(f"seat {n}", partial(meeting, n)) for n in range(5)])
    assert [(finding.seat, finding.subject) for finding in findings] == [
        (f"seat {n}", f"{place} of {n}") for n in range(5) for place in ("first", "second")
    ]


def test_one_that_never_ends_keeps_what_it_found_and_nobody_waits() -> None:
    for_ever = threading.Event()

    def silent() -> Iterator[Finding]:
        yield present("name", "resolves")
        for_ever.wait()
        yield present("too late", "")

    try:
        first, overdue, other = ask(
            [Inquiry("Pi", silent, deadline_s=0.2), Inquiry("server", lambda: [present("name", "")])]
        )
    finally:
        for_ever.set()
    assert (first.subject, first.state) == ("name", State.PRESENT)
    assert (overdue.seat, overdue.state) == ("Pi", State.MISSING)
    assert overdue.found == "none after name within 0.2 s"
    assert other.seat == "server"


def test_a_defect_is_no_finding() -> None:
    def defective() -> Iterator[Finding]:
        yield present("name", "")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask([Inquiry("Pi", defective)])
