"""Frames made on the chip against the golden vectors, and ACKs that it must refuse."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.uno.marker import Marker

if TYPE_CHECKING:
    from firmware.conftest import Table, Workbench

KNOWN = json.loads((Path(__file__).parent / "vectors/frames.json").read_text(encoding="ascii"))["vectors"]
ACK_BYTES = 19


def run(workbench: Workbench, vector: dict[str, Any], packet: bytes) -> Table:
    text = bytes.fromhex(vector["plaintext"])
    identity = struct.pack("<HII", vector["uno_id"], vector["boot_epoch"], vector["counter"])
    eeprom = bytes.fromhex(vector["key"]) + identity + bytes([len(text)]) + text.ljust(61, b"\0") + packet
    table = workbench.library("frame", eeprom)
    table.run_ms(100, until=lambda: table.halted)
    return table


@pytest.mark.parametrize("vector", KNOWN, ids=lambda vector: str(vector["uno_id"]))
def test_the_golden_frames(workbench: Workbench, vector: dict[str, Any]) -> None:
    table = run(workbench, vector, bytes.fromhex(vector["ack"]))
    expected = bytes.fromhex(vector["data"])
    assert table.peek("data", len(expected)) == expected
    assert table.peek("acknowledged") == b"\x01"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, ACK_BYTES * 8 - 1))
def test_an_ack_with_a_flipped_bit_is_refused(workbench: Workbench, bit: int) -> None:
    ack = bytearray.fromhex(KNOWN[1]["ack"])
    ack[bit // 8] ^= 1 << bit % 8
    assert run(workbench, KNOWN[1], bytes(ack)).peek("acknowledged") == b"\x00"


def test_an_ack_of_another_frame_or_key_is_refused(workbench: Workbench) -> None:
    for other in (KNOWN[0], KNOWN[2]):
        assert run(workbench, KNOWN[1], bytes.fromhex(other["ack"])).peek("acknowledged") == b"\x00"
    foreign = {**KNOWN[1], "key": KNOWN[2]["key"]}
    assert run(workbench, foreign, bytes.fromhex(KNOWN[1]["ack"])).peek("acknowledged") == b"\x00"


def test_the_tag_is_compared_in_constant_time(workbench: Workbench) -> None:
    """Wherever the first wrong bit of the tag is."""
    spent = set()
    for place in (11, 14, 18):
        ack = bytearray.fromhex(KNOWN[1]["ack"])
        ack[place] ^= 0x10
        table = run(workbench, KNOWN[1], bytes(ack))
        spent.add(table.of(Marker.SEAL_END)[0].cycle - table.of(Marker.SEAL_BEGIN)[0].cycle)
    assert len(spent) == 1
