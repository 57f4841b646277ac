"""What a receiver does and tells: its rules, the stages of a reception, and what can become of a packet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from bench.radio.airtime import NOISE_FIGURE_CDB
from bench.radio.interference import InterferenceRule


class Outcome(StrEnum):
    """What became of one packet at one receiver."""

    DELIVERED = "delivered"
    BELOW_SENSITIVITY = "below_sensitivity"
    COLLIDED_PREAMBLE = "collided_preamble"
    COLLIDED_HEADER = "collided_header"
    COLLIDED_PAYLOAD = "collided_payload"
    RECEIVER_BUSY = "receiver_busy"
    """The demodulator was locked to another packet."""
    RECEIVER_DEAF = "receiver_deaf"
    """Not listening, or not from early enough in the preamble."""
    RECEIVER_LEFT = "receiver_left"
    """Locked, but the receiver was set to something else before the packet's end."""
    MISMATCHED = "mismatched"
    """Listening with other settings."""
    LOST_BY_PLAN = "lost_by_plan"
    SENDER_STOPPED = "sender_stopped"
    """The sender left transmit mode before the packet's end."""
    REFUSED = "refused"
    """The receiver's settings rule out what the header says (too long)."""


class Progress(IntEnum):
    """How far a reception has come."""

    SEARCHING = 0
    DETECTED = 1
    SYNCHRONISED = 2
    HEADER_VALID = 3


@dataclass(frozen=True, slots=True)
class Reception:
    """A packet as it comes out of a demodulator. `intact` is False when its symbols were spoiled."""

    payload: bytes
    intact: bool
    level_cdbm: int
    snr_cdb: int
    coding_rate: int
    crc: bool


class Listener(Protocol):
    """What the medium tells the radio at a station."""

    def transmitted(self) -> None:
        """The packet is sent; the station is idle."""
        ...

    def header_received(self, length: int, coding_rate: int, crc: bool) -> bool:
        """A header came in; False refuses the packet, and the search goes on."""
        ...

    def packet_received(self, reception: Reception) -> None:
        """A packet came in to its end. A station that listened for a single one is idle."""
        ...

    def reception_lost(self) -> None:
        """What looked like the beginning of a packet came to nothing; the search goes on."""
        ...

    def activity_sensed(self, detected: bool) -> None:
        """The channel activity detection is done; the station is idle."""
        ...


@dataclass(frozen=True, slots=True)
class ReceptionRule:
    """How receivers lock and sense.

    `clean_from_symbol` is c: the preamble must be clean from this symbol on (3 in LoRaSim, 2 in FLoRa).
    The sensing probabilities hold for a packet that is on the air throughout the listening symbol.
    """

    clean_from_symbol: int = 3
    resumes_after_header_failure: bool = True
    sensed_in_preamble_ppm: int = 1_000_000
    sensed_in_payload_ppm: int = 900_000
    sensed_falsely_ppm: int = 0
    noise_figure_cdb: int = NOISE_FIGURE_CDB
    interference: InterferenceRule = field(default_factory=InterferenceRule)
