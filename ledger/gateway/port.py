"""What the radio drivers need of their host: SPI transfers, and word of the chip's DIO0 pin."""

from typing import Protocol


class SpiPort(Protocol):
    """A full-duplex SPI link to one chip, mode 0, highest bit first, at most 10 MHz for an SX1278."""

    def transfer(self, data: bytes) -> bytes:
        """Sends `data` with the chip selected all the while; returns as many bytes, read at the same time."""


class RadioPort(SpiPort, Protocol):
    """The wires of a radio module: SPI, DIO0 and, where it is connected, the reset pin.

    As on a real bus a chip that is not there raises nothing: it reads as zeros, and `fault` says what is
    known of the reason.
    """

    @property
    def fault(self) -> str | None:
        """Why the wires carry nothing, with the mend; None while they do."""

    def fileno(self) -> int | None:
        """What to wait for in `select` until DIO0 may have risen; None while there is nothing to wait for."""

    def take_rise(self) -> bool:
        """Whether DIO0 has risen since the last call; does not wait."""

    def reset(self) -> None:
        """Pulses the reset pin, and leaves the chip the time to come up. Without that pin it does nothing."""

    def keep_alive(self) -> None:
        """To be called about once a second: finds out whether the wires carry, and tries to mend them."""

    def close(self) -> None:
        """Lets go of the devices."""
