from dataclasses import replace

import pytest

from bench.radio.modulation import ImplicitHeader, Modulation, Packet, SettingError

BASE = Modulation(433_175_000, 9, 7)


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, spreading_factor=8),
        replace(BASE, bandwidth_code=8),
        replace(BASE, sync_word=0x34),
        replace(BASE, inverted_iq=True),
        replace(BASE, low_data_rate=True),
        replace(BASE, implicit_header=ImplicitHeader(16, 1, True)),
        replace(BASE, frequency_hz=BASE.frequency_hz + 31_251),
    ],
)
def test_any_difference_keeps_two_ends_from_hearing_each_other(other: Modulation) -> None:
    assert not BASE.hears(other)
    assert not other.hears(BASE)


def test_carriers_may_differ_by_a_quarter_of_the_bandwidth() -> None:
    assert BASE.hears(replace(BASE, frequency_hz=BASE.frequency_hz - 31_250))


def test_channels_overlap_up_to_half_the_sum_of_their_bandwidths() -> None:
    wide = replace(BASE, bandwidth_code=8, frequency_hz=BASE.frequency_hz + 187_499)
    assert BASE.overlaps(wide)
    assert not BASE.overlaps(replace(wide, frequency_hz=wide.frequency_hz + 1))


def test_chirp_slopes_are_equal_where_bandwidth_squared_over_chips_is() -> None:
    assert replace(BASE, spreading_factor=7).chirp_slope == replace(BASE, bandwidth_code=8).chirp_slope
    assert BASE.chirp_slope != replace(BASE, spreading_factor=8).chirp_slope


@pytest.mark.parametrize(
    ("setting", "value"), [("spreading_factor", 5), ("bandwidth_code", 10), ("frequency_hz", 0)]
)
def test_settings_the_chip_has_not_are_named(setting: str, value: int) -> None:
    with pytest.raises(SettingError, match=setting.split("_")[0]):
        replace(BASE, **{setting: value})  # type: ignore[arg-type]  # the name of the field varies


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"payload": b""}, "payload of 0 bytes"),
        ({"payload": bytes(256)}, "payload of 256 bytes"),
        ({"coding_rate": 0}, "coding rate code 0"),
        ({"preamble_symbols": 5}, "preamble of 5 symbols"),
    ],
)
def test_packets_the_chip_cannot_send_are_named(fields: dict[str, int | bytes], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        Packet(**{"payload": b"x", **fields})  # type: ignore[arg-type]  # the names of the fields vary
