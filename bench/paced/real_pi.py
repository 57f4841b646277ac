"""A Pi of a lab as the seat of a gateway."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from bench.paced.gateways import GatewaySeat
from bench.pi.ssh import SshSeat, SshTarget
from bench.rig.infrastructure import InfrastructureError
from ledger.gateway.byte_stream import ByteStream, open_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.paced.configuration import Scalar

_LINE_BITS_PER_S: Final = 115_200


class RealPi(GatewaySeat):
    """A Pi of a lab, as it stands. Its power is a person's matter, or a supply's."""

    def power_on(self) -> None:
        """It has power."""

    def power_off(self) -> None:
        """It keeps its power; the gateway is stopped before."""

    def lose_power(self, seed: int) -> None:  # noqa: ARG002  # the face of all Pis
        """Nobody can pull its plug from here."""
        raise InfrastructureError(
            self.name, "has no switch for its power", "put it on a supply, and name it in the supply's feeds"
        )

    def login(self) -> SshSeat:
        """As the rig file says."""
        login = self._branch.pi.login
        assert login is not None, "the rig model lets no real Pi without login pass"
        return SshSeat(SshTarget.of(self.name, login))

    def open_line(self) -> ByteStream:
        """The bench's end of the serial line to a Pi among emulated Unos."""
        assert self._branch.pi.bench_line is not None, "the rig model lets no such Pi without it pass"
        return open_stream(self._branch.pi.bench_line, _LINE_BITS_PER_S)

    def radio_settings(self) -> Mapping[str, Scalar]:
        """Its own SPI and pins, or a serial line."""
        pi = self._branch.pi
        settings: dict[str, Scalar] = {"port": pi.radio_port, "dio0_gpio": pi.dio0_gpio}
        return settings if pi.reset_gpio is None else {**settings, "reset_gpio": pi.reset_gpio}

    def radio_devices(self) -> tuple[str, ...]:
        """SPI bus and GPIO chip, or the line's device."""
        kind, _, place = self._branch.pi.radio_port.partition(":")
        if kind == "spidev":
            return (f"/dev/spidev{place}", "/dev/gpiochip0")
        if not place.startswith("/"):
            return ()
        return (str(self._pi().run(f"readlink -f {shlex.quote(place)}").output.strip()),)
