"""Markers the firmware writes to GPIOR0: codes and fault numbers, mirrored from ``firmware/lib/marker.h``."""

from __future__ import annotations

import enum


class Marker(enum.IntEnum):
    """Code in GPIOR0; the 16-bit argument lies in GPIOR2 (high) and GPIOR1 (low)."""

    BOOT = 1
    """Boot epoch, low 16 bits."""
    SNAPSHOT = 2
    """Counter, low 16 bits; the plaintext lies in SRAM at ``frame_plaintext``."""
    DROPPED = 3
    """Counter of the oldest buffered frame, overwritten because the ring was full."""
    SENT = 4
    """Counter; the transmitter is being switched on."""
    ACKED = 5
    """Counter; the frame has left the ring."""
    SEAL_BEGIN = 6
    """Counter; Ascon starts."""
    SEAL_END = 7
    """Counter; Ascon is done."""
    FAULT = 8
    """A :class:`MarkedFault`."""
    JOURNAL = 9
    """Sequence number of the register record just saved, low 16 bits."""


class MarkedFault(enum.IntEnum):
    """Argument of :attr:`Marker.FAULT`."""

    PROVISIONING_MAGIC = 1
    PROVISIONING_VERSION = 2
    PROVISIONING_CRC = 3
    PROVISIONING_VALUE = 4
    EPOCH_LOST = 5
    EPOCH_WRITE = 6
    RADIO_ABSENT = 7
    RADIO_STUCK = 8
    COUNTER_SPENT = 9
