"""Packets on a byte stream that may lose, add or change bytes: COBS between zero bytes, with a CRC-16.

Consistent overhead byte stuffing (Cheshire and Baker, SIGCOMM 1997) takes every zero out of a packet, so that
a zero ends it wherever one starts to read. The checksum, appended big-endian before stuffing, is CRC-16 with
polynomial 0x1021 and initial value 0xFFFF.
"""

from __future__ import annotations

import binascii
from typing import Final

_DELIMITER: Final = b"\x00"
_CRC_BYTES: Final = 2
_LONGEST_RUN: Final = 254


class FramingError(ValueError):
    """Bytes between two delimiters that are no packet."""


def stuff(data: bytes) -> bytes:
    """Return the data without any zero byte: at most one byte longer, and one more per 254."""
    stuffed = bytearray()
    for run in data.split(_DELIMITER):
        start = 0
        while len(run) - start >= _LONGEST_RUN:
            stuffed.append(_LONGEST_RUN + 1)
            stuffed += run[start : start + _LONGEST_RUN]
            start += _LONGEST_RUN
        stuffed.append(len(run) - start + 1)
        stuffed += run[start:]
    return bytes(stuffed)


def unstuff(stuffed: bytes) -> bytes:
    """Return what :func:`stuff` was given. Raises FramingError."""
    data = bytearray()
    place, end = 0, len(stuffed)
    while place < end:
        code = stuffed[place]
        if code == 0 or place + code > end:
            raise FramingError("not a stuffed packet")
        data += stuffed[place + 1 : place + code]
        place += code
        if code <= _LONGEST_RUN and place < end:
            data.append(0)
    return bytes(data)


def wrap(packet: bytes) -> bytes:
    """Return the packet as it goes on the stream."""
    checksum = binascii.crc_hqx(packet, 0xFFFF)
    return stuff(packet + checksum.to_bytes(_CRC_BYTES, "big")) + _DELIMITER


def unwrap(stuffed: bytes) -> bytes:
    """Return the packet of the bytes before a delimiter. Raises FramingError."""
    data = unstuff(stuffed)
    if len(data) < _CRC_BYTES or binascii.crc_hqx(data, 0xFFFF):
        raise FramingError("a packet with a wrong checksum")
    return data[:-_CRC_BYTES]


class Deframer:
    """Cuts a stream into packets of at most ``longest`` bytes. ``damaged`` counts what was dropped."""

    def __init__(self, longest: int) -> None:
        self.damaged = 0
        self._limit = longest + _CRC_BYTES + (longest + _CRC_BYTES) // _LONGEST_RUN + 1
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets that these bytes complete."""
        *whole, rest = data.split(_DELIMITER)
        packets: list[bytes] = []
        for piece in whole:
            self._append(piece)
            if self._skipping:
                self.damaged += 1
            elif self._buffer:
                # Between two delimiters there may be nothing: a sender may begin with one for safety.
                self._take(packets)
            self._skipping = False
            self._buffer.clear()
        self._append(rest)
        return packets

    def _append(self, piece: bytes) -> None:
        if len(self._buffer) + len(piece) > self._limit:
            self._skipping = True
            self._buffer.clear()
        if not self._skipping:
            self._buffer += piece

    def _take(self, packets: list[bytes]) -> None:
        try:
            packets.append(unwrap(bytes(self._buffer)))
        except FramingError:
            self.damaged += 1
