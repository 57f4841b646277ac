from __future__ import annotations

import io
import json
import os

import pytest

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


def test_what_is_no_fact_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError):
        EventLog(io.BytesIO(), lambda: 0).tell("x", what=object())


def test_details_are_cut() -> None:
    assert shortened("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    assert len(shortened("x" * 10_000)) == LONGEST_TEXT
