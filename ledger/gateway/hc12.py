"""The HC-12 radio: a serial port whose bytes go on air. Packets on it are framed, since nothing else is.

The module is half-duplex and tells neither signal strength nor whether it is sending, and it sends what it is
given as soon as it can; what arrives meanwhile is lost on air and repeated by the Uno. Its channel and rates
are set beforehand with its own AT commands (datasheet, HC-12 rev 2.4).
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Final

from ledger.effects import Effect, Rejected
from ledger.frame import LARGEST_DATA_BYTES
from ledger.gateway.byte_stream import StreamError
from ledger.gateway.framing import Deframer, wrap
from ledger.gateway.radio_loop import RadioFault
from ledger.messages import FrameReceived, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ledger.gateway.byte_stream import ByteStream
    from ledger.gateway.radio_loop import FrameHandler

BITS_PER_SECOND: Final = 9600
UNKNOWN_RSSI_CDBM: Final = -32_768
"""The lowest that a reading can hold, and far below any that is received: the module does not tell."""


class Hc12Loop:
    """One HC-12 with its gateway: the face of :class:`ledger.gateway.radio_loop.RadioLoop`.

    ``open_stream`` opens the serial port, at the start and whenever it was lost.
    """

    def __init__(self, open_stream: Callable[[], ByteStream], gateway: FrameHandler) -> None:
        self._open_stream = open_stream
        self._gateway = gateway
        self._stream: ByteStream | None = None
        self._deframer = Deframer(LARGEST_DATA_BYTES)
        self._counts: collections.Counter[str] = collections.Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """What went wrong at the radio, by kind."""
        return self._counts

    @property
    def is_open(self) -> bool:
        """Whether the serial port is there."""
        return self._stream is not None

    def fileno(self) -> int | None:
        """Readable when something has come; None while the port is lost."""
        return None if self._stream is None else self._stream.fileno()

    def receive(self, now_ns: int) -> list[Effect]:
        """Take in what has come. A spare call does no harm."""
        if self._stream is None:
            return []
        damaged = self._deframer.damaged
        try:
            packets = self._deframer.feed(self._stream.read())
        except StreamError as error:
            return self._lose(error)
        effects: list[Effect] = []
        for _ in range(self._deframer.damaged - damaged):
            effects.append(self._fault(RadioFault.PAYLOAD_CRC, "a packet was damaged on air"))
        for packet in packets:
            effects += self._gateway.handle(FrameReceived(packet, UNKNOWN_RSSI_CDBM, 0), now_ns)
        return effects

    def transmit(self, payload: bytes, now_ns: int) -> list[Effect]:  # noqa: ARG002  # the face has a time
        """Give a packet to the module, which sends it after what it has."""
        if self._stream is None:
            return [self._fault(RadioFault.DROPPED, "the serial port is lost")]
        try:
            self._stream.write(wrap(payload))
        except StreamError as error:
            return self._lose(error)
        return []

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        """Pass on what is not the radio's (peers, ticks)."""
        return self._gateway.handle(message, now_ns)

    def keep_alive(self) -> list[Effect]:
        """Open the port if it is not; to be called about once a second."""
        if self._stream is None:
            try:
                self._stream = self._open_stream()
            except StreamError as error:
                return [self._fault(RadioFault.GONE, str(error))]
        return []

    def close(self) -> None:
        """Let go of the port."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _lose(self, error: StreamError) -> list[Effect]:
        self.close()
        return [self._fault(RadioFault.GONE, str(error))]

    def _fault(self, reason: RadioFault, detail: str) -> Rejected:
        self._counts[reason] += 1
        return Rejected(reason, detail)
