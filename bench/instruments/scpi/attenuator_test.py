from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.decimals import decimal_text
from bench.instruments.scpi.attenuator import AttenuatorInstrument


def test_it_begins_with_all_it_has_and_says_so() -> None:
    told: list[int] = []
    attenuator = AttenuatorInstrument(told.append)
    assert told == [9_500]
    assert attenuator.handle("ATT?;:INP:ATT? MAX;:ATT:STEP?", 0) == "95.00;95.00;0.25"


@given(st.lists(st.integers(0, 9_500), min_size=1, max_size=10), st.sampled_from([25, 50, 100]))
def test_it_takes_the_nearest_step_and_tells_every_change(wanted_cdb: list[int], step_cdb: int) -> None:
    told: list[int] = []
    attenuator = AttenuatorInstrument(told.append, step_cdb=step_cdb)
    for value_cdb in wanted_cdb:
        attenuator.handle(f"INP:ATT {decimal_text(value_cdb, 2)} dB", 0)
        assert told[-1] == attenuator.attenuation_cdb
        assert attenuator.attenuation_cdb % step_cdb == 0
        assert abs(attenuator.attenuation_cdb - value_cdb) <= step_cdb // 2
        assert attenuator.handle("INP:ATT?", 0) == decimal_text(attenuator.attenuation_cdb, 2)
    assert all(earlier != later for earlier, later in pairwise(told))


@pytest.mark.parametrize("line", ["ATT 95.01", "ATT -0.01", "ATT 1e3"])
def test_more_than_it_has_is_refused_and_changes_nothing(line: str) -> None:
    told: list[int] = []
    attenuator = AttenuatorInstrument(told.append)
    attenuator.handle(line, 0)
    assert attenuator.handle("SYST:ERR?", 0) == '-222,"Data out of range"'
    assert told == [9_500]


def test_reset_gives_the_largest_again() -> None:
    told: list[int] = []
    attenuator = AttenuatorInstrument(told.append)
    attenuator.handle("ATT 0;*RST", 0)
    assert told == [9_500, 0, 9_500]
