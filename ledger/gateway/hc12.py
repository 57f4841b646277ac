"""The HC-12 radio: a serial port whose bytes go on air. Packets on it are framed, since nothing else is.

The module is half-duplex and tells neither signal strength nor whether it is sending, and it sends what it is
given as soon as it can; what arrives meanwhile is lost on air and repeated by the Uno. Its channel and rates
are set beforehand with its own AT commands (datasheet, HC-12 rev 2.4).
"""

from __future__ import annotations

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
    """One HC-12 with its gateway: the face of :class:`ledger.service.radio.Radio`.

    ``open_stream`` opens the serial port, at the first :meth:`keep_alive` and whenever it was lost.
    """

    def __init__(self, open_stream: Callable[[], ByteStream], gateway: FrameHandler) -> None:
        self._open_stream = open_stream
        self._gateway = gateway
        self._stream: ByteStream | None = None
        self._fault: str | None = "the serial port was not opened yet"
        self._deframer = Deframer(LARGEST_DATA_BYTES)

    @property
    def fault(self) -> str | None:
        """Why the serial port is not there; None while it is."""
        return self._fault

    @property
    def counts(self) -> Mapping[str, int]:
        """Packets that came damaged."""
        return {"damaged": self._deframer.damaged}

    def fileno(self) -> int | None:
        """Readable when something has come; None while the port is lost."""
        return None if self._stream is None else self._stream.fileno()

    def attend(self, now_ns: int) -> list[Effect]:
        """Take in what has come. A spare call does no harm."""
        if self._stream is None:
            return []
        damaged = self._deframer.damaged
        try:
            packets = self._deframer.feed(self._stream.read())
        except StreamError as error:
            self._lose(error)
            return []
        effects: list[Effect] = [
            Rejected(RadioFault.PAYLOAD_CRC, "a packet was damaged on air")
            for _ in range(self._deframer.damaged - damaged)
        ]
        for packet in packets:
            effects += self._gateway.handle(FrameReceived(packet, UNKNOWN_RSSI_CDBM, 0), now_ns)
        return effects

    def transmit(self, payload: bytes, now_ns: int) -> list[Effect]:  # noqa: ARG002  # part of the face
        """Give a packet to the module, which sends it after what it has."""
        if self._stream is None:
            return [Rejected(RadioFault.DROPPED, "the serial port is lost")]
        try:
            # The first zero ends whatever noise the far end may have taken for the start of a packet.
            self._stream.write(b"\x00" + wrap(payload))
        except StreamError as error:
            self._lose(error)
            return [Rejected(RadioFault.DROPPED, str(error))]
        return []

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        """Pass on what is not the radio's (peers, ticks)."""
        return self._gateway.handle(message, now_ns)

    def keep_alive(self) -> list[Effect]:
        """Open the port if it is not; to be called about once a second."""
        if self._stream is None:
            try:
                self._stream = self._open_stream()
                self._fault = None
            except StreamError as error:
                self._fault = str(error)
        return []

    def close(self) -> None:
        """Let go of the port."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _lose(self, error: StreamError) -> None:
        self._fault = str(error)
        self.close()
