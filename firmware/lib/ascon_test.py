"""Ascon on the chip: the published vectors, constant time, and its price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.uno.marker import Marker

if TYPE_CHECKING:
    from firmware.conftest import Table, Workbench

KNOWN = json.loads((Path(__file__).parent / "vectors/ascon_aead128.json").read_text(encoding="ascii"))
KEY, NONCE = bytes.fromhex(KNOWN["key"]), bytes.fromhex(KNOWN["nonce"])
STACK_TOP = 0x8FF


def seal(workbench: Workbench, text: bytes, associated: bytes, key: bytes = KEY) -> Table:
    eeprom = key + NONCE + bytes([len(text), len(associated)]) + text + associated
    table = workbench.library("ascon", eeprom)
    table.run_ms(100, until=lambda: table.halted)
    assert table.halted
    return table


def cycles(table: Table) -> int:
    begin, end = table.of(Marker.SEAL_BEGIN)[0], table.of(Marker.SEAL_END)[0]
    return end.cycle - begin.cycle


def test_published_vectors(workbench: Workbench) -> None:
    for vector in KNOWN["vectors"]:
        text = bytes(range(vector["plaintext_bytes"]))
        table = seal(workbench, text, bytes(range(vector["associated_bytes"])))
        assert table.peek("output", len(text) + 16).hex() == vector["sealed"], vector["count"]


@pytest.mark.parametrize(
    ("text_bytes", "expected"),
    [(0, 24_703), (21, 30_963), (32, 37_033), (61, 43_445)],
)
def test_cycles_depend_on_the_lengths_alone(workbench: Workbench, text_bytes: int, expected: int) -> None:
    """The figures of firmware/README.md, marker to marker, with 11 bytes of associated data."""
    plain = seal(workbench, bytes(text_bytes), bytes(11))
    other = seal(workbench, b"\xa5" * text_bytes, b"\xff" * 11, key=b"\x5a" * 16)
    assert cycles(plain) == cycles(other) == expected
