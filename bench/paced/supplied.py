"""Seats on the leads of a rig's supply: what they draw is what it measures, and its switch is their power."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bench.assembly import radio_settings
from bench.instruments.boards import packet_listener, pi_part, uno_part
from bench.instruments.load import PI_BROWN_OUT_MV, UNO_BROWN_OUT_MV, Load
from bench.instruments.rack import open_rack
from bench.radio.medium import Medium
from bench.radio.spi_port import ChipPort
from bench.radio.sx1278 import Sx1278
from bench.uno.clock import UnoClock
from bench.world.paced import PacedWorld
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace
from ledger.gateway.sx1278 import Sx1278 as Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.instruments.rack import Rack
    from bench.rig.instruments import Instruments
    from bench.rig.model import Branch, Rig
    from bench.uno.emulated import EmulatedBoard
    from bench.uno.image import FirmwareImage
    from bench.world.trace import Record


class SwitchedPi(Protocol):
    """A Pi whose plug the bench can pull."""

    @property
    def name(self) -> str:
        """As the rig file's `feeds` call it."""

    @property
    def process_id(self) -> int | None:
        """The emulator's process, None while it has no power."""

    def power_on(self) -> None:
        """Give it power, and wait until one can log in."""

    def lose_power(self, seed: int) -> None:
        """Pull its plug."""


class AttenuatedLinks:
    """Links that all lose as much as the path, and what a step attenuator takes besides."""

    def __init__(self, path_loss_cdb: int) -> None:
        self._path_loss_cdb = path_loss_cdb
        self.attenuator_cdb = 0

    def attenuation_cdb(self, sender: str, receiver: str) -> int:  # noqa: ARG002  # all links are alike
        """Loss of a link."""
        return self._path_loss_cdb + self.attenuator_cdb

    def fading_cdb(self, sender: str, receiver: str, number: int) -> int:  # noqa: ARG002  # no fading
        """No fading."""
        return 0


@dataclass(frozen=True, slots=True)
class SuppliedScene:
    """Boards of one branch that have power only from the supply, in a world of their own."""

    rack: Rack
    world: PacedWorld
    records: list[Record]
    """What happened so far, in order; only ever added to."""

    def count(self, kind: str, **fields: object) -> int:
        """How many records of a kind, with these fields, there are."""
        return sum(
            record.kind == kind and all(record.fields.get(name) == value for name, value in fields.items())
            for record in list(self.records)
        )


@contextmanager
def supplied(
    rig: Rig,
    branch: Branch,
    firmware: FirmwareImage,
    boards: Mapping[str, EmulatedBoard],
    pi: SwitchedPi | None,
) -> Iterator[SuppliedScene]:
    """Put the boards of a branch, and its Pi where one is given, on the leads of the rig's supply.

    All are without power at first. A chip on the gateway's side of the air listens as the branch is set;
    the step attenuator, where there is one, takes from what it hears. Raises InfrastructureError, RackError.
    """
    records: list[Record] = []
    trace = Trace()
    trace.subscribe(records.append)
    links = AttenuatedLinks(branch.radio.path_loss_cdb)
    simulation = Simulation()
    medium = Medium(Stream(0, "supplied"), trace, simulation, links)
    with PacedWorld(simulation, trace) as world, ExitStack() as stack:
        loads = {
            name: _board_load(board, firmware, world, medium, trace)
            for name, board in boards.items()
            if any(name in supply.feeds for supply in rig.instruments.supply)
        }
        if pi is not None:
            loads[pi.name] = _pi_load(pi)
        path_losses: dict[str, Callable[[int], None]] = {}
        if any(attenuator.branch == branch.name for attenuator in rig.instruments.attenuator):
            path_losses[branch.name] = lambda cdb: world.post(partial(setattr, links, "attenuator_cdb", cdb))
        _listen(branch, world, medium)
        rack = stack.enter_context(open_rack(_feeding(rig, loads), loads, path_losses))
        try:
            yield SuppliedScene(rack, world, records)
        finally:
            for supply in rack.supplies:
                supply.output(False)
            rack.close()
            # The outputs fall for a while, and with the rack goes who would notice: nothing stays on.
            for board in boards.values():
                if board.uno is not None:
                    board.power_off()
            if pi is not None and pi.process_id is not None:
                pi.lose_power(0)


def _feeding(rig: Rig, loads: Mapping[str, Load]) -> Instruments:
    """The rig's instruments without the outputs and leads that nothing of this scene hangs on."""
    instruments = rig.instruments
    outputs = [
        supply.model_copy(update={"feeds": tuple(seat for seat in supply.feeds if seat in loads)})
        for supply in instruments.supply
        if any(seat in loads for seat in supply.feeds)
    ]
    meter = instruments.power_meter
    seen = meter is not None and any(output.channel == meter.channel for output in outputs)
    return instruments.model_copy(update={"supply": tuple(outputs), "power_meter": meter if seen else None})


def _board_load(
    board: EmulatedBoard, firmware: FirmwareImage, world: PacedWorld, medium: Medium, trace: Trace
) -> Load:
    chip = world.call(lambda: Sx1278(board.name, medium, world.simulation))
    part, radio = uno_part(board, lambda: chip.mode)
    trace.subscribe(packet_listener(board.name, radio))

    def power_changed(on: bool) -> None:
        if on:
            board.power_on(world, chip, UnoClock(world.now_ns, 0), firmware)
        elif board.uno is not None:
            board.power_off()

    return Load(board.name, part, UNO_BROWN_OUT_MV, power_changed)


def _pi_load(pi: SwitchedPi) -> Load:
    def power_changed(on: bool) -> None:
        if on:
            pi.power_on()
        else:
            pi.lose_power(0)

    return Load(pi.name, pi_part(lambda: pi.process_id), PI_BROWN_OUT_MV, power_changed)


def _listen(branch: Branch, world: PacedWorld, medium: Medium) -> None:
    """A gateway's chip that is set up by the gateway's own driver and left to receive."""

    def set_up() -> None:
        chip = Sx1278(f"{branch.name}/listener", medium, world.simulation)
        driver = Driver(ChipPort(chip), radio_settings(branch.radio))
        driver.configure()
        driver.start_receiving()

    world.call(set_up)
