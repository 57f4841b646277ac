from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from bench.paced.event_records import EventRecords

ZERO_NS = 1_700_000_000_000_000_000


def told(event: str, t_ns: int, **facts: object) -> dict[str, object]:
    return {"t_ns": ZERO_NS + t_ns, "event": event, **facts}


def test_news_become_records_in_the_time_of_the_world() -> None:
    events: list[dict[str, object]] = [
        told("radio_up", -5),
        told("reading_stored", 10, uno_id=3, boot_epoch=2, counter=0, repeat=False),
        told("reading_stored", 20, uno_id=3, boot_epoch=2, counter=0, repeat=True),
        told("rejected", 30, reason="bad_tag", detail="tag of 3"),
        told("block_stored", 40, block="ab" * 32, issuer="cd" * 32, seq=0, readings=1, own=True),
        told("status", 50, spent={"commit": 2}, rss_bytes=7),
        {"event": "no time"},
    ]
    found = EventRecords.of("east/pi", events, ZERO_NS)
    assert [(record.t_ns, record.kind) for record in found.records] == [
        (0, "radio_up"),
        (10, "reading_stored"),
        (20, "reading_stored"),
        (30, "rejected"),
        (40, "block_stored"),
    ]
    assert found.records[4].fields["own"] is True
    assert (found.repeats, found.blocks, found.rejected["bad_tag"]) == (1, 1, 1)
    assert (found.spent, found.resident_peak_bytes) == ({"commit": 2}, 7)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), max_size=5))
def test_counts_are_added_up_over_all_lives(lives: list[list[int]]) -> None:
    """Each life counts from 0, also one that does more than the one before."""
    events: list[dict[str, object]] = []
    for steps in lives:
        events.append(told("started", 1))
        events += [told("status", 1, spent={"commit": count}) for count in accumulate(steps)]
    assert EventRecords.of("east/pi", events, ZERO_NS).spent["commit"] == sum(map(sum, lives))
