"""Findings: one thing looked for each, and all of them as a table with the mends below."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console


class State(Enum):
    """How a finding bears on the bench."""

    PRESENT = "present"
    MISSING = "missing"
    OPTIONAL = "not here, not needed"


_MARKS = {
    State.PRESENT: "[green]ok[/]",
    State.MISSING: "[red]not ok[/]",
    State.OPTIONAL: "[dim]optional[/]",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for: what it is, how it stands, what was found (version, place), and how to get it."""

    subject: str
    state: State
    found: str
    mend: str = ""
    seat: str = ""
    """The seats of a rig that it was looked for; empty: the bench itself."""

    @property
    def name(self) -> str:
        """The subject with its seat, as it is spoken of outside the table."""
        return f"{self.seat}, {self.subject}" if self.seat else self.subject


def present(subject: str, found: str) -> Finding:
    """Something that is as it should be."""
    return Finding(subject, State.PRESENT, found)


def missing(subject: str, found: str, mend: str) -> Finding:
    """Something needed that is not as it should be."""
    return Finding(subject, State.MISSING, found, mend)


def render(findings: Sequence[Finding], console: Console) -> int:
    """Print findings as a table and the mends below; the exit status is 0 when nothing needed is missing."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    seat = ""
    for finding in findings:
        if finding.seat != seat:
            table.add_row("", Text(finding.seat or "bench", style="bold"), "")
            seat = finding.seat
        table.add_row(_MARKS[finding.state], Text(finding.subject), Text(finding.found))
    console.print(table, highlight=False)
    mends = [finding for finding in findings if finding.mend and finding.state is not State.PRESENT]
    if mends:
        console.print("\nHow to get what is not there:")
        for finding in mends:
            console.print(f"  {finding.name}: {finding.mend}", highlight=False, markup=False, soft_wrap=True)
    count = sum(finding.state is State.MISSING for finding in findings)
    console.print(f"\nNeeded and not ok: {count}" if count else "\nEverything needed is here.")
    return 1 if count else 0
