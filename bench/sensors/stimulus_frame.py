"""What host and stimulus Uno say to each other, byte by byte: the mirror of `firmware/stimulus`.

A frame is a content and its CRC-16, coded by COBS (Cheshire and Baker, "Consistent Overhead Byte Stuffing",
1999), between zero bytes. The host asks and the Uno answers; numbers are little-endian.
"""

from __future__ import annotations

import binascii
import enum
import struct
from dataclasses import dataclass
from typing import Final

PROTOCOL_VERSION: Final = 1
NS_PER_TICK: Final = 4000
"""64 cycles at 16 MHz."""
LINES: Final = 12
LATEST_TICKS: Final = 250
"""A pulse that cannot begin within this many ticks of its start is not played."""
PULSES_PER_REQUEST: Final = 16
MAX_WIDTH_TICKS: Final = 0xFFFF

_CRC_INITIAL: Final = 0xFFFF
_CRC_BYTES: Final = 2
_RUN: Final = 254
_ANSWER: Final = 0x80
_MAGIC: Final = b"STIM"
_NOISE_LIMIT: Final = 300
_FRAME_LIMIT: Final = 300
_GREETING: Final = struct.Struct("<4sBBBB")
_TIMES: Final = struct.Struct("<II")
_STATE: Final = struct.Struct("<BBIHHH")
_PLAY: Final = struct.Struct("<HIH")
_PULSE: Final = struct.Struct("<IHB")


class FrameFormatError(ValueError):
    """An answer that the stimulus sketch cannot have sent."""


class Request(enum.IntEnum):
    """What the host asks."""

    HELLO = 1
    """Who is there? Begins anew: lines let go, queue empty, numbers from 0."""
    SYNC = 2
    """What time is it?"""
    PLAY = 3
    """Take these pulses over, forget those whose outcome I have, and tell how the others went."""
    HALT = 4
    """Let go of all lines and give up what has not begun."""


class Refusal(enum.IntFlag):
    """Why the Uno did not take over all pulses of a request."""

    PULSE = 1
    """No such line, no width, or a start before that of the pulse before."""
    ROOM = 2
    """The queue is full."""
    GAP = 4
    """Pulses before these are missing."""


class Outcome(enum.IntEnum):
    """Why a pulse was not played. Smaller values: by how many ticks it began late."""

    HALTED = 0xFFFD
    OVERLAP = 0xFFFE
    """Its line was still low, or let go at the very tick."""
    MISSED = 0xFFFF
    """It came after its time."""


@dataclass(frozen=True, slots=True)
class QueuedPulse:
    """One pulse as the Uno takes it: low from the tick `start` on for `width` ticks."""

    start: int
    width: int
    line: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the sketch says of itself."""

    version: int
    lines: int
    capacity: int
    tick_cycles: int


@dataclass(frozen=True, slots=True)
class Times:
    """Low 32 bits of the Uno's ticks: when the request had come, and when the answer was about to go."""

    received: int
    answered: int


@dataclass(frozen=True, slots=True)
class State:
    """Where the Uno is. Numbers of pulses count modulo 2^16."""

    refusals: Refusal
    underruns: int
    tick: int
    appended: int
    played: int
    acknowledged: int
    outcomes: tuple[int, ...]
    """Of the pulses from `acknowledged` on, as many as fit and are known."""


def cobs_encoded(data: bytes) -> bytes:
    """Code without a zero byte."""
    code = bytearray()
    for piece in data.split(b"\0"):
        rest = piece
        while len(rest) >= _RUN:
            code += bytes([_RUN + 1]) + rest[:_RUN]
            rest = rest[_RUN:]
        code += bytes([len(rest) + 1]) + rest
    return bytes(code)


def cobs_decoded(code: bytes) -> bytes | None:
    """The data behind a code; None when it is none."""
    data = bytearray()
    at = 0
    while at < len(code):
        end = at + code[at]
        if code[at] == 0 or end > len(code):
            return None
        data += code[at + 1 : end]
        if end < len(code) and code[at] != _RUN + 1:
            data.append(0)
        at = end
    return bytes(data)


