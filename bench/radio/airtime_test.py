"""Rows toa*, cad125 and sens433 of the radio reference (Semtech AN1200.13, checked against ns-3, LoRaSim)."""

import pytest

from bench.radio.airtime import (
    airtime_ns,
    bandwidth_code_of_hz,
    bandwidth_hz,
    channel_activity_detection_ns,
    needs_low_data_rate,
    sensitivity_cdbm,
)

KHZ_125, KHZ_250, KHZ_500 = 7, 8, 9
LENGTHS = (16, 32, 51, 115, 222)
TIMES_125_US = {
    7: (51456, 71936, 102656, 194816, 348416),
    8: (92672, 133632, 184832, 348672, 614912),
    9: (164864, 246784, 328704, 615424, 1106944),
    10: (329728, 452608, 616448, 1148928, 2009088),
    11: (659456, 987136, 1314816, 2461696, 4427776),
    12: (1318912, 1810432, 2465792, 4431872, 8036352),
}
TIMES_US = {
    **{(factor, KHZ_125): times for factor, times in TIMES_125_US.items()},
    **{(factor, KHZ_250): tuple(t // 2 for t in TIMES_125_US[factor]) for factor in range(7, 11)},
    (11, KHZ_250): (288768, 411648, 575488, 1026048, 1845248),
    (12, KHZ_250): (659456, 905216, 1232896, 2215936, 4018176),
    **{(factor, KHZ_500): tuple(t // 4 for t in TIMES_125_US[factor]) for factor in range(7, 11)},
    (11, KHZ_500): (144384, 205824, 287744, 513024, 922624),
    (12, KHZ_500): (288768, 411648, 534528, 985088, 1681408),
}


@pytest.mark.parametrize(("factor", "bandwidth"), TIMES_US)
def test_time_on_air_is_exactly_the_published_one(factor: int, bandwidth: int) -> None:
    low_data_rate = needs_low_data_rate(factor, bandwidth)
    times_ns = [airtime_ns(length, factor, bandwidth, 1, low_data_rate=low_data_rate) for length in LENGTHS]
    assert times_ns == [1000 * time_us for time_us in TIMES_US[factor, bandwidth]]


def test_low_data_rate_bit_and_not_the_symbol_time_decides_the_time_on_air() -> None:
    assert airtime_ns(32, 12, KHZ_250, 1, low_data_rate=False) == 823_296_000


@pytest.mark.parametrize(("coding_rate", "time_us"), [(4, 1712128), (1, 1318912)])
def test_time_on_air_of_lorasim_experiments(coding_rate: int, time_us: int) -> None:
    assert airtime_ns(20, 12, KHZ_125, coding_rate, low_data_rate=True) == 1000 * time_us


def test_implicit_header_and_missing_crc_shorten_the_packet() -> None:
    # By hand: ceil((128 - 28 + 28 - 20) / 28) * 5 = 20 symbols, and 8 + 12.25.
    assert airtime_ns(16, 7, KHZ_125, 1, crc=False, implicit=True) == 41_216_000


def test_preamble_counts_symbol_by_symbol() -> None:
    times_ns = [airtime_ns(16, 7, KHZ_125, 1, preamble_symbols=symbols) for symbols in (6, 8, 65535)]
    assert [time - times_ns[0] for time in times_ns] == [0, 2 * 1_024_000, 65529 * 1_024_000]


def test_channel_activity_detection_lasts_as_published() -> None:
    durations_us = [channel_activity_detection_ns(factor, KHZ_125) // 1000 for factor in range(7, 13)]
    assert durations_us == [1280, 2304, 4352, 8448, 16640, 33024]


def test_sensitivity_at_433_mhz_is_the_published_one_within_a_tenth_of_a_decibel() -> None:
    for factor, published_cdbm in zip(range(7, 13), range(-12500, -13751, -250), strict=True):
        assert abs(sensitivity_cdbm(factor, KHZ_125) - published_cdbm) <= 10


def test_bandwidths_are_those_of_the_datasheet() -> None:
    nominal_hz = (7_800, 10_400, 15_600, 20_800, 31_250, 41_700, 62_500, 125_000, 250_000, 500_000)
    assert [bandwidth_code_of_hz(nominal) for nominal in nominal_hz] == list(range(10))
    assert bandwidth_hz(KHZ_125) == 125_000
    with pytest.raises(ValueError, match="bandwidth 100000 Hz"):
        bandwidth_code_of_hz(100_000)
