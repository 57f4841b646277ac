"""A profile as tables on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.uno.workshop.profile import Profile, ProfileRow


def print_profile(profile: Profile, console: Console) -> None:
    """Functions by their own cycles, interrupts by vector, sleep and reset."""
    console.print(_table("functions", profile.functions, profile.cycles))
    if profile.interrupts:
        console.print(_table("interrupts and reset", profile.interrupts, profile.cycles))
    for what, cycles in (("asleep", profile.sleep_cycles), ("in reset", profile.reset_cycles)):
        console.print(f"{what}: {cycles} of {profile.cycles} cycles ({_share(cycles, profile.cycles)})")


def _table(title: str, rows: Sequence[ProfileRow], cycles: int) -> Table:
    table = Table("name", "address", title=title)
    for heading in ("entered", "own cycles", "own", "with callees"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"0x{row.address:04x}",
            str(row.calls),
            str(row.own_cycles),
            _share(row.own_cycles, cycles),
            str(row.whole_cycles),
        )
    return table


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "0.00 %"
