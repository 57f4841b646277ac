"""A card with a volatile cache, held to a model that keeps every version of every sector."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from bench.pi.emulated.card import SECTOR_BYTES, CachedCard

SECTORS = 8


class Memory:
    """A medium in memory."""

    def __init__(self) -> None:
        self.content = bytearray(SECTORS * SECTOR_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, content: bytes) -> None:
        self.content[offset : offset + len(content)] = content


@dataclass
class Model:
    """What each sector may hold after a cut: its flushed version, or any one written since."""

    flushed: list[int] = field(default_factory=lambda: [0] * SECTORS)
    since: list[list[int]] = field(default_factory=lambda: [[] for _ in range(SECTORS)])

    def write(self, sector: int, count: int, version: int) -> None:
        for number in range(sector, sector + count):
            self.since[number].append(version)

    def flush(self) -> None:
        self.flushed = self.seen()
        self.since = [[] for _ in range(SECTORS)]

    def seen(self) -> list[int]:
        return [(versions or [old])[-1] for old, versions in zip(self.flushed, self.since, strict=True)]

    def possible(self) -> list[set[int]]:
        return [{old, *versions} for old, versions in zip(self.flushed, self.since, strict=True)]


def versions(content: bytes) -> list[int]:
    """The version in every sector; -1 where a sector is torn within, which must not be."""
    sectors = [content[start : start + SECTOR_BYTES] for start in range(0, len(content), SECTOR_BYTES)]
    return [sector[0] if len(set(sector)) == 1 else -1 for sector in sectors]


writes = st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 4)).map(
    lambda place: (place[0], min(place[1], SECTORS - place[0]))
)
histories = st.lists(st.one_of(writes, st.just("flush")), max_size=30)


def played(history: list[tuple[int, int] | str], card: CachedCard) -> Model:
    model = Model()
    for version, step in enumerate(history, start=1):
        if isinstance(step, str):
            card.flush()
            model.flush()
        else:
            sector, count = step
            card.write(sector * SECTOR_BYTES, bytes([version]) * count * SECTOR_BYTES)
            model.write(sector, count, version)
    return model


@given(histories, writes)
def test_the_guest_reads_what_it_wrote_last(
    history: list[tuple[int, int] | str], place: tuple[int, int]
) -> None:
    card = CachedCard(Memory())
    model = played(history, card)
    sector, count = place
    assert (
        versions(card.read(sector * SECTOR_BYTES, count * SECTOR_BYTES))
        == model.seen()[sector : sector + count]
    )


@given(histories, st.integers())
def test_a_cut_keeps_what_was_flushed_and_makes_nothing_up(
    history: list[tuple[int, int] | str], seed: int
) -> None:
    medium = Memory()
    card = CachedCard(medium)
    model = played(history, card)
    cut = card.cut_power(seed)
    left = versions(bytes(medium.content))
    assert all(found in allowed for found, allowed in zip(left, model.possible(), strict=True))
    unflushed = len(history) - max((i for i, step in enumerate(history, 1) if step == "flush"), default=0)
    assert cut.kept + cut.torn + cut.lost == unflushed
    assert cut.traffic.writes == sum(step != "flush" for step in history)
    assert versions(card.read(0, SECTORS * SECTOR_BYTES)) == left


@given(histories, st.integers())
def test_the_same_seed_cuts_the_same_way(history: list[tuple[int, int] | str], seed: int) -> None:
    media = [Memory(), Memory()]
    cuts = []
    for medium in media:
        card = CachedCard(medium)
        played(history, card)
        cuts.append(card.cut_power(seed))
    assert cuts[0] == cuts[1]
    assert media[0].content == media[1].content


def test_cuts_lose_all_keep_all_and_tear() -> None:
    """Over the seeds every kind of end comes up; no write survives each of them."""
    ends = set()
    for seed in range(60):
        card = CachedCard(Memory())
        card.write(0, bytes(2 * SECTOR_BYTES))
        card.write(4 * SECTOR_BYTES, bytes(2 * SECTOR_BYTES))
        cut = card.cut_power(seed)
        ends.add((cut.kept, cut.torn, cut.lost))
    assert {(2, 0, 0), (0, 0, 2), (1, 0, 1)} <= ends
    assert any(torn for _, torn, _ in ends)


def test_a_torn_write_is_torn_between_sectors() -> None:
    left = set()
    for seed in range(200):
        medium = Memory()
        card = CachedCard(medium)
        card.write(0, bytes([7]) * 2 * SECTOR_BYTES)
        card.cut_power(seed)
        left.add(tuple(versions(bytes(medium.content))[:2]))
    assert left == {(0, 0), (7, 7), (0, 7), (7, 0)}


def test_a_full_cache_goes_to_the_medium_by_itself() -> None:
    medium = Memory()
    card = CachedCard(medium, cache_bytes=2 * SECTOR_BYTES)
    card.write(0, bytes([1]) * SECTOR_BYTES)
    card.write(SECTOR_BYTES, bytes([2]) * SECTOR_BYTES)
    assert versions(bytes(medium.content))[:2] == [0, 0]
    card.write(2 * SECTOR_BYTES, bytes([3]) * SECTOR_BYTES)
    assert versions(bytes(medium.content))[:3] == [1, 2, 3]
