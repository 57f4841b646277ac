"""Every seat of a paced rig."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.assembly import Stage
    from bench.paced.gateways import GatewaySeat
    from bench.paced.real_instruments import RealInstruments
    from bench.paced.servers import ServerSeat
    from bench.paced.unos import UnoSeats


@dataclass(frozen=True, slots=True)
class Seats:
    """Every seat of a rig, gateways and Unos by the name of their branch, and what measures them."""

    server: ServerSeat
    gateways: Mapping[str, GatewaySeat]
    unos: Mapping[str, UnoSeats]
    instruments: RealInstruments

    def give_orders(self, stage: Stage) -> None:
        """Tell all seats what the next trial is."""
        self.server.orders = stage
        for gateway in self.gateways.values():
            gateway.orders = stage
        for unos in self.unos.values():
            unos.orders = stage
