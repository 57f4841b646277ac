"""An intruder on the branch's channel: hears all, and sends what a gateway and its Unos must refuse."""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING

from bench.radio.modulation import Packet

if TYPE_CHECKING:
    from bench.radio.medium import Clock, Medium, Streams
    from bench.radio.modulation import Modulation
    from bench.radio.reception import Reception

_MEMORY = 64
_POWER_CDBM = 1000
_HEADER_BYTES = 11
_ACK_BYTES = 19
_DATA_KIND = 0x11
_ACK_KIND = 0x12
_STRANGER_ID = 0xFFFE
_SEALED_BYTES = 37
"""Ciphertext and tag of a snapshot of four registers."""


class Attack(enum.StrEnum):
    """What is sent."""

    REPLAY = "replay"
    """A frame heard earlier, unchanged."""
    ALTERED = "altered"
    """A frame heard earlier with one bit flipped behind its header."""
    TRUNCATED = "truncated"
    """A frame heard earlier, cut short."""
    STRANGER = "stranger"
    """A frame of a meter that nobody enrolled."""
    FORGED_ACK = "forged_ack"
    """An acknowledgement of a frame just heard, so that its Uno forgets it."""


class Intruder:
    """A radio that attacks once a period, each attack in turn, from `start` on."""

    def __init__(
        self,
        name: str,
        medium: Medium,
        clock: Clock,
        modulation: Modulation,
        streams: Streams,
        period_ns: int,
    ) -> None:
        self.attacks: Counter[Attack] = Counter()
        self._name = name
        self._medium = medium
        self._clock = clock
        self._modulation = modulation
        self._streams = streams
        self._period_ns = period_ns
        self._station = medium.attach(name, self)
        self._heard: list[bytes] = []
        self._turn = 0

    def start(self) -> None:
        """Begin to listen, and attack after each period."""
        self._medium.listen(self._station, self._modulation)
        self._await()

    def _await(self) -> None:
        self._clock.at(self._clock.now_ns + self._period_ns, self._name, self._attack)

    def _attack(self) -> None:
        self._await()
        attack = list(Attack)[self._turn % len(Attack)]
        payload = self._made(attack)
        self._turn += 1
        if payload is not None:
            self.attacks[attack] += 1
            self._medium.trace.record(self._clock.now_ns, self._name, "attack", attack=attack.value)
            self._medium.transmit(self._station, self._modulation, Packet(payload), _POWER_CDBM)

    def _made(self, attack: Attack) -> bytes | None:
        draws = self._streams.child(attack.value)
        if attack is Attack.STRANGER:
            header = bytes([_DATA_KIND]) + _STRANGER_ID.to_bytes(2, "big") + self._turn.to_bytes(8, "big")
            sealed = b"".join(draws.bits(8 * self._turn + i).to_bytes(8, "big") for i in range(5))
            return header + sealed[:_SEALED_BYTES]
        if not self._heard:
            return None
        frame = self._heard[draws.below(len(self._heard), self._turn)]
        match attack:
            case Attack.ALTERED:
                bit = draws.below(8 * (len(frame) - _HEADER_BYTES), 2 * self._turn + 1)
                altered = bytearray(frame)
                altered[_HEADER_BYTES + bit // 8] ^= 1 << bit % 8
                return bytes(altered)
            case Attack.TRUNCATED:
                return frame[: 1 + draws.below(len(frame) - 1, 2 * self._turn + 1)]
            case Attack.FORGED_ACK:
                tag = draws.bits(self._turn).to_bytes(8, "big")
                return bytes([_ACK_KIND]) + self._heard[-1][1:_HEADER_BYTES] + tag
            case _:
                return frame

    # The medium's calls

    def transmitted(self) -> None:
        """Listen again."""
        self._medium.listen(self._station, self._modulation)

    def header_received(self, length: int, coding_rate: int, crc: bool) -> bool:
        """Hear every packet that is long enough to be a DATA frame."""
        return length > _ACK_BYTES and coding_rate > 0 and crc

    def packet_received(self, reception: Reception) -> None:
        """Remember what was heard."""
        if reception.intact and reception.payload[0] == _DATA_KIND:
            self._heard = [*self._heard[1 - _MEMORY :], reception.payload]

    def reception_lost(self) -> None:
        """Nothing to mend."""

    def activity_sensed(self, detected: bool) -> None:
        """Never asked for."""
