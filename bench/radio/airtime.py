"""How long a LoRa packet, a symbol and a channel activity detection last, and how weak a packet may be.

Times are exact integers: every bandwidth of the SX1278 is 500 kHz divided by an integer, so a chip
lasts a whole number of nanoseconds. Source: Semtech AN1200.13 and SX1276/77/78/79 datasheet 4.1.1.
"""

from __future__ import annotations

from typing import Final

from bench.radio.decibel import ratio_cdb

CHIP_NS: Final = (128_000, 96_000, 64_000, 48_000, 32_000, 24_000, 16_000, 8_000, 4_000, 2_000)
"""Chip duration by the register's bandwidth code 0 (7.8 kHz) to 9 (500 kHz); 125 kHz is code 7."""

BANDWIDTH_CODES: Final = range(len(CHIP_NS))
SPREADING_FACTORS: Final = range(6, 13)
CODING_RATES: Final = range(1, 5)
"""Register codes 1 to 4 for 4/5 to 4/8."""

HEADER_SYMBOLS: Final = 8
NOISE_FIGURE_CDB: Final = 550
"""SX1276 datasheet table 38, band 2 (410 to 525 MHz)."""

_THERMAL_NOISE_CDBM_PER_HZ: Final = -17400
_REQUIRED_SNR_CDB: Final = {6: -500, 7: -750, 8: -1000, 9: -1250, 10: -1500, 11: -1750, 12: -2000}


def bandwidth_hz(bandwidth_code: int) -> int:
    """Bandwidth of a register code, rounded to a whole Hz."""
    return (1_000_000_000 + CHIP_NS[bandwidth_code] // 2) // CHIP_NS[bandwidth_code]


def bandwidth_code_of_hz(frequency_hz: int) -> int:
    """Register code of the bandwidth nearest to a nominal one (125000, 62500, 41700, 7800, ...).

    Raises ValueError when none is within 2 %.
    """
    code = min(BANDWIDTH_CODES, key=lambda candidate: abs(bandwidth_hz(candidate) - frequency_hz))
    if abs(bandwidth_hz(code) - frequency_hz) * 50 > frequency_hz:
        raise ValueError(
            f"bandwidth {frequency_hz} Hz: the SX1278 has none near it; take 125000, 250000, 500000 ..."
        )
    return code


def symbol_ns(spreading_factor: int, bandwidth_code: int) -> int:
    """Duration of one symbol, 2^SF chips."""
    return CHIP_NS[bandwidth_code] << spreading_factor


def needs_low_data_rate(spreading_factor: int, bandwidth_code: int) -> bool:
    """Whether the datasheet mandates LowDataRateOptimize: a symbol longer than 16 ms."""
    return symbol_ns(spreading_factor, bandwidth_code) > 16_000_000


def payload_symbols(
    length: int, spreading_factor: int, coding_rate: int, *, crc: bool, implicit: bool, low_data_rate: bool
) -> int:
    """Symbols behind the preamble, the header's eight included. `coding_rate` is the code 1 to 4."""
    bits = 8 * length - 4 * spreading_factor + 28 + 16 * crc - 20 * implicit
    bits_per_block = 4 * (spreading_factor - 2 * low_data_rate)
    return HEADER_SYMBOLS + max(-(-bits // bits_per_block) * (coding_rate + 4), 0)


def preamble_ns(preamble_symbols: int, spreading_factor: int, bandwidth_code: int) -> int:
    """Duration of the programmed preamble and the 4.25 symbols of sync word and start of frame."""
    return (4 * preamble_symbols + 17) * symbol_ns(spreading_factor, bandwidth_code) // 4


def airtime_ns(
    length: int,
    spreading_factor: int,
    bandwidth_code: int,
    coding_rate: int,
    *,
    preamble_symbols: int = 8,
    crc: bool = True,
    implicit: bool = False,
    low_data_rate: bool = False,
) -> int:
    """Time on air of a packet of `length` payload bytes, preamble included."""
    symbols = payload_symbols(
        length, spreading_factor, coding_rate, crc=crc, implicit=implicit, low_data_rate=low_data_rate
    )
    start = preamble_ns(preamble_symbols, spreading_factor, bandwidth_code)
    return start + symbols * symbol_ns(spreading_factor, bandwidth_code)


def channel_activity_detection_ns(spreading_factor: int, bandwidth_code: int) -> int:
    """Duration of a channel activity detection: (2^SF + 32) chips."""
    return CHIP_NS[bandwidth_code] * ((1 << spreading_factor) + 32)


def noise_floor_cdbm(bandwidth_code: int, noise_figure_cdb: int = NOISE_FIGURE_CDB) -> int:
    """Thermal noise in the bandwidth plus the receiver's noise figure."""
    return _THERMAL_NOISE_CDBM_PER_HZ + ratio_cdb(bandwidth_hz(bandwidth_code), 1) + noise_figure_cdb


def sensitivity_cdbm(
    spreading_factor: int, bandwidth_code: int, noise_figure_cdb: int = NOISE_FIGURE_CDB
) -> int:
    """Weakest level that can be demodulated: the noise floor plus the spreading factor's least SNR."""
    return noise_floor_cdbm(bandwidth_code, noise_figure_cdb) + _REQUIRED_SNR_CDB[spreading_factor]
