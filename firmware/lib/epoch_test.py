"""Boot epochs under power cuts: whatever is torn, no epoch is used twice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import ResetCause
from bench.uno.marker import Marker
from bench.uno.provisioning import Provisioning, eeprom_image, stored_epochs

if TYPE_CHECKING:
    from firmware.conftest import Workbench

EEPROM = eeprom_image(Provisioning(uno_id=1, key=bytes(16)), last_epoch=0xFFFE)

chip = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def boot(workbench: Workbench, eeprom: bytes) -> tuple[int | None, bytes]:
    """The epoch that an undisturbed boot got to use, and the EEPROM it left."""
    table = workbench.library("epoch", eeprom)
    table.run_to(10_000_000, until=lambda: bool(table.marks))
    used = int.from_bytes(table.peek("epoch"), "little") if table.of(Marker.BOOT) else None
    return used, table.core.eeprom


def test_epochs_count_up_across_a_carry(workbench: Workbench) -> None:
    eeprom, used = EEPROM, []
    for _ in range(5):
        epoch, eeprom = boot(workbench, eeprom)
        used.append(epoch)
    assert used == [0xFFFF, 0x10000, 0x10001, 0x10002, 0x10003]


@chip
@given(st.lists(st.tuples(st.integers(1_500, 1_000_000), st.integers(0, 255)), max_size=12))
def test_no_epoch_is_used_twice_whenever_the_power_goes(
    workbench: Workbench, cuts: list[tuple[int, int]]
) -> None:
    """Each boot is cut after so many cycles; a byte being written then holds anything."""
    eeprom, used = EEPROM, []
    for cycles, noise in cuts:
        table = workbench.library("epoch", eeprom)
        table.run_to(cycles)
        if table.of(Marker.BOOT):
            used.append(int.from_bytes(table.peek("epoch"), "little"))
        written = table.core.eeprom
        table.core.reset(ResetCause.POWER_ON)
        eeprom = bytes(
            now if now == torn else noise for now, torn in zip(written, table.core.eeprom, strict=True)
        )
    epoch, _ = boot(workbench, eeprom)
    assert epoch is not None
    used.append(epoch)
    assert used == sorted(set(used))


@chip
@given(st.integers(0, 1), st.integers(0, 5), st.integers(1, 255))
def test_a_decayed_slot_costs_one_epoch_and_no_repeat(
    workbench: Workbench, slot: int, place: int, flipped: int
) -> None:
    """Also when it is the slot that held the newest epoch, already used."""
    newest, eeprom = boot(workbench, EEPROM)
    assert newest is not None
    at = 64 + 8 * slot + place
    eeprom = eeprom[:at] + bytes([eeprom[at] ^ flipped]) + eeprom[at + 1 :]
    after, eeprom = boot(workbench, eeprom)
    assert after in (newest + 1, newest + 2)
    assert set(stored_epochs(eeprom)) == {after, after - 1}
    again, _ = boot(workbench, eeprom)
    assert again == after + 1


def test_two_unreadable_slots_refuse(workbench: Workbench) -> None:
    noise = random.Random(1).randbytes(16)
    used, left = boot(workbench, EEPROM[:64] + noise + EEPROM[80:])
    assert used is None
    assert left[64:80] == noise


def test_spent_epochs_refuse(workbench: Workbench) -> None:
    last = eeprom_image(Provisioning(uno_id=1, key=bytes(16)), last_epoch=2**32 - 2)
    used, left = boot(workbench, last)
    assert used == 2**32 - 1
    used, _ = boot(workbench, left)
    assert used is None
