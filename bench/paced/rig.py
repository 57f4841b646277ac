"""A rig that keeps the wall clock: brought up for its first trial, kept for all others, and taken down."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.assembly import Stage
from bench.keys import FreshKeys
from bench.paced.emulated_pi import EmulatedPi
from bench.paced.emulated_server import EmulatedServerSeat
from bench.paced.real_instruments import RealInstruments
from bench.paced.real_pi import RealPi
from bench.paced.real_server import RealServerSeat
from bench.paced.seats import Seats
from bench.paced.supplied import supplied
from bench.paced.trial import play
from bench.paced.unos import EmulatedUnos, uno_seats
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import MOST_TRIES, Retry, State, Strategy
from bench.world.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.paced.gateways import GatewaySeat
    from bench.paced.scene import Disturb
    from bench.paced.servers import ServerSeat
    from bench.paced.supplied import SuppliedScene
    from bench.paced.unos import UnoSeats
    from bench.rig.model import Rig
    from bench.trial import Progress, TrialOutcome, TrialPlan
    from bench.uno.image import FirmwareImage


class PacedRig(Closable):
    """All seats of a rig, between the first trial and the last.

    `directory` is for the server's log and store, and the keys of its tunnels. Raises InfrastructureError,
    from any call, when a seat cannot be had.
    """

    def __init__(
        self, rig: Rig, firmware: FirmwareImage, directory: Path, tell: Callable[[str], None]
    ) -> None:
        self.rig = rig
        self._firmware = firmware
        # Daemons read paths relative to their own files.
        directory = directory.resolve()
        self._directory = directory
        with ExitStack() as stack:
            # Opened first: their outputs feed seats.
            self._instruments = stack.enter_context(RealInstruments(rig))
            server_kind = RealServerSeat if rig.server.kind == "real" else EmulatedServerSeat
            server: ServerSeat = server_kind(rig, directory / "server")
            stack.callback(server.close)
            gateways: dict[str, GatewaySeat] = {}
            unos: dict[str, UnoSeats] = {}
            for branch in rig.branches:
                kind = RealPi if branch.pi.kind == "real" else EmulatedPi
                gateway = kind(branch, server, tell)
                if isinstance(gateway, RealPi):
                    gateway.plug = self._instruments.plug_of(gateway.name)
                gateways[branch.name] = gateway
                stack.callback(gateway.close)
                unos[branch.name] = uno_seats(branch, firmware)
                stack.callback(unos[branch.name].close)
            self._closing = stack.pop_all()
        self.seats = Seats(server, gateways, unos, self._instruments)
        # Boards are flashed before the Pis boot, which keeps an emulating host busy.
        self.strategy = Strategy([server, *unos.values(), *gateways.values()], tell)

    @property
    def retries(self) -> tuple[str, ...]:
        """Every failure of the infrastructure that was followed by another try."""
        return tuple(map(str, self.strategy.retries))

    def play(self, plan: TrialPlan, progress: Progress, disturb: Disturb | None = None) -> TrialOutcome:
        """Play one trial of this rig, or of the first so many Unos of each branch.

        A trial that the infrastructure spoils is played again where that helps. Raises InfrastructureError,
        and what a trial of a virtual rig raises for data that cannot be played.
        """
        known = len(self.strategy.retries)
        outcome = self._played(plan, progress, disturb)
        retries = self.strategy.retries[known:]
        return replace(outcome, notes=(*outcome.notes, *(f"infrastructure: {retry}" for retry in retries)))

    def _played(self, plan: TrialPlan, progress: Progress, disturb: Disturb | None) -> TrialOutcome:
        for attempt in range(1, MOST_TRIES):
            self.strategy.reach(State.FLASHED)
            try:
                return play(self.seats, self.strategy, plan, self._firmware, progress, disturb)
            except InfrastructureError as error:
                if not error.retry_helps or self.strategy.broken is not None:
                    raise
                self.strategy.note(Retry(error.seat, State.JOINED, attempt, str(error)))
        self.strategy.reach(State.FLASHED)
        return play(self.seats, self.strategy, plan, self._firmware, progress, disturb)

    @contextmanager
    def supplied_unos(self) -> Iterator[SuppliedScene]:
        """The first branch's Unos, provisioned, on the leads of the rig's supply."""
        branch = self.rig.branches[0]
        unos = self.seats.unos[branch.name]
        assert isinstance(unos, EmulatedUnos), "only emulated boards can be put on a supply without hands"
        self.strategy.reach(State.FLASHED, [unos])
        unos.orders = Stage(self.rig, Stream(0), FreshKeys(), self._firmware, self._directory, 0, 0)
        self.strategy.reach(State.RUNNING, [unos])
        try:
            with supplied(self.rig, branch, self._firmware, unos.boards, None) as scene:
                unos.hear(scene.world)
                yield scene
        finally:
            unos.hear(None)
            self.strategy.reach(State.FLASHED, [unos])

    @contextmanager
    def supplied_pi(self) -> Iterator[tuple[SuppliedScene, EmulatedPi]]:
        """The first branch's emulated Pi on the leads of the rig's supply, off at first and at the end."""
        branch = self.rig.branches[0]
        pi = self.seats.gateways[branch.name]
        assert isinstance(pi, EmulatedPi), "only an emulated Pi can be put on a supply without hands"
        self.strategy.reach(State.OFF, [pi])
        with supplied(self.rig, branch, self._firmware, {}, pi) as scene:
            yield scene, pi

    def close(self) -> None:
        """Take everything down."""
        self._closing.close()
