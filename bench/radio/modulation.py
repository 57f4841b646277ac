"""What two radios must share to hear each other, and what a sender adds to one packet."""

from __future__ import annotations

from dataclasses import dataclass

from bench.radio import airtime


class SettingError(ValueError):
    """A radio setting the SX1278 does not have; the message names it."""


@dataclass(frozen=True, slots=True)
class ImplicitHeader:
    """What both ends must know beforehand when packets carry no header. `coding_rate` is the code 1 to 4."""

    length: int
    coding_rate: int
    crc: bool


@dataclass(frozen=True, slots=True)
class Modulation:
    """The settings on which both ends must agree; otherwise a packet is not heard as one.

    `bandwidth_code` is the register's (7 = 125 kHz, see `airtime.CHIP_NS`). `implicit_header` is
    None for packets with a header. Raises SettingError for values the chip does not have.
    """

    frequency_hz: int
    spreading_factor: int
    bandwidth_code: int
    sync_word: int = 0x12
    inverted_iq: bool = False
    low_data_rate: bool = False
    implicit_header: ImplicitHeader | None = None

    def __post_init__(self) -> None:
        if self.spreading_factor not in airtime.SPREADING_FACTORS:
            raise SettingError(f"spreading factor {self.spreading_factor}: the SX1278 has 6 to 12")
        if self.bandwidth_code not in airtime.BANDWIDTH_CODES:
            raise SettingError(
                f"bandwidth code {self.bandwidth_code}: the SX1278 has 0 (7.8 kHz) to 9 (500 kHz)"
            )
        if self.frequency_hz <= 0:
            raise SettingError(f"frequency {self.frequency_hz} Hz: it must be positive")

    @property
    def symbol_ns(self) -> int:
        """Duration of one symbol."""
        return airtime.symbol_ns(self.spreading_factor, self.bandwidth_code)

    @property
    def chirp_slope(self) -> int:
        """A number equal for equal chirp slopes BW^2 / 2^SF (their inverse, in ns^2)."""
        chip_ns = airtime.CHIP_NS[self.bandwidth_code]
        return chip_ns * chip_ns << self.spreading_factor

    def hears(self, other: Modulation) -> bool:
        """Whether a receiver set like this demodulates a packet sent like `other`.

        Carriers may differ by a quarter of the bandwidth (SX1276 datasheet 4.1.1.1).
        """
        return (
            self.spreading_factor == other.spreading_factor
            and self.bandwidth_code == other.bandwidth_code
            and self.sync_word == other.sync_word
            and self.inverted_iq == other.inverted_iq
            and self.low_data_rate == other.low_data_rate
            and self.implicit_header == other.implicit_header
            and 4 * abs(self.frequency_hz - other.frequency_hz) <= airtime.bandwidth_hz(self.bandwidth_code)
        )

    def overlaps(self, other: Modulation) -> bool:
        """Whether the two channels share spectrum."""
        widths_hz = airtime.bandwidth_hz(self.bandwidth_code) + airtime.bandwidth_hz(other.bandwidth_code)
        return 2 * abs(self.frequency_hz - other.frequency_hz) < widths_hz


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as handed to a sender: payload, coding rate code 1 to 4, CRC, preamble as programmed."""

    payload: bytes
    coding_rate: int = 1
    crc: bool = True
    preamble_symbols: int = 8

    def __post_init__(self) -> None:
        if not 1 <= len(self.payload) <= 255:
            raise SettingError(f"payload of {len(self.payload)} bytes: a LoRa packet carries 1 to 255")
        if self.coding_rate not in airtime.CODING_RATES:
            raise SettingError(f"coding rate code {self.coding_rate}: the SX1278 has 1 (4/5) to 4 (4/8)")
        if self.preamble_symbols < 6:
            raise SettingError(f"preamble of {self.preamble_symbols} symbols: the SX1278 needs at least 6")

    def airtime_ns(self, modulation: Modulation) -> int:
        """Time on air of this packet under a modulation."""
        return airtime.airtime_ns(
            len(self.payload),
            modulation.spreading_factor,
            modulation.bandwidth_code,
            self.coding_rate,
            preamble_symbols=self.preamble_symbols,
            crc=self.crc,
            implicit=modulation.implicit_header is not None,
            low_data_rate=modulation.low_data_rate,
        )
