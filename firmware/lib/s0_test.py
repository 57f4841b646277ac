"""S0 counting: every valid pulse once, whatever its contacts bounce, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import Pin
from bench.uno.marker import Marker

if TYPE_CHECKING:
    from firmware.conftest import Table, Workbench

CYCLES_PER_MS = 16_000
LINES = (
    Pin.PD3,
    Pin.PD4,
    Pin.PD5,
    Pin.PD6,
    Pin.PD7,
    Pin.PB0,
    Pin.PC0,
    Pin.PC1,
    Pin.PC2,
    Pin.PC3,
    Pin.PC4,
    Pin.PC5,
)

chip = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def counter(workbench: Workbench, count: int = 12, ac_count: int = 0) -> Table:
    table = workbench.library("s0", bytes([count, ac_count]))
    for pin in LINES:
        table.core.set_pin(pin, True)
    table.run_ms(10, until=lambda: bool(table.of(Marker.BOOT)))
    return table


def counted(table: Table, seconds: int) -> list[int]:
    """Counts at that whole second of the program's clock."""
    table.run_ms(seconds * 1_000 + 100, until=lambda: len(table.of(Marker.SNAPSHOT)) == seconds)
    raw = table.peek("counted")
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, 48, 4)]


# A contact that bounces: it toggles an even number of times before it rests, within `within` in all.
def bounces(within_ms: int) -> st.SearchStrategy[list[int]]:
    """Cycles after the first edge of the edges that follow, even in number."""
    inside = st.integers(1, within_ms * CYCLES_PER_MS - 1)
    return st.lists(inside, max_size=10, unique=True).map(lambda at: sorted(at[: len(at) // 2 * 2]))


@st.composite
def trains(draw: st.DrawFn) -> tuple[int, list[int]]:
    """Number of pulses, and edge cycles from 20 ms on; each level lasts 30 ms or more from its first edge."""
    edges = []
    at = 20 * CYCLES_PER_MS
    number = draw(st.integers(0, 12))
    for _ in range(2 * number):
        edges += [at, *(at + offset for offset in draw(bounces(18)))]
        at += draw(st.integers(30 * CYCLES_PER_MS, 80 * CYCLES_PER_MS))
    return number, edges


@chip
@given(st.lists(trains(), min_size=12, max_size=12))
def test_valid_pulses_count_once_each_while_contacts_bounce(
    workbench: Workbench, lines: list[tuple[int, list[int]]]
) -> None:
    table = counter(workbench)
    begin = table.core.cycle
    for pin, (_, edges) in zip(LINES, lines, strict=True):
        table.core.schedule_edges(pin, [begin + at for at in edges], first_high=False)
    assert counted(table, 3) == [number for number, _ in lines]


@chip
@given(st.lists(st.tuples(st.integers(1, 9 * CYCLES_PER_MS), st.integers(12, 100)), max_size=25))
def test_disturbances_shorter_than_nine_milliseconds_never_count(
    workbench: Workbench, disturbances: list[tuple[int, int]]
) -> None:
    table = counter(workbench)
    at = table.core.cycle
    edges = []
    for width, gap_ms in disturbances:
        at += gap_ms * CYCLES_PER_MS
        edges += [at, at + width]
        at += width
    table.core.schedule_edges(Pin.PD3, edges, first_high=False)
    assert counted(table, 4) == [0] * 12


def test_a_level_that_stands_for_minutes_is_neither_lost_nor_counted_again(workbench: Workbench) -> None:
    """Stamps wrap after 67 s."""
    table = counter(workbench)
    minute = 60_000 * CYCLES_PER_MS
    begin = table.core.cycle + CYCLES_PER_MS
    falls_and_rises = [begin, begin + 3 * minute, begin + 6 * minute, begin + 6 * minute + 30 * CYCLES_PER_MS]
    table.core.schedule_edges(Pin.PC5, falls_and_rises, first_high=False)
    assert counted(table, 1)[11] == 1
    assert counted(table, 359)[11] == 1
    assert counted(table, 362)[11] == 2


@pytest.mark.parametrize("wrap_ms", [67_108, 67_109, 67_115])
def test_a_disturbance_one_wrap_of_the_stamps_after_an_edge_does_not_count(
    workbench: Workbench, wrap_ms: int
) -> None:
    table = counter(workbench)
    begin = table.core.cycle + CYCLES_PER_MS
    edges = [begin, begin + 30 * CYCLES_PER_MS]
    edges += [begin + wrap_ms * CYCLES_PER_MS, begin + wrap_ms * CYCLES_PER_MS + 4 * CYCLES_PER_MS]
    table.core.schedule_edges(Pin.PD7, edges, first_high=False)
    assert counted(table, 70)[4] == 1


def test_a_pulse_under_way_at_the_start_is_taken_as_counted(workbench: Workbench) -> None:
    table = workbench.library("s0", bytes([12, 0]))
    for pin in LINES:
        table.core.set_pin(pin, pin is not Pin.PD3)
    table.core.schedule_edges(
        Pin.PD3, [20 * CYCLES_PER_MS, 60 * CYCLES_PER_MS, 90 * CYCLES_PER_MS], first_high=True
    )
    assert counted(table, 1)[0] == 1


@pytest.mark.parametrize(("ac_count", "skipped"), [(0, ()), (1, (Pin.PC0, Pin.PC1)), (2, LINES[6:10])])
def test_channels_skip_the_pins_of_ac_channels(
    workbench: Workbench, ac_count: int, skipped: tuple[Pin, ...]
) -> None:
    count = 12 - 2 * ac_count
    table = counter(workbench, count, ac_count)
    expected = []
    for number, pin in enumerate(LINES):
        begin = table.core.cycle + 20 * CYCLES_PER_MS
        falls = [begin + 70 * CYCLES_PER_MS * pulse for pulse in range(number + 1)]
        table.core.schedule_edges(
            pin, [at for fall in falls for at in (fall, fall + 30 * CYCLES_PER_MS)], first_high=False
        )
        if pin not in skipped:
            expected.append(number + 1)
    assert counted(table, 1)[:count] == expected
