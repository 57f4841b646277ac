"""A Pi of a lab as the seat of a gateway."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from bench.paced.gateways import GatewaySeat
from bench.pi.deployed.deployment import radio_devices
from bench.pi.ssh import SshSeat, SshTarget
from bench.rig.infrastructure import InfrastructureError
from ledger.gateway.byte_stream import ByteStream, open_stream
from ledger.gateway.spi_line import LINE_BITS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.instruments.supply import PowerSupply
    from bench.paced.configuration import Scalar

_BOOT_S: Final = 180.0
_DISCHARGE_S: Final = 3.0
"""Until the capacitors of supply and Pi are empty."""


class RealPi(GatewaySeat):
    """A Pi of a lab, as it stands. Its power is a person's matter, or a supply's, which is its `plug`."""

    plug: PowerSupply | None = None

    def power_on(self) -> None:
        """Give it power where it has a plug."""
        if self.plug is not None:
            self.plug.output(True)
            with self.login() as booting:
                booting.connect(_BOOT_S)

    def power_off(self) -> None:
        """It keeps its power, and its gateway does not go on alone."""
        if self._service is not None:
            # A login that is lost is nothing to wait for: the Pi is let go of.
            with contextlib.suppress(InfrastructureError):
                self._service.stop()

    def lose_power(self, seed: int) -> None:  # noqa: ARG002  # what its card keeps, nobody decides
        """Pull its plug, where it has one."""
        if self.plug is None:
            raise InfrastructureError(
                self.name,
                "has no switch for its power",
                "put it on a supply, and name it in the supply's feeds",
            )
        self.plug.output(False)
        time.sleep(_DISCHARGE_S)

    def close(self) -> None:
        """Stop its gateway, and let go of it."""
        self.power_off()
        super().close()

    def login(self) -> SshSeat:
        """As the rig file says."""
        login = self._branch.pi.login
        assert login is not None, "the rig model lets no real Pi without login pass"
        return SshSeat(SshTarget.of(self.name, login))

    def open_line(self) -> ByteStream:
        """The bench's end of the serial line to a Pi among emulated Unos."""
        assert self._branch.pi.bench_line is not None, "the rig model lets no such Pi without it pass"
        return open_stream(self._branch.pi.bench_line, LINE_BITS_PER_SECOND)

    def radio_settings(self) -> Mapping[str, Scalar]:
        """Its own SPI and pins, or a serial line."""
        pi = self._branch.pi
        settings: dict[str, Scalar] = {"port": pi.radio_port, "dio0_gpio": pi.dio0_gpio}
        return settings if pi.reset_gpio is None else {**settings, "reset_gpio": pi.reset_gpio}

    def radio_devices(self) -> tuple[str, ...]:
        """SPI bus and GPIO chip, or the line's device."""
        kind, _, address = self._branch.pi.radio_port.partition(":")
        return radio_devices(self._pi(), kind, address)
