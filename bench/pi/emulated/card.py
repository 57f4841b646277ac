"""A memory card with a write cache that loses what was not flushed when power is cut.

What a guest wrote and did not flush lies in the card's volatile cache. A flush makes it durable. When power
is cut, any of the unflushed writes may have reached the medium, in any order, and a write may be torn between
two sectors; everything before the last flush is there.
(Linux, Documentation/block/writeback_cache_control.rst.)

QEMU's own disk images cannot show that: after SIGKILL the host's page cache still holds every write.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Protocol

SECTOR_BYTES = 512
"""What a medium writes whole or not at all."""

CACHE_BYTES = 64 << 20
"""Unflushed data that the cache holds at most; beyond that the oldest goes to the medium by itself."""

_TORN_SHARE = 0.25


class Medium(Protocol):
    """What keeps its content without power."""

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at an offset."""

    def write(self, offset: int, content: bytes) -> None:
        """Put bytes at an offset."""


@dataclass(frozen=True, slots=True)
class CardTraffic:
    """What a guest has asked of its card since power came on."""

    writes: int = 0
    written_bytes: int = 0
    flushes: int = 0
    reads: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PowerCut:
    """What became of the writes that were not flushed when power was cut."""

    kept: int
    torn: int
    lost: int
    traffic: CardTraffic

    def as_json(self) -> dict[str, object]:
        """The same as JSON values."""
        return asdict(self)


class CachedCard:
    """A medium behind a volatile write cache. Offsets and lengths are multiples of a sector."""

    def __init__(self, medium: Medium, cache_bytes: int = CACHE_BYTES) -> None:
        self._medium = medium
        self._cache_bytes = cache_bytes
        self._pending: list[tuple[int, bytes]] = []
        self._pending_bytes = 0
        self._sectors: dict[int, bytes] = {}
        self._writes = self._written_bytes = self._flushes = self._reads = self._read_bytes = 0

    @property
    def traffic(self) -> CardTraffic:
        """What was asked of the card so far."""
        return CardTraffic(self._writes, self._written_bytes, self._flushes, self._reads, self._read_bytes)

    def read(self, offset: int, length: int) -> bytes:
        """What the guest sees: its own last write, flushed or not."""
        self._reads += 1
        self._read_bytes += length
        content = self._medium.read(offset, length)
        if not self._sectors:
            return content
        first = offset // SECTOR_BYTES
        cached = [
            number for number in range(first, first + length // SECTOR_BYTES) if number in self._sectors
        ]
        if not cached:
            return content
        merged = bytearray(content)
        for number in cached:
            start = (number - first) * SECTOR_BYTES
            merged[start : start + SECTOR_BYTES] = self._sectors[number]
        return bytes(merged)

    def write(self, offset: int, content: bytes) -> None:
        """Take a write into the cache."""
        self._writes += 1
        self._written_bytes += len(content)
        self._pending.append((offset, content))
        self._pending_bytes += len(content)
        first = offset // SECTOR_BYTES
        for index in range(len(content) // SECTOR_BYTES):
            start = index * SECTOR_BYTES
            self._sectors[first + index] = content[start : start + SECTOR_BYTES]
        if self._pending_bytes > self._cache_bytes:
            self._drain()

    def flush(self) -> None:
        """Make everything written so far durable."""
        self._flushes += 1
        self._drain()

    def cut_power(self, seed: int) -> PowerCut:
        """Lose the cache but for a random part of it, told by `seed`; writes may be torn between sectors.

        How much of the cache reached the medium is drawn anew each time, from nothing to all of it.
        """
        random = Random(seed)
        kept_share = random.choice((0.0, 1.0, random.random()))
        kept = torn = lost = 0
        for offset, content in self._pending:
            if 0 < kept_share < 1 and len(content) > SECTOR_BYTES and random.random() < _TORN_SHARE:
                torn += 1
                for start in range(0, len(content), SECTOR_BYTES):
                    if random.random() < kept_share:
                        self._medium.write(offset + start, content[start : start + SECTOR_BYTES])
            elif random.random() < kept_share:
                kept += 1
                self._medium.write(offset, content)
            else:
                lost += 1
        cut = PowerCut(kept, torn, lost, self.traffic)
        self._forget()
        return cut

    def _drain(self) -> None:
        for offset, content in self._pending:
            self._medium.write(offset, content)
        self._forget()

    def _forget(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0
        self._sectors.clear()
