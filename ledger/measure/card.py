"""How often the card is written: the kernel's own counts of the block device that a folder lies on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DISKSTATS = Path("/proc/diskstats")
SECTOR_BYTES = 512

# Fields after major, minor and name, from Documentation/admin-guide/iostats.rst of the kernel; flushes since
# 5.5.
_WRITES, _WRITTEN_SECTORS, _FLUSHES = 4, 6, 15


@dataclass(frozen=True, slots=True)
class CardCounts:
    """What has been written to a block device since it came up."""

    writes: int
    """Write requests completed."""
    written_bytes: int
    flushes: int
    """Requests to empty the device's own cache; 0 where the kernel does not count them."""

    def since(self, before: CardCounts) -> CardCounts:
        """What came on top."""
        return CardCounts(
            self.writes - before.writes,
            self.written_bytes - before.written_bytes,
            self.flushes - before.flushes,
        )


def counts_in(diskstats: str, device: tuple[int, int]) -> CardCounts | None:
    """Find a device (major, minor) in the text of /proc/diskstats; None when it is not there."""
    for line in diskstats.splitlines():
        fields = line.split()
        if tuple(fields[:2]) != (str(device[0]), str(device[1])):
            continue
        counts = [int(field) for field in fields[3:]]
        flushes = counts[_FLUSHES] if len(counts) > _FLUSHES else 0
        return CardCounts(counts[_WRITES], counts[_WRITTEN_SECTORS] * SECTOR_BYTES, flushes)
    return None


def card_counts(folder: Path) -> CardCounts | None:
    """Read the counts of the device that a folder lies on; None where that is no block device."""
    device = folder.stat().st_dev
    try:
        text = DISKSTATS.read_text(encoding="ascii")
    except OSError:
        return None
    return counts_in(text, (os.major(device), os.minor(device)))
