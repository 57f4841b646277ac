"""The Unos of one branch as a seat: flashed by avrdude, provisioned over their consoles, real or emulated."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bench.assembly import RadioCell, uno_name
from bench.keys import FreshKeys
from bench.paced.lab_cell import LabCell
from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import State
from bench.uno.clock import UnoClock
from bench.uno.console import provision
from bench.uno.emulated import EmulatedBoard
from bench.uno.flashing import flash_where_needed
from bench.uno.provisioning import quiet
from bench.uno.serial_port import UnoPort
from bench.world.paced import PacedWorld
from bench.world.simulation import NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.assembly import CellHarvest, Stage
    from bench.rig.model import Branch
    from bench.uno.image import FirmwareImage
    from bench.uno.provisioning import Provisioning
    from bench.uno.virtual import VirtualUno

PowerUp = Callable[[str], contextlib.AbstractContextManager[None]]
"""Gives the board of this name its power for a while."""

_AT_ONCE = 4
"""Boards under treatment: a blank one keeps its emulation as busy as it can be."""

_DEAF_CDB = 20_000
"""Loss between the boards while they are flashed and provisioned: nobody hears anybody."""

_NOBODY = 0
"""An id that no Uno of a trial has."""


class UnoSeats(ABC):
    """The boards of a branch, by name and serial port. A subclass says how they get their power.

    `orders` is the trial that they are provisioned for on their way to `running`.
    """

    def __init__(self, branch: Branch, firmware: FirmwareImage, ports: Mapping[str, str]) -> None:
        self.name = f"{branch.name}/unos"
        self.state = State.OFF
        self.orders: Stage | None = None
        self._branch = branch
        self._firmware = firmware
        self._world: PacedWorld | None = None
        self._ports = {name: UnoPort(url, name, self._listener(name)) for name, url in ports.items()}
        self._open: set[str] = set()

    @property
    def ports(self) -> Mapping[str, UnoPort]:
        """The serial port of every board, by its name."""
        return self._ports

    def hear(self, world: PacedWorld | None) -> None:
        """Have what the consoles say recorded in this world's trace; None: in nobody's."""
        self._world = world

    def step_to(self, state: State) -> None:
        """Go one step up, or down. Raises InfrastructureError."""
        if state is State.OFF:
            self._close_ports()
            self.power_off()
        elif state is State.FLASHED and self.state is State.OFF:
            self._all(self._flash)
        elif state is State.FLASHED:
            self.power_off()
        elif state is State.RUNNING and self.state is State.FLASHED:
            self._all(self._provision)
        self.state = state

    @abstractmethod
    def desk(self) -> contextlib.AbstractContextManager[PowerUp]:
        """Where boards are flashed and provisioned; it tells how each gets its power meanwhile."""

    @property
    @abstractmethod
    def notice_ns(self) -> int:
        """How long before the curtain a cell must be told of it."""

    @abstractmethod
    def cell(self, branch: Branch, seed: Stream, world: PacedWorld) -> Cell:
        """The boards of a branch in the world of a trial; the branch may have fewer than there are."""

    @abstractmethod
    def power_off(self) -> None:
        """Take the boards' power, where the bench can."""

    def close(self) -> None:
        """Let go of the boards."""
        self.step_to(State.OFF)

    def _all(self, action: Callable[[str, UnoPort], None]) -> None:
        """Do it to all boards, several at once; the first error counts."""
        with self.desk() as power_up, ThreadPoolExecutor(_AT_ONCE) as executor:

            def act(name: str, port: UnoPort) -> None:
                with power_up(name):
                    action(name, port)

            for done in [executor.submit(act, name, port) for name, port in self._ports.items()]:
                done.result()

    def _flash(self, name: str, port: UnoPort) -> None:
        flash_where_needed(name, port.url, self._firmware)

    def _provision(self, name: str, port: UnoPort) -> None:
        """A board that the trial has no use for is left alone."""
        given = self._provisionings().get(name)
        if given is not None:
            self._give(name, port, given)

    def _give(self, name: str, port: UnoPort, given: Provisioning) -> None:
        """The port stays open from here on, since opening it resets the board."""
        if name not in self._open:
            port.open()
            self._open.add(name)
        provision(port, given)

    def _provisionings(self) -> dict[str, Provisioning]:
        """By board, for those that the trial has a use for."""
        stage = self.orders
        assert stage is not None, f"{self.name} is provisioned for a trial"
        branch = next(branch for branch in stage.rig.branches if branch.name == self._branch.name)
        return {
            uno_name(branch, position): stage.provisioning(uno_id, branch)
            for position, uno_id in enumerate(stage.meter_ids(branch))
        }

    def _listener(self, name: str) -> Callable[[str], None]:
        def listen(line: str) -> None:
            world = self._world
            if world is not None and world.is_playing:
                world.record(name, "console", text=line)

        return listen

    def _close_ports(self) -> None:
        for name in self._open:
            self._ports[name].close()
        self._open.clear()


class Cell(Protocol):
    """What a branch has on the far side of the air while a trial plays."""

    def raise_curtain(self, stage: Stage) -> None:
        """Lay the data out and have the Unos start; `stage` says when."""

    def harvest(self) -> CellHarvest:
        """What the branch found, beside what its Pi did."""

    def close(self) -> None:
        """Let go of what it holds, whatever has happened; may be called again."""


