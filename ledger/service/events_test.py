from __future__ import annotations

import errno
import io
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.service.events import LONGEST_TEXT, EventLog, shortened


def test_one_json_object_a_line_bytes_in_hexadecimal() -> None:
    output = io.BytesIO()
    times = iter((5, 6))
    log = EventLog(output, lambda: next(times))
    log.tell("block_stored", block=b"\x00\xff", own=True, seq=2)
    log.tell("status", spent={"commit": 3}, peers_up=["a\nb"])
    assert output.getvalue() == b""
    log.flush()
    log.flush()
    assert [json.loads(line) for line in output.getvalue().splitlines()] == [
        {"t_ns": 5, "event": "block_stored", "block": "00ff", "own": True, "seq": 2},
        {"t_ns": 6, "event": "status", "spent": {"commit": 3}, "peers_up": ["a\nb"]},
    ]


def test_a_reader_that_is_gone_silences_the_log_only() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as output:
        log = EventLog(output, lambda: 0)
        for _ in range(3):
            log.tell("started")
            log.flush()


class SmallDisk(io.BytesIO):
    """Takes so many bytes, and then says that it is full."""

    room = 0

    def write(self, data: Any) -> int:
        taken = bytes(data)[: self.room]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(taken)
        return super().write(taken)


def told(output: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


@given(rooms=st.lists(st.integers(0, 200), max_size=8))
def test_a_full_disk_loses_whole_lines_and_their_number_is_told_when_there_is_room(rooms: list[int]) -> None:
    disk = SmallDisk()
    log = EventLog(disk, lambda: 0)
    sent = 0
    for room in [*rooms, 10_000]:
        disk.room = room
        for _ in range(3):
            log.tell("x", number=sent)
            sent += 1
        log.flush()
    lines = told(disk)
    kept = [line["number"] for line in lines if line["event"] == "x"]
    lost = sum(line["count"] for line in lines if line["event"] == "events_lost")
    assert kept == sorted(set(kept))
    assert len(kept) + lost == sent


def test_what_is_no_fact_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError):
        EventLog(io.BytesIO(), lambda: 0).tell("x", what=object())


def test_details_are_cut() -> None:
    assert shortened("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    assert len(shortened("x" * 10_000)) == LONGEST_TEXT
