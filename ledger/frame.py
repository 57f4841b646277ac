"""The two frames on air: DATA from an Uno to its gateway, ACK back; all numbers big-endian.

Both start with the same header, `kind u8 | uno_id u16 | boot_epoch u32 | counter u32`; header and five zero
bytes are the Ascon nonce, the header alone the associated data. The (uno_id, boot_epoch, counter) of a
snapshot is therefore never used for two different plaintexts, and the kind keeps DATA and ACK apart.

    DATA = header | ciphertext of the snapshot | tag (16 B)                                     32 .. 104 B
    ACK  = header with the frame's own identity | first 8 B of the tag over nothing             19 B
"""

import enum
import hmac
import struct
from dataclasses import dataclass
from typing import Final, Self

from ledger import ascon

_HEADER: Final = struct.Struct(">BHII")
_PREFIX: Final = struct.Struct(">BBHB")
_ALTERNATING_CURRENT: Final = struct.Struct(">IHHi")
_PULSES_BYTES: Final = 4
_NONCE_PADDING: Final = bytes(ascon.NONCE_BYTES - _HEADER.size)

MAX_ALTERNATING_CURRENT: Final = 2
MAX_PULSE_COUNTERS: Final = 12

_ACK_TAG_BYTES: Final = 8
ACK_BYTES: Final = _HEADER.size + _ACK_TAG_BYTES
SMALLEST_DATA_BYTES: Final = _HEADER.size + _PREFIX.size + ascon.TAG_BYTES
LARGEST_DATA_BYTES: Final = (
    SMALLEST_DATA_BYTES
    + MAX_ALTERNATING_CURRENT * _ALTERNATING_CURRENT.size
    + MAX_PULSE_COUNTERS * _PULSES_BYTES
)


class Kind(enum.IntEnum):
    """First byte of a frame."""

    DATA = 0x11
    ACK = 0x12


_KINDS: Final = frozenset(int(kind) for kind in Kind)


class Reason(enum.StrEnum):
    """Why a frame was refused."""

    TRUNCATED = "truncated"
    """Shorter than any frame of its kind, or of a length between those its kind can have."""
    OVERLONG = "overlong"
    UNKNOWN_KIND = "unknown_kind"
    OTHER_KIND = "other_kind"
    """A sound kind, but not the one asked for: a gateway hears its neighbours' ACKs, an Uno their DATA."""
    BAD_TAG = "bad_tag"
    BAD_COMPOSITION = "bad_composition"
    """Authentic, but the registers are not those that the composition byte announces."""


