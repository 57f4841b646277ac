"""The one thing the radio driver needs of its host: an SPI transfer."""

from typing import Protocol


class SpiPort(Protocol):
    """A full-duplex SPI link to one chip, mode 0, most significant bit first.

    On a Pi this is `spidev.SpiDev.xfer2` (at most 10 MHz for an SX1278, chip select handled by the kernel).
    """

    def transfer(self, data: bytes) -> bytes:
        """Sends `data` with the chip selected all the while; returns as many bytes, read at the same time."""