def framed(content: bytes) -> bytes:
    """Bytes to put on the line for a content."""
    crc = binascii.crc_hqx(content, _CRC_INITIAL)
    return b"\0" + cobs_encoded(content + crc.to_bytes(_CRC_BYTES, "little")) + b"\0"


class FrameReader:
    """Finds frames in what comes over the line; the rest is noise, such as the text of a sketch."""

    def __init__(self) -> None:
        self._open = bytearray()
        self._noise = bytearray()

    @property
    def text(self) -> str:
        """The latest of what was no frame, as text."""
        heard = bytes(self._noise + self._open)[-_NOISE_LIMIT:]
        return "".join(c for c in heard.decode("ascii", "replace") if c.isprintable() or c == "\n").strip()

    def feed(self, data: bytes) -> list[bytes]:
        """Contents of the frames that are complete now."""
        found = []
        *ended, rest = data.split(b"\0")
        for part in ended:
            self._open += part
            content = _content(bytes(self._open))
            if content is not None:
                found.append(content)
            else:
                self._drop()
            self._open.clear()
        self._open += rest
        if len(self._open) > _FRAME_LIMIT:
            self._drop()
            self._open.clear()
        return found

    def _drop(self) -> None:
        self._noise += self._open
        del self._noise[:-_NOISE_LIMIT]


def _content(code: bytes) -> bytes | None:
    data = cobs_decoded(code)
    if data is None or len(data) <= _CRC_BYTES:
        return None
    content, crc = data[:-_CRC_BYTES], int.from_bytes(data[-_CRC_BYTES:], "little")
    return content if binascii.crc_hqx(content, _CRC_INITIAL) == crc else None


def request(kind: Request, tag: int, body: bytes = b"") -> bytes:
    """Content of a request; the answer carries the same tag (0 to 255)."""
    return bytes([kind, tag]) + body


def play_body(acknowledged: int, horizon_tick: int, first: int, pulses: tuple[QueuedPulse, ...]) -> bytes:
    """Body of PLAY: outcomes before `acknowledged` are known; before `horizon_tick` nothing else is to come.

    `first` is the number of the first pulse.
    """
    body = _PLAY.pack(acknowledged & 0xFFFF, horizon_tick & 0xFFFFFFFF, first & 0xFFFF)
    return body + b"".join(_PULSE.pack(p.start & 0xFFFFFFFF, p.width, p.line) for p in pulses)


def answer_body(content: bytes, kind: Request, tag: int) -> bytes | None:
    """Body of the answer to that request; None for another answer."""
    return content[2:] if content[:2] == bytes([kind | _ANSWER, tag]) else None


def read_greeting(body: bytes) -> Greeting:
    """Answer to HELLO. Raises FrameFormatError."""
    if len(body) < _GREETING.size or not body.startswith(_MAGIC):
        raise FrameFormatError(f"a greeting of {len(body)} bytes without the stimulus sketch's mark")
    _, version, lines, capacity, tick_cycles = _GREETING.unpack_from(body)
    return Greeting(version, lines, capacity, tick_cycles)


def read_times(body: bytes) -> Times:
    """Answer to SYNC. Raises FrameFormatError."""
    if len(body) != _TIMES.size:
        raise FrameFormatError(f"times in {len(body)} bytes instead of {_TIMES.size}")
    return Times(*_TIMES.unpack(body))


def read_state(body: bytes) -> State:
    """Answer to PLAY and HALT. Raises FrameFormatError."""
    rest = len(body) - _STATE.size
    if rest < 0 or rest % 2:
        raise FrameFormatError(f"a state in {len(body)} bytes")
    refusals, underruns, tick, appended, played, acknowledged = _STATE.unpack_from(body)
    outcomes = struct.unpack_from(f"<{rest // 2}H", body, _STATE.size)
    return State(Refusal(refusals), underruns, tick, appended, played, acknowledged, outcomes)
