from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.paced.delivery import Delivery
from bench.world.trace import Record

UNOS = ("uno-1", "uno-2")


def record(t_ns: int, source: str, kind: str, counter: int) -> Record:
    return Record(t_ns, source, kind, {"counter": counter})


def test_what_was_measured_after_the_window_is_not_waited_for() -> None:
    records = [record(1, "uno-1", "snapshot", 0), record(9, "uno-1", "snapshot", 1)]
    delivery = Delivery(records)
    assert not delivery.is_complete(5)
    records.append(record(10, "uno-1", "acked", 0))
    assert delivery.is_complete(5)
    assert not delivery.is_complete(10)
    records.append(record(11, "uno-1", "dropped", 1))
    assert delivery.is_complete(10)


def test_nothing_seen_is_not_everything() -> None:
    assert not Delivery([Record(1, "pi", "reading_stored", {"repeat": False})]).is_complete(10)


@given(st.lists(st.tuples(st.sampled_from(UNOS), st.integers(0, 5)), min_size=1), st.data())
def test_complete_is_when_the_last_acknowledgement_has_come(
    measured: list[tuple[str, int]], data: st.DataObject
) -> None:
    measurements = sorted(set(measured))
    records = [record(n, uno, "snapshot", counter) for n, (uno, counter) in enumerate(measurements)]
    delivery = Delivery(records)
    for left, (uno, counter) in enumerate(data.draw(st.permutations(measurements)), start=1):
        assert not delivery.is_complete(1000)
        records.append(record(500, uno, "acked", counter))
        assert delivery.is_complete(1000) == (left == len(measurements))
