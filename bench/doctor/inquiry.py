"""Asks several things at once, each with a deadline: nobody waits for long because one host is silent."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from bench.doctor.finding import Finding, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DEADLINE_S: Final = 90.0
"""What one inquiry may take; the steps in it have shorter deadlines of their own."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What to find out for one seat; findings count as soon as they are yielded."""

    seat: str
    findings: Callable[[], Iterable[Finding]]
    deadline_s: float = DEADLINE_S


@dataclass(slots=True)
class _Running:
    """An inquiry under way. Its thread is a daemon, so a call that never returns ends with the process."""

    inquiry: Inquiry
    findings: list[Finding] = field(default_factory=list)
    error: BaseException | None = None
    thread: threading.Thread = field(init=False)
    ends_at_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.ends_at_s = time.monotonic() + self.inquiry.deadline_s
        self.thread.start()

    def _collect(self) -> None:
        try:
            for finding in self.inquiry.findings():
                self.findings.append(finding)
        except BaseException as error:
            self.error = error

    def result(self) -> list[Finding]:
        """What was found until the end or the deadline, whichever comes first."""
        self.thread.join(max(0.0, self.ends_at_s - time.monotonic()))
        overdue = self.thread.is_alive()
        findings = list(self.findings)
        if overdue:
            findings.append(_overdue(findings, self.inquiry.deadline_s))
        elif self.error is not None:
            raise self.error
        return [replace(finding, seat=self.inquiry.seat) for finding in findings]


def ask(inquiries: Sequence[Inquiry]) -> list[Finding]:
    """Make all inquiries side by side and return what they found, in their order."""
    running = [_Running(inquiry) for inquiry in inquiries]
    return [finding for one in running for finding in one.result()]


def _overdue(findings: Sequence[Finding], deadline_s: float) -> Finding:
    where = f"after {findings[-1].subject}" if findings else "at all"
    return missing(
        "an answer",
        f"none {where} within {deadline_s:g} s",
        "see what keeps it busy, and ask again",
    )
