"""The gateway's driver for a Semtech SX1278 in LoRa mode, on 410 to 525 MHz.

Register names, values and formulas are those of the SX1276/77/78/79 datasheet, revision 7 (sections 4.1 and
6); the errata are those of the SX1276/77/78 errata note, revision 1.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ledger.gateway.port import SpiPort

CHIP_VERSION: Final = 0x12
MAX_PAYLOAD_BYTES: Final = 255
FIFO_BYTES: Final = 256
OSCILLATOR_HZ: Final = 32_000_000
SLOWEST_SYMBOL_WITHOUT_LDRO_NS: Final = 16_000_000

_BANDWIDTH_CODES: Final = {125: 7, 250: 8, 500: 9}
_WRITE: Final = 0x80
# The receiver writes packet behind packet from 0 upwards and starts again at 0 after every transmission.
_TRANSMIT_AT: Final = 0x80


class Register(enum.IntEnum):
    """The registers the driver uses, by their datasheet names without the prefix Reg."""

    FIFO = 0x00
    OP_MODE = 0x01
    FRF_MSB = 0x06
    PA_CONFIG = 0x09
    OCP = 0x0B
    LNA = 0x0C
    FIFO_ADDR_PTR = 0x0D
    FIFO_TX_BASE_ADDR = 0x0E
    FIFO_RX_BASE_ADDR = 0x0F
    FIFO_RX_CURRENT_ADDR = 0x10
    IRQ_FLAGS_MASK = 0x11
    IRQ_FLAGS = 0x12
    RX_NB_BYTES = 0x13
    PKT_SNR_VALUE = 0x19
    HOP_CHANNEL = 0x1C
    MODEM_CONFIG_1 = 0x1D
    MODEM_CONFIG_2 = 0x1E
    PREAMBLE_MSB = 0x20
    PAYLOAD_LENGTH = 0x22
    MODEM_CONFIG_3 = 0x26
    IF_FREQ_2 = 0x2F
    DETECT_OPTIMIZE = 0x31
    HIGH_BW_OPTIMIZE_1 = 0x36
    DETECTION_THRESHOLD = 0x37
    SYNC_WORD = 0x39
    HIGH_BW_OPTIMIZE_2 = 0x3A
    DIO_MAPPING_1 = 0x40
    VERSION = 0x42
    PA_DAC = 0x4D


class Mode(enum.IntEnum):
    """RegOpMode with LongRangeMode and LowFrequencyModeOn set."""

    SLEEP = 0x88
    STANDBY = 0x89
    TRANSMIT = 0x8B
    RECEIVE_CONTINUOUS = 0x8D


class Interrupt(enum.IntFlag):
    """The bits of RegIrqFlags that the driver looks at; others may be set beside them."""

    TRANSMIT_DONE = 0x08
    VALID_HEADER = 0x10
    PAYLOAD_CRC_ERROR = 0x20
    RECEIVE_DONE = 0x40


_DIO0_RECEIVE_DONE: Final = 0x00
_DIO0_TRANSMIT_DONE: Final = 0x40


class RadioError(RuntimeError):
    """The radio chip does not answer as an SX1278 does; the message says what to look at."""


class RadioSettingError(ValueError):
    """A radio setting that the chip does not have, or has not with packets that carry a header."""


@dataclass(frozen=True, slots=True)
class RadioSettings:
    """What both ends of a link must agree on, and the power. `coding_rate` is the denominator of 4/5 to 4/8.

    Raises RadioSettingError naming the setting, its value and what would do.
    """

    frequency_hz: int = 433_175_000
    spreading_factor: int = 7
    bandwidth_khz: int = 125
    coding_rate: int = 5
    preamble_symbols: int = 8
    sync_word: int = 0x12
    power_dbm: int = 10

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("frequency_hz", self.frequency_hz, 410_000_000, 525_000_000),
            # SF6 exists only without the header that carries the length of our frames.
            ("spreading_factor", self.spreading_factor, 7, 12),
            ("coding_rate", self.coding_rate, 5, 8),
            ("preamble_symbols", self.preamble_symbols, 6, 65_535),
            ("sync_word", self.sync_word, 0, 255),
        ):
            if not low <= value <= high:
                raise RadioSettingError(f"{name} is {value}; it must be {low} to {high}")
        if self.bandwidth_khz not in _BANDWIDTH_CODES:
            raise RadioSettingError(f"bandwidth_khz is {self.bandwidth_khz}; it must be 125, 250 or 500")
        if not (2 <= self.power_dbm <= 17 or self.power_dbm == 20):
            raise RadioSettingError(f"power_dbm is {self.power_dbm}; PA_BOOST gives 2 to 17, or 20")

    @property
    def symbol_ns(self) -> int:
        """Duration of one symbol, 2^SF / bandwidth."""
        return (1_000_000 << self.spreading_factor) // self.bandwidth_khz

    @property
    def low_data_rate_optimize(self) -> bool:
        """Mandated when a symbol lasts longer than 16 ms (datasheet 4.1.1.6); the same at both ends."""
        return self.symbol_ns > SLOWEST_SYMBOL_WITHOUT_LDRO_NS

    def airtime_ns(self, payload_bytes: int) -> int:
        """Time on air of one packet with header and CRC (datasheet 4.1.1.7)."""
        bits = 8 * payload_bytes - 4 * self.spreading_factor + 28 + 16
        bits_per_block = 4 * (self.spreading_factor - 2 * self.low_data_rate_optimize)
        symbols = 8 + max(-(-bits // bits_per_block) * self.coding_rate, 0)
        quarters = 4 * (self.preamble_symbols + symbols) + 17
        return quarters * self.symbol_ns // 4


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    """One packet from the FIFO. When its CRC failed the content is worthless, and here to be counted."""

    payload: bytes
    rssi_cdbm: int
    snr_cdb: int
    crc_ok: bool


class Sx1278:
    """One chip on one SPI port. It waits for nothing: the caller reacts to DIO0 and asks `interrupts`.

    `bytes_read` and `bytes_written` count what went over SPI; the address byte of an access is written.
    """

    def __init__(self, port: SpiPort, settings: RadioSettings) -> None:
        self._port = port
        self.settings: Final = settings
        self.bytes_read = 0
        self.bytes_written = 0

    def _read(self, register: Register, count: int = 1) -> bytes:
        answer = self._port.transfer(bytes([register]) + bytes(count))
        self.bytes_written += 1
        self.bytes_read += count
        return answer[1:]

    def _write(self, register: Register, *values: int) -> None:
        self._port.transfer(bytes([register | _WRITE, *values]))
        self.bytes_written += 1 + len(values)

    def configure(self) -> None:
        """Brings the chip from any state into standby with the settings.

        Raises RadioError when it is not there.
        """
        version = self._read(Register.VERSION)[0]
        if version in (0x00, 0xFF):
            raise RadioError(
                f"no radio answers on SPI (version reads 0x{version:02x}): "
                "check its 3.3 V, ground, NSS, SCK, MOSI and MISO, and that SPI is switched on"
            )
        if version != CHIP_VERSION:
            raise RadioError(
                f"the chip on SPI has version 0x{version:02x}, an SX1278 has 0x{CHIP_VERSION:02x}: "
                "check that the module is an SX1276..79, and slow SPI down if the value changes between tries"
            )
        settings = self.settings
        # LongRangeMode can be changed in sleep only: the first write leaves another mode, the second sets it.
        self._write(Register.OP_MODE, Mode.SLEEP)
        self._write(Register.OP_MODE, Mode.SLEEP)
        if self._read(Register.OP_MODE)[0] != Mode.SLEEP:
            raise RadioError(
                "the radio does not enter LoRa sleep mode: check the MOSI line, or reset the module"
            )
        self._write(Register.OP_MODE, Mode.STANDBY)
        steps = ((settings.frequency_hz << 19) + OSCILLATOR_HZ // 2) // OSCILLATOR_HZ
        self._write(Register.FRF_MSB, *steps.to_bytes(3, "big"))
        highest_power = settings.power_dbm == 20
        self._write(Register.PA_CONFIG, 0x80 | (15 if highest_power else settings.power_dbm - 2))
        self._write(Register.PA_DAC, 0x87 if highest_power else 0x84)
        # Over-current protection: 140 mA for +20 dBm, else the reset value of 100 mA.
        self._write(Register.OCP, 0x31 if highest_power else 0x2B)
        self._write(Register.LNA, 0x20)
        self._write(Register.FIFO_TX_BASE_ADDR, _TRANSMIT_AT, 0)
        self._write(
            Register.MODEM_CONFIG_1,
            _BANDWIDTH_CODES[settings.bandwidth_khz] << 4 | settings.coding_rate - 4 << 1,
            settings.spreading_factor << 4 | 0x04,
        )
        self._write(Register.PREAMBLE_MSB, *settings.preamble_symbols.to_bytes(2, "big"))
        self._write(Register.MODEM_CONFIG_3, 0x04 | settings.low_data_rate_optimize << 3)
        self._correct_errata()
        self._write(Register.DETECTION_THRESHOLD, 0x0A)
        self._write(Register.SYNC_WORD, settings.sync_word)
        self._write(Register.IRQ_FLAGS_MASK, 0x00, 0xFF)

    def _correct_errata(self) -> None:
        """Errata 2.1 (sensitivity at 500 kHz below 525 MHz) and 2.3 (spurious reception)."""
        if self.settings.bandwidth_khz == 500:
            self._write(Register.HIGH_BW_OPTIMIZE_1, 0x02)
            self._write(Register.HIGH_BW_OPTIMIZE_2, 0x7F)
            self._write(Register.DETECT_OPTIMIZE, 0xC3)
        else:
            self._write(Register.HIGH_BW_OPTIMIZE_1, 0x03)
            self._write(Register.IF_FREQ_2, 0x40, 0x00)
            self._write(Register.DETECT_OPTIMIZE, 0x43)

    def start_receiving(self) -> None:
        """Listens until told otherwise; DIO0 rises with each packet."""
        self._write(Register.OP_MODE, Mode.STANDBY)
        self._write(Register.IRQ_FLAGS, 0xFF)
        self._write(Register.DIO_MAPPING_1, _DIO0_RECEIVE_DONE)
        self._write(Register.OP_MODE, Mode.RECEIVE_CONTINUOUS)

    def is_receiving(self) -> bool:
        """Whether the chip still listens: one that lost its supply for a moment does not."""
        return self._read(Register.OP_MODE)[0] == Mode.RECEIVE_CONTINUOUS

    def interrupts(self) -> Interrupt:
        """What has happened and was not acknowledged to the chip yet."""
        return Interrupt(self._read(Register.IRQ_FLAGS)[0])

    def read_packet(self, interrupts: Interrupt) -> ReceivedPacket:
        """The last packet received, after `interrupts` has told of one; lets DIO0 fall.

        RSSI after datasheet 5.5.5 for the low-frequency port: the packet strength, or below the noise floor
        that plus the signal-to-noise ratio.
        """
        # The flags first: what arrives from here on raises them, and DIO0, again.
        self._write(
            Register.IRQ_FLAGS, Interrupt.RECEIVE_DONE | Interrupt.PAYLOAD_CRC_ERROR | Interrupt.VALID_HEADER
        )
        address, _, _, length = self._read(Register.FIFO_RX_CURRENT_ADDR, 4)
        snr_quarters, strength = self._read(Register.PKT_SNR_VALUE, 2)
        # PayloadCrcOn as the sender's header said: a packet without one would pass unchecked.
        with_crc = bool(self._read(Register.HOP_CHANNEL)[0] & 0x40)
        self._write(Register.FIFO_ADDR_PTR, address)
        payload = self._read(Register.FIFO, length) if length else b""
        snr_cdb = 25 * (snr_quarters - 256 if snr_quarters > 127 else snr_quarters)
        rssi_cdbm = -16_400 + (100 * strength + snr_cdb if snr_cdb < 0 else 1600 * strength // 15)
        crc_ok = with_crc and not interrupts & Interrupt.PAYLOAD_CRC_ERROR
        return ReceivedPacket(payload, rssi_cdbm, snr_cdb, crc_ok)

    def transmit(self, payload: bytes) -> None:
        """Sends one packet; DIO0 rises when it is out. What was being received is lost.

        Raises ValueError when the payload is empty or does not fit behind the transmit base address.
        """
        if not 1 <= len(payload) <= FIFO_BYTES - _TRANSMIT_AT:
            raise ValueError(
                f"a packet to send has 1 to {FIFO_BYTES - _TRANSMIT_AT} bytes, not {len(payload)}"
            )
        self._write(Register.OP_MODE, Mode.STANDBY)
        self._write(Register.IRQ_FLAGS, 0xFF)
        self._write(Register.DIO_MAPPING_1, _DIO0_TRANSMIT_DONE)
        self._write(Register.FIFO_ADDR_PTR, _TRANSMIT_AT)
        self._write(Register.FIFO, *payload)
        self._write(Register.PAYLOAD_LENGTH, len(payload))
        self._write(Register.OP_MODE, Mode.TRANSMIT)
