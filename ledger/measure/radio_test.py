from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.effects import Operation
from ledger.gateway.sx1278 import RadioError
from ledger.measure.radio import ScriptedPort, check_chip, radio_costs, radio_tasks, transferred_bytes
from ledger.measure.timing import Batch


class RecordingPort:
    """Answers like a chip with a given version; remembers what it was sent."""

    def __init__(self, version: int = 0x12) -> None:
        self.version = version
        self.sent: list[bytes] = []

    def transfer(self, data: bytes) -> bytes:
        self.sent.append(data)
        return bytes([0]) + bytes([self.version]) * (len(data) - 1)


def test_the_chip_is_only_read() -> None:
    port = RecordingPort()
    for task in radio_tasks(port):
        task.prepare()()
    assert port.sent
    # The highest bit of an address means to write; 0x42 is the version.
    assert {data[0] for data in port.sent} == {0x42}
    assert {byte for data in port.sent for byte in data[1:]} == {0}


def test_the_transfers_are_those_that_the_published_estimate_counts() -> None:
    assert transferred_bytes() == {"radio_fetch": (69, 9), "radio_answer": (2, 42)}
    port = RecordingPort()
    fetch, answer = radio_tasks(ScriptedPort(port))
    fetch.prepare()()
    assert len(port.sent) == 7 * fetch.calls
    port.sent.clear()
    answer.prepare()()
    assert len(port.sent) == 13 * answer.calls


@given(st.integers(100, 100_000), st.integers(100, 100_000))
def test_costs_of_a_byte_are_found_from_both_tasks(read_ns: int, written_ns: int) -> None:
    batches = {}
    for name, (read, written) in transferred_bytes().items():
        batches[name] = [Batch(1, read * read_ns + written * written_ns, 1, {})]
    costs = radio_costs(batches, 0)
    assert costs[Operation.RADIO_READ] == pytest.approx(read_ns)
    assert costs[Operation.RADIO_WRITE] == pytest.approx(written_ns)


def test_another_chip_or_none_is_named() -> None:
    check_chip(RecordingPort())
    with pytest.raises(RadioError, match="version 0x00"):
        check_chip(RecordingPort(0))
