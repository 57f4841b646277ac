from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.measure.card import CardCounts, card_counts, counts_in

if TYPE_CHECKING:
    from pathlib import Path

# Two lines in the form of the kernel's Documentation/admin-guide/iostats.rst: 17 counts since Linux 5.5.
DISKSTATS = """\
 179       0 mmcblk0 4250 1311 390938 14211 1320 981 50480 19931 0 17000 35012 0 0 0 0 41 870
 179       2 mmcblk0p2 4005 1200 381000 14000 1300 960 50000 19000 0 16800 33000
"""


def test_writes_sectors_and_flushes_are_read_by_device_number() -> None:
    assert counts_in(DISKSTATS, (179, 0)) == CardCounts(1320, 50480 * 512, 41)
    assert counts_in(DISKSTATS, (179, 2)) == CardCounts(1300, 50000 * 512, 0)
    assert counts_in(DISKSTATS, (179, 1)) is None
    assert counts_in("", (179, 0)) is None


def test_what_came_on_top() -> None:
    assert CardCounts(9, 700, 5).since(CardCounts(4, 100, 5)) == CardCounts(5, 600, 0)


def test_a_folder_lies_on_a_device_that_counts_or_on_none(tmp_path: Path) -> None:
    counts = card_counts(tmp_path)
    assert counts is None or counts.written_bytes >= 0
