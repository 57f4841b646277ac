"""The far end of a gateway's SPI line: the emulated chip behind it, byte stream in and byte stream out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.gateway.spi_line import ChipEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.radio.sx1278 import Sx1278


class SpiLine:
    """A chip at the end of a serial line.

    The owner hands over what arrives and sends what comes back; `send`, where set, gets what the chip has to
    say of its own accord when DIO0 changes. Everything acts at the present time of the chip's world.
    """

    def __init__(self, chip: Sx1278) -> None:
        self.send: Callable[[bytes], None] | None = None
        self._end = ChipEnd(chip, chip.dio_level(0))
        self._answering: list[bytes] | None = None
        chip.dio0 = self._dio0

    @property
    def damaged(self) -> int:
        """How many packets arrived damaged."""
        return self._end.damaged

    @property
    def repeated(self) -> int:
        """How many requests arrived again and were answered from memory."""
        return self._end.repeated

    def receive(self, data: bytes) -> bytes:
        """Carry out what these bytes complete; return what to send, changes of DIO0 on the way included."""
        told: list[bytes] = []
        self._answering = told
        try:
            answer = self._end.receive(data)
        finally:
            self._answering = None
        return b"".join((*told, answer))

    def _dio0(self, level: bool) -> None:
        packet = self._end.dio0_changed(level)
        if self._answering is not None:
            self._answering.append(packet)
        elif packet and self.send is not None:
            self.send(packet)
