"""A rig that keeps the wall clock: brought up for its first trial, kept for all others, and taken down."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.paced.gateways import gateway_seat
from bench.paced.servers import server_seat
from bench.paced.trial import play
from bench.paced.unos import uno_seats
from bench.rig.strategy import State, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.assembly import Stage
    from bench.paced.gateways import GatewaySeat
    from bench.paced.scene import Disturb
    from bench.paced.servers import ServerSeat
    from bench.paced.unos import UnoSeats
    from bench.rig.model import Rig
    from bench.trial import Progress, TrialOutcome, TrialPlan
    from bench.uno.image import FirmwareImage


@dataclass(frozen=True, slots=True)
class Seats:
    """Every seat of a rig; gateways and Unos by the name of their branch."""

    server: ServerSeat
    gateways: Mapping[str, GatewaySeat]
    unos: Mapping[str, UnoSeats]

    def give_orders(self, stage: Stage) -> None:
        """Tell all seats what the next trial is."""
        self.server.orders = stage
        for gateway in self.gateways.values():
            gateway.orders = stage
        for unos in self.unos.values():
            unos.orders = stage


class PacedRig:
    """All seats of a rig, between the first trial and the last. Close it, also after an error.

    `directory` is for what the seats leave behind: logs, cards, stores. Raises InfrastructureError, from any
    call, when a seat cannot be had.
    """

    def __init__(
        self, rig: Rig, firmware: FirmwareImage, directory: Path, tell: Callable[[str], None]
    ) -> None:
        self.rig = rig
        self._firmware = firmware
        # Daemons read paths relative to their own files.
        directory = directory.resolve()
        with ExitStack() as stack:
            server = server_seat(rig, directory / "server", tell)
            stack.callback(server.close)
            gateways = {}
            unos = {}
            for branch in rig.branches:
                gateways[branch.name] = gateway_seat(branch, server, directory / branch.name, tell)
                stack.callback(gateways[branch.name].close)
                unos[branch.name] = uno_seats(branch, firmware)
                stack.callback(unos[branch.name].close)
            self._closing = stack.pop_all()
        self.seats = Seats(server, gateways, unos)
        # Boards are flashed before the Pis boot, which keeps an emulating host busy.
        self.strategy = Strategy([server, *unos.values(), *gateways.values()], tell)

    @property
    def retries(self) -> tuple[str, ...]:
        """Every failure of the infrastructure that was followed by another try."""
        return tuple(map(str, self.strategy.retries))

    def play(self, plan: TrialPlan, progress: Progress, disturb: Disturb | None = None) -> TrialOutcome:
        """Play one trial of this rig, or of the first so many Unos of each branch.

        Raises InfrastructureError, and what a trial of a virtual rig raises for data that cannot be played.
        """
        self.strategy.reach(State.FLASHED)
        return play(self.seats, self.strategy, plan, self._firmware, progress, disturb)

    def close(self) -> None:
        """Take everything down."""
        self._closing.close()
