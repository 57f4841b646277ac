from dataclasses import replace

import pytest

from bench.radio.interference import CROCE, GOURSAUD, InterferenceRule
from bench.radio.modulation import Modulation

SF7 = Modulation(433_175_000, 7, 7)


def test_default_is_croce_with_six_decibels_within_one_spreading_factor() -> None:
    rule = InterferenceRule()
    assert rule.required_cdb(SF7, SF7) == 600
    assert rule.required_cdb(SF7, replace(SF7, spreading_factor=8)) == -800
    assert rule.required_cdb(replace(SF7, spreading_factor=12), SF7) == -2500


def test_goursaud_can_be_chosen() -> None:
    rule = InterferenceRule(GOURSAUD)
    assert rule.required_cdb(replace(SF7, spreading_factor=12), replace(SF7, spreading_factor=11)) == -3600


@pytest.mark.parametrize("matrix", [CROCE, GOURSAUD])
def test_matrices_are_square_with_the_strictest_ratio_on_the_diagonal(
    matrix: tuple[tuple[int, ...], ...],
) -> None:
    assert [len(row) for row in matrix] == [6] * 6
    assert all(max(row) == row[index] > 0 for index, row in enumerate(matrix))


def test_equal_chirp_slope_counts_as_the_same_spreading_factor() -> None:
    assert InterferenceRule().required_cdb(SF7, replace(SF7, spreading_factor=9, bandwidth_code=8)) == 600


def test_one_spreading_factor_at_two_bandwidths_counts_as_different() -> None:
    assert InterferenceRule().required_cdb(SF7, replace(SF7, bandwidth_code=8)) == -800


def test_channels_apart_do_not_interfere() -> None:
    assert InterferenceRule().required_cdb(SF7, replace(SF7, frequency_hz=434_000_000)) is None


def test_a_ratio_that_would_let_two_packets_both_win_is_refused() -> None:
    with pytest.raises(ValueError, match="same_slope_cdb"):
        InterferenceRule(same_slope_cdb=0)
