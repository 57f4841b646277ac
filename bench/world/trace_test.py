import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.world.trace import Record, Trace, TraceFile


def test_canonical_line_is_golden() -> None:
    record = Record(12, "uno-1", "sent", {"payload": b"\x01\xff", "counter": 3, "again": True, "note": "ü"})
    assert record.line() == '[12,"uno-1","sent",{"again":true,"counter":3,"note":"\\u00fc","payload":"01ff"}]'


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["a", "b"])), max_size=40), st.integers(0, 60))
def test_settled_order_is_time_then_source(wishes: list[tuple[int, str]], settle_ns: int) -> None:
    trace, seen = Trace(), list[tuple[int, str]]()
    trace.subscribe(lambda record: seen.append((record.t_ns, record.source)))
    for t_ns, source in wishes:
        trace.record(t_ns, source, "kind")
    trace.settle(settle_ns)
    assert seen == sorted(wish for wish in wishes if wish[0] < settle_ns)
    trace.settle()
    assert seen == sorted(wishes)


def test_a_late_record_is_refused() -> None:
    trace = Trace()
    trace.settle(100)
    with pytest.raises(ValueError, match="99 ns, but 100 ns is settled"):
        trace.record(99, "a", "late")


def test_the_file_and_its_hash_agree() -> None:
    trace, text = Trace(), io.StringIO()
    file = TraceFile(text)
    trace.subscribe(file)
    trace.record(1, "a", "k", n=1)
    trace.settle()
    assert file.hexdigest() == hashlib.sha256(text.getvalue().encode()).hexdigest()
