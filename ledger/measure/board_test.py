from __future__ import annotations

import os
import re

import pytest

from ledger.measure.board import Condition, board, condition, doubts

CALM = Condition("performance", 1_200_000, 1_200_000, 55_000, 0, 0.1)


def test_this_machine_tells_what_it_is() -> None:
    found = board()
    assert found.cores == os.cpu_count()
    assert found.machine == os.uname().machine
    assert found.memory_kib > 0
    assert found.cpu_clock_step_ns > 0
    assert condition(0).load_per_core >= 0


def test_a_calm_board_raises_no_doubt() -> None:
    assert doubts(CALM, CALM) == []
    untold = Condition(None, None, None, None, None, 0.0)
    assert doubts(untold, untold) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"governor": "ondemand"}, "the clock governor is ondemand"),
        ({}, {"throttled": 0x50000}, r"slowed down since it started \(under-voltage, throttled\)"),
        ({}, {"throttled": 0x8}, "soft temperature limit"),
        ({}, {"temperature_milli_c": 82_300}, "82 degrees"),
        ({}, {"frequency_khz": 600_000}, "went from 1200000 to 600000 kHz"),
        ({"load_per_core": 1.5}, {}, "1.5 processes per core ran besides"),
    ],
)
def test_what_spoils_figures_is_said_with_its_mend(
    before: dict[str, object], after: dict[str, object], expected: str
) -> None:
    def changed(changes: dict[str, object]) -> Condition:
        values = {name: getattr(CALM, name) for name in Condition.__slots__}
        return Condition(**{**values, **changes})

    (doubt,) = doubts(changed(before), changed(after))
    assert re.search(expected, doubt)
    assert ": " in doubt