class FrameError(ValueError):
    """A frame was refused, for `reason`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class FrameId:
    """What makes a frame unique for ever: the Uno, its boots so far, and the snapshot within the boot."""

    uno_id: int
    boot_epoch: int
    counter: int

    def header(self, kind: Kind) -> bytes:
        """The 11 bytes every frame begins with. Raises ValueError when a number does not fit its field."""
        try:
            return _HEADER.pack(kind, self.uno_id, self.boot_epoch, self.counter)
        except struct.error as error:
            raise ValueError(f"{self} does not fit a header (u16, u32, u32): {error}") from error


class Status(enum.IntFlag):
    """What the Uno tells of itself; the reset causes are those of the register MCUSR."""

    FIRST_AFTER_BOOT = 1 << 0
    RESTORED_FROM_JOURNAL = 1 << 1
    BROWN_OUT = 1 << 2
    WATCHDOG = 1 << 3
    EXTERNAL_RESET = 1 << 4
    POWER_ON = 1 << 5


@dataclass(frozen=True, slots=True)
class AlternatingCurrent:
    """One voltage and current channel: the cumulative import register and the last interval's measures."""

    energy_dwh: int
    voltage_cv: int
    current_ca: int
    power_dw: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The plaintext of a DATA frame: every register of one Uno at the end of one interval.

    `dropped` counts frames lost from the Uno's ring since its boot (it stays at 65535), `pending` the
    frames that waited in the ring before this one.
    """

    status: Status
    dropped: int
    pending: int
    alternating_current: tuple[AlternatingCurrent, ...]
    pulses: tuple[int, ...]

    def encode(self) -> bytes:
        """The plaintext. Raises ValueError when there are too many channels or a number does not fit."""
        if len(self.alternating_current) > MAX_ALTERNATING_CURRENT or len(self.pulses) > MAX_PULSE_COUNTERS:
            raise ValueError(
                f"a snapshot holds at most {MAX_ALTERNATING_CURRENT} alternating-current channels and "
                f"{MAX_PULSE_COUNTERS} pulse counters, "
                f"not {len(self.alternating_current)} and {len(self.pulses)}"
            )
        composition = len(self.alternating_current) << 4 | len(self.pulses)
        try:
            return b"".join(
                (
                    _PREFIX.pack(self.status, composition, self.dropped, self.pending),
                    *(
                        _ALTERNATING_CURRENT.pack(
                            channel.energy_dwh, channel.voltage_cv, channel.current_ca, channel.power_dw
                        )
                        for channel in self.alternating_current
                    ),
                    struct.pack(f">{len(self.pulses)}I", *self.pulses),
                )
            )
        except struct.error as error:
            raise ValueError(f"a number does not fit its field in {self}: {error}") from error

    @classmethod
    def decode(cls, plaintext: bytes) -> Self:
        """The inverse of `encode`. Raises FrameError(BAD_COMPOSITION)."""
        if len(plaintext) < _PREFIX.size:
            raise FrameError(
                Reason.BAD_COMPOSITION,
                f"a snapshot has at least {_PREFIX.size} bytes, this one {len(plaintext)}",
            )
        status, composition, dropped, pending = _PREFIX.unpack_from(plaintext)
        channels = composition >> 4
        counters = composition & 0xF
        pulses_at = _PREFIX.size + channels * _ALTERNATING_CURRENT.size
        if (
            channels > MAX_ALTERNATING_CURRENT
            or counters > MAX_PULSE_COUNTERS
            or len(plaintext) != pulses_at + counters * _PULSES_BYTES
        ):
            raise FrameError(
                Reason.BAD_COMPOSITION,
                f"the composition byte 0x{composition:02x} announces {channels} alternating-current channels "
                f"and {counters} pulse counters, which do not make a snapshot of {len(plaintext)} bytes",
            )
        return cls(
            Status(status),
            dropped,
            pending,
            tuple(
                AlternatingCurrent(*registers)
                for registers in _ALTERNATING_CURRENT.iter_unpack(plaintext[_PREFIX.size : pulses_at])
            ),
            struct.unpack_from(f">{counters}I", plaintext, pulses_at),
        )


@dataclass(frozen=True, slots=True)
class DataFrame:
    """An authentic DATA frame: `plaintext` as it was encrypted, and what it says."""

    frame_id: FrameId
    plaintext: bytes
    snapshot: Snapshot


def _identity(payload: bytes, wanted: Kind) -> FrameId:
    if not payload:
        raise FrameError(Reason.TRUNCATED, "the frame is empty")
    if payload[0] != wanted:
        if payload[0] in _KINDS:
            raise FrameError(
                Reason.OTHER_KIND, f"the frame is of kind {Kind(payload[0]).name}, wanted was {wanted.name}"
            )
        raise FrameError(Reason.UNKNOWN_KIND, f"0x{payload[0]:02x} is not a kind of frame")
    smallest, largest = (
        (SMALLEST_DATA_BYTES, LARGEST_DATA_BYTES) if wanted is Kind.DATA else (ACK_BYTES, ACK_BYTES)
    )
    if len(payload) > largest:
        raise FrameError(
            Reason.OVERLONG, f"a {wanted.name} frame has at most {largest} bytes, this one {len(payload)}"
        )
    if len(payload) < smallest:
        raise FrameError(
            Reason.TRUNCATED, f"a {wanted.name} frame has at least {smallest} bytes, this one {len(payload)}"
        )
    if (len(payload) - smallest) % _PULSES_BYTES:
        raise FrameError(
            Reason.TRUNCATED,
            f"no DATA frame has {len(payload)} bytes: "
            f"registers come in steps of {_PULSES_BYTES} above {smallest}",
        )
    _, uno_id, boot_epoch, counter = _HEADER.unpack_from(payload)
    return FrameId(uno_id, boot_epoch, counter)


def data_frame_id(payload: bytes) -> FrameId:
    """Who claims to have sent a DATA frame; nothing is authenticated yet.

    Raises FrameError (TRUNCATED, OVERLONG, UNKNOWN_KIND, OTHER_KIND).
    """
    return _identity(payload, Kind.DATA)


def open_frame(key: bytes, payload: bytes) -> DataFrame:
    """Verifies and decrypts a DATA frame with the meter's key. Raises FrameError with the reason."""
    frame_id = _identity(payload, Kind.DATA)
    header = payload[: _HEADER.size]
    try:
        plaintext = ascon.decrypt(key, header + _NONCE_PADDING, header, payload[_HEADER.size :])
    except ascon.AuthenticationError as error:
        raise FrameError(
            Reason.BAD_TAG, f"{frame_id} was altered on its way or sealed with another key"
        ) from error
    return DataFrame(frame_id, plaintext, Snapshot.decode(plaintext))


def seal_frame(key: bytes, frame_id: FrameId, plaintext: bytes) -> bytes:
    """The DATA frame an Uno sends: for tests and emulated branches.

    Raises ValueError when a number does not fit its field.
    """
    header = frame_id.header(Kind.DATA)
    return header + ascon.encrypt(key, header + _NONCE_PADDING, header, plaintext)


def _ack_tag(key: bytes, header: bytes) -> bytes:
    return ascon.encrypt(key, header + _NONCE_PADDING, header, b"")[:_ACK_TAG_BYTES]


def seal_ack(key: bytes, frame_id: FrameId) -> bytes:
    """The ACK by which a gateway says that it has stored the frame durably."""
    header = frame_id.header(Kind.ACK)
    return header + _ack_tag(key, header)


def open_ack(key: bytes, payload: bytes) -> FrameId:
    """The frame an ACK acknowledges. Raises FrameError with the reason."""
    frame_id = _identity(payload, Kind.ACK)
    if not hmac.compare_digest(_ack_tag(key, payload[: _HEADER.size]), payload[_HEADER.size :]):
        raise FrameError(
            Reason.BAD_TAG, f"the ACK of {frame_id} was altered on its way or sealed with another key"
        )
    return frame_id
