"""The register journal: newest whole record wins, a torn write costs that record only, cells wear evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import ResetCause
from bench.uno.marker import Marker

if TYPE_CHECKING:
    from firmware.conftest import Table, Workbench

BLANK = b"\xff" * 1024
RECORDS, RECORD_BYTES, FIRST = 16, 56, 96
SAVE_CYCLES = 3_300_000
"""One save is at most 56 bytes of 3.4 ms."""


def registers(table: Table) -> list[int]:
    raw = table.peek("registers")
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, 48, 4)]


def run(workbench: Workbench, eeprom: bytes, saves: int) -> Table:
    table = workbench.library("journal", eeprom)
    table.run_to(saves * SAVE_CYCLES, until=lambda: len(table.of(Marker.JOURNAL)) == saves)
    assert len(table.of(Marker.JOURNAL)) == saves
    return table


def test_a_blank_eeprom_restores_nothing(workbench: Workbench) -> None:
    table = run(workbench, BLANK, 1)
    assert table.marks[0].argument == 0
    assert registers(table) == [0x01010101] * 12


def test_restored_registers_are_those_last_saved_after_any_number_of_saves(workbench: Workbench) -> None:
    eeprom = BLANK
    total = 0
    for saves in (1, 2, 16, 17, 31):
        table = run(workbench, eeprom, saves)
        assert table.marks[0].argument == (1 if total else 0)
        total += saves
        assert registers(table) == [0x01010101 * total] * 12
        eeprom = table.core.eeprom


def test_records_are_written_in_turn_and_nowhere_else(workbench: Workbench) -> None:
    eeprom = BLANK
    for save in range(RECORDS + 2):
        after = run(workbench, eeprom, 1).core.eeprom
        changed = {at for at in range(1024) if after[at] != eeprom[at]}
        slot = FIRST + save % RECORDS * RECORD_BYTES
        assert changed <= set(range(slot, slot + RECORD_BYTES))
        eeprom = after


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3 * SAVE_CYCLES), st.integers(0, 18))
def test_a_power_cut_loses_at_most_the_save_under_way(workbench: Workbench, cut: int, earlier: int) -> None:
    start = run(workbench, BLANK, earlier).core.eeprom if earlier else BLANK
    table = workbench.library("journal", start)
    table.run_to(cut)
    saved = earlier + len(table.of(Marker.JOURNAL))
    table.core.reset(ResetCause.POWER_ON)
    after = workbench.library("journal", table.core.eeprom)
    after.run_ms(20)
    restored = registers(after)[0] // 0x01010101 - 1  # the program has added once already
    assert after.marks[0].argument == (1 if restored else 0)
    assert saved <= restored <= saved + 1
    assert len(set(registers(after))) == 1
