"""The real instruments of a rig while it stands: set as its file says, Pis' plugs among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.instruments.rack import Rack, open_rack
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from bench.instruments.supply import PowerSupply
    from bench.rig.model import Rig


class RealInstruments(Closable):
    """Opened when the rig is brought up. Closing leaves them as they are set: what a supply feeds stays fed.

    Opening them and beginning a trial may raise InfrastructureError.
    """

    def __init__(self, rig: Rig) -> None:
        self._tables = rig.instruments.real
        self._rack: Rack = open_rack(self._tables)
        self._known = 0
        """How many retries belong to trials before."""
        try:
            for supply in self._rack.supplies:
                supply.output(True)
        except BaseException:
            self._rack.close()
            raise

    def plug_of(self, seat: str) -> PowerSupply | None:
        """The output that feeds a seat; None where no real one does."""
        fed = any(seat in supply.feeds for supply in self._tables.supply)
        return self._rack.supply_of(seat) if fed else None

    def begin(self) -> None:
        """A trial begins: the power meter starts from zero."""
        self._known = len(self._rack.retries)
        if self._rack.power_meter is not None:
            self._rack.power_meter.start()

    def notes(self) -> list[str]:
        """What the instruments have to tell of a trial, at its end."""
        retries = self._rack.retries[self._known :]
        told = [
            f"infrastructure: {retry.seat} was asked {retry.query} again, since {retry.reason}"
            for retry in retries
        ]
        if self._rack.power_meter is not None:
            try:
                flowed = self._rack.power_meter.stop()
            except InfrastructureError as error:
                # The trial stands without it.
                return [*told, f"infrastructure: {error}"]
            told.append(
                f"power meter: {flowed.average_power_uw / 1e6:.3f} W on average over"
                f" {flowed.elapsed_us / 1e6:.0f} s, {flowed.energy_uj / 1e6:.1f} J"
            )
        return told

    def close(self) -> None:
        """Let go of the instruments."""
        self._rack.close()