class EmulatedCell:
    """A radio cell in a paced world: emulated boards, and the gateway's chip among them."""

    def __init__(
        self,
        branch: Branch,
        seed: Stream,
        world: PacedWorld,
        boards: Mapping[str, EmulatedBoard],
        firmware: FirmwareImage,
    ) -> None:
        self._world = world
        self._boards = boards
        self._firmware = firmware
        self._cell = RadioCell(branch, seed, world.simulation, world.trace)

    @property
    def gateway_chip(self) -> Sx1278:
        """The chip for the Pi."""
        return self._cell.gateway_chip

    def raise_curtain(self, stage: Stage) -> None:
        """The boards start at their clocks' origins."""
        self._world.call(partial(self._cell.populate, stage, self._power_on))

    def harvest(self) -> CellHarvest:
        """What the cell found."""
        return self._world.call(self._cell.harvest)

    def close(self) -> None:
        """It holds nothing: the boards belong to their seats."""

    def _power_on(
        self, name: str, _provisioning: Provisioning, radio: Sx1278, clock: UnoClock, _until_ns: int
    ) -> VirtualUno:
        """A board has its provisioning in its EEPROM, and the world's clock keeps it from running ahead."""
        return self._boards[name].power_on(self._world, radio, clock, self._firmware)


class EmulatedUnos(UnoSeats):
    """Emulated boards: they get their power in the world of a trial, or in one for the desk alone."""

    def __init__(self, branch: Branch, firmware: FirmwareImage) -> None:
        names = [uno_name(branch, position) for position in range(branch.uno.count)]
        self.boards = {name: EmulatedBoard(name) for name in names}
        super().__init__(branch, firmware, {name: board.port for name, board in self.boards.items()})

    @contextlib.contextmanager
    def desk(self) -> Iterator[PowerUp]:
        """A world of the boards' own, in which no radio hears another."""
        simulation, trace = Simulation(), Trace()
        medium = Medium(Stream(0, "desk"), trace, simulation, FixedLinks(_DEAF_CDB))

        @contextlib.contextmanager
        def power_up(name: str) -> Iterator[None]:
            board = self.boards[name]
            radio = world.call(lambda: Sx1278(name, medium, simulation))
            board.power_on(world, radio, UnoClock(world.now_ns, 0))
            try:
                yield
            finally:
                board.power_off()

        with PacedWorld(simulation, trace) as world:
            yield power_up

    notice_ns = 3 * NS_PER_S
    """Their data are laid out meanwhile."""

    def cell(self, branch: Branch, seed: Stream, world: PacedWorld) -> EmulatedCell:
        """A radio cell whose Unos are the boards."""
        return EmulatedCell(branch, seed, world, self.boards, self._firmware)

    def power_off(self) -> None:
        """Take the power of all boards that have it."""
        for board in self.boards.values():
            if board.uno is not None:
                board.power_off()

    def close(self) -> None:
        """Take the boards off the desk."""
        super().close()
        for board in self.boards.values():
            board.close()


class RealUnos(UnoSeats):
    """Boards of a lab at their ports, each with a stimulus Uno beside it. They keep their power."""

    notice_ns = 8 * NS_PER_S
    """A stimulus Uno boots, is greeted, and its clock found (firmware/stimulus/README.md)."""

    def __init__(self, branch: Branch, firmware: FirmwareImage) -> None:
        names = [uno_name(branch, position) for position in range(branch.uno.count)]
        super().__init__(branch, firmware, dict(zip(names, branch.uno.ports, strict=True)))
        self._stimuli = dict(zip(names, branch.uno.stimuli, strict=True))
        self._quieted: set[str] = set()

    @contextlib.contextmanager
    def desk(self) -> Iterator[PowerUp]:
        """They have power."""
        yield lambda _name: contextlib.nullcontext()

    def cell(self, branch: Branch, seed: Stream, world: PacedWorld) -> LabCell:
        """The boards as they stand."""
        return LabCell(branch, seed, world, self.ports, self._stimuli)

    def power_off(self) -> None:
        """They keep it."""

    def close(self) -> None:
        """They would send on as they did: those that answer are left quiet."""
        if self._open:
            with contextlib.suppress(InfrastructureError):
                self._all(self._quiet)
        super().close()

    def _provision(self, name: str, port: UnoPort) -> None:
        """A board that the trial has no use for would send on as it did: it is made quiet, once."""
        if name in self._provisionings():
            self._quieted.discard(name)
            super()._provision(name, port)
        else:
            self._quiet(name, port)

    def _quiet(self, name: str, port: UnoPort) -> None:
        if name in self._quieted:
            return
        assert self.orders is not None, "a board that was provisioned, or is passed over, is so for a trial"
        # Its key is of nobody else, since all these boards have one id.
        stage = replace(self.orders, keys=FreshKeys())
        self._give(name, port, quiet(stage.provisioning(_NOBODY, self._branch)))
        self._quieted.add(name)

    def _close_ports(self) -> None:
        """Nothing is known of the boards from here on."""
        super()._close_ports()
        self._quieted.clear()


def uno_seats(branch: Branch, firmware: FirmwareImage) -> UnoSeats:
    """The Unos of a branch as its rig file has them."""
    return RealUnos(branch, firmware) if branch.uno.kind == "real" else EmulatedUnos(branch, firmware)
