"""Registers of the SX1278: addresses, reset values, bits (Semtech SX1276/77/78/79 datasheet, chapter 6)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class Register(IntEnum):
    """Addresses in LoRa mode; 0x0D to 0x3F mean something else on the FSK page."""

    FIFO = 0x00
    OP_MODE = 0x01
    FRF_MSB = 0x06
    FRF_MID = 0x07
    FRF_LSB = 0x08
    PA_CONFIG = 0x09
    PA_RAMP = 0x0A
    OCP = 0x0B
    LNA = 0x0C
    FIFO_ADDR_PTR = 0x0D
    FIFO_TX_BASE_ADDR = 0x0E
    FIFO_RX_BASE_ADDR = 0x0F
    FIFO_RX_CURRENT_ADDR = 0x10
    IRQ_FLAGS_MASK = 0x11
    IRQ_FLAGS = 0x12
    RX_NB_BYTES = 0x13
    RX_HEADER_CNT_MSB = 0x14
    RX_HEADER_CNT_LSB = 0x15
    RX_PACKET_CNT_MSB = 0x16
    RX_PACKET_CNT_LSB = 0x17
    MODEM_STAT = 0x18
    PKT_SNR_VALUE = 0x19
    PKT_RSSI_VALUE = 0x1A
    RSSI_VALUE = 0x1B
    HOP_CHANNEL = 0x1C
    MODEM_CONFIG_1 = 0x1D
    MODEM_CONFIG_2 = 0x1E
    SYMB_TIMEOUT_LSB = 0x1F
    PREAMBLE_MSB = 0x20
    PREAMBLE_LSB = 0x21
    PAYLOAD_LENGTH = 0x22
    MAX_PAYLOAD_LENGTH = 0x23
    HOP_PERIOD = 0x24
    FIFO_RX_BYTE_ADDR = 0x25
    MODEM_CONFIG_3 = 0x26
    RSSI_WIDEBAND = 0x2C
    DETECT_OPTIMIZE = 0x31
    INVERT_IQ = 0x33
    DETECTION_THRESHOLD = 0x37
    SYNC_WORD = 0x39
    INVERT_IQ_2 = 0x3B
    DIO_MAPPING_1 = 0x40
    DIO_MAPPING_2 = 0x41
    VERSION = 0x42
    PA_DAC = 0x4D


class FskRegister(IntEnum):
    """The few of the FSK page that behave."""

    IMAGE_CAL = 0x3B
    TEMPERATURE = 0x3C
    IRQ_FLAGS_1 = 0x3E
    IRQ_FLAGS_2 = 0x3F


class Mode(IntEnum):
    """Low three bits of OP_MODE, in LoRa mode."""

    SLEEP = 0
    STANDBY = 1
    FREQUENCY_SYNTHESIS_TX = 2
    TRANSMIT = 3
    FREQUENCY_SYNTHESIS_RX = 4
    RECEIVE_CONTINUOUS = 5
    RECEIVE_SINGLE = 6
    CHANNEL_ACTIVITY_DETECTION = 7


class Irq(IntFlag):
    """Bits of IRQ_FLAGS and IRQ_FLAGS_MASK."""

    CAD_DETECTED = 0x01
    FHSS_CHANGE_CHANNEL = 0x02
    CAD_DONE = 0x04
    TX_DONE = 0x08
    VALID_HEADER = 0x10
    PAYLOAD_CRC_ERROR = 0x20
    RX_DONE = 0x40
    RX_TIMEOUT = 0x80


LONG_RANGE: Final = 0x80
ACCESS_SHARED: Final = 0x40
LOW_FREQUENCY: Final = 0x08
MODE_BITS: Final = 0x07

PAGE: Final = range(0x0D, 0x40)
"""Addresses that exist twice, on the LoRa and on the FSK page."""

READ_ONLY: Final = frozenset(
    {
        Register.FIFO_RX_CURRENT_ADDR,
        *range(Register.RX_NB_BYTES, Register.HOP_CHANNEL + 1),
        Register.FIFO_RX_BYTE_ADDR,
        Register.RSSI_WIDEBAND,
        Register.VERSION,
    }
)

SHARED_RESET: Final = {
    Register.OP_MODE: 0x09,
    0x02: 0x1A,
    0x03: 0x0B,
    0x04: 0x00,
    0x05: 0x52,
    Register.FRF_MSB: 0x6C,
    Register.FRF_MID: 0x80,
    Register.FRF_LSB: 0x00,
    Register.PA_CONFIG: 0x4F,
    Register.PA_RAMP: 0x09,
    Register.OCP: 0x2B,
    Register.LNA: 0x20,
    Register.VERSION: 0x12,
    0x44: 0x2D,
    0x4B: 0x09,
    Register.PA_DAC: 0x84,
    0x61: 0x13,
    0x62: 0x0E,
    0x63: 0x5B,
    0x64: 0xDB,
    0x70: 0xD0,
}

LORA_RESET: Final = {
    Register.FIFO_TX_BASE_ADDR: 0x80,
    Register.MODEM_STAT: 0x10,
    Register.MODEM_CONFIG_1: 0x72,
    Register.MODEM_CONFIG_2: 0x70,
    Register.SYMB_TIMEOUT_LSB: 0x64,
    Register.PREAMBLE_LSB: 0x08,
    Register.PAYLOAD_LENGTH: 0x01,
    Register.MAX_PAYLOAD_LENGTH: 0xFF,
    0x2F: 0x20,
    Register.DETECT_OPTIMIZE: 0xC3,
    Register.INVERT_IQ: 0x27,
    0x36: 0x03,
    Register.DETECTION_THRESHOLD: 0x0A,
    Register.SYNC_WORD: 0x12,
    0x3A: 0x52,
    Register.INVERT_IQ_2: 0x1D,
}

FSK_RESET: Final = {
    0x0D: 0x08,
    0x0E: 0x02,
    0x0F: 0x0A,
    0x10: 0xFF,
    0x12: 0x15,
    0x13: 0x0B,
    0x14: 0x28,
    0x15: 0x0C,
    0x16: 0x12,
    0x17: 0x47,
    0x18: 0x32,
    0x19: 0x3E,
    0x1F: 0x40,
    0x24: 0x05,
    0x26: 0x03,
    0x27: 0x93,
    0x28: 0x55,
    0x29: 0x55,
    0x2A: 0x55,
    0x2B: 0x55,
    0x2C: 0x55,
    0x2D: 0x55,
    0x2E: 0x55,
    0x2F: 0x55,
    0x30: 0x90,
    0x31: 0x40,
    0x32: 0x40,
    0x35: 0x0F,
    0x39: 0xF5,
    0x3A: 0x20,
    FskRegister.IMAGE_CAL: 0x82,
    FskRegister.IRQ_FLAGS_1: 0x80,
    FskRegister.IRQ_FLAGS_2: 0x40,
}
