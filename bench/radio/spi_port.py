"""The SPI port of a gateway's driver, on the register model of the chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.radio.sx1278 import Sx1278


class ChipPort:
    """A `ledger.gateway.port.SpiPort` without a line between: each transfer is carried out at once."""

    def __init__(self, chip: Sx1278) -> None:
        self._chip = chip

    def transfer(self, data: bytes) -> bytes:
        """One selection of the chip, `data` in and as many bytes out."""
        self._chip.select()
        answer = bytes(map(self._chip.transfer, data))
        self._chip.deselect()
        return answer
