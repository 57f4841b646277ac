"""The instruments of a rig, opened: what the [instruments] tables of a rig file become.

A real instrument is a VISA resource. An emulated one is a model behind a SCPI port of the loopback, opened by
PyVISA all the same, so that drivers, time-outs and errors are those of a real one. An emulated supply feeds
the boards of the rig: their currents make its current, and their power goes with its output.
"""

from __future__ import annotations

import queue
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from bench.instruments.attenuator import open_attenuator
from bench.instruments.power_meter import ERROR_QUERY, ScpiPowerMeter, identify_power_meter
from bench.instruments.scpi.attenuator import AttenuatorInstrument
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.power_meter import PowerMeterInstrument
from bench.instruments.scpi.server import ScpiServer
from bench.instruments.scpi.supply import DP832, SupplyInstrument
from bench.instruments.supply import ScpiSupply, identify_supply
from bench.instruments.visa import InstrumentError, VisaLink
from bench.rig.closable import Closable
from bench.rig.instruments import PowerMeter as PowerMeterTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.instruments.attenuator import StepAttenuator
    from bench.instruments.load import Load
    from bench.instruments.power_meter import PowerMeter
    from bench.instruments.scpi.channel import PowerEvent
    from bench.instruments.scpi.instrument import ScpiInstrument
    from bench.instruments.supply import PowerSupply
    from bench.instruments.visa import Retry
    from bench.rig.instruments import Instrument, Instruments

SUPPLY: Final = "instruments.supply"
POWER_METER: Final = "instruments.power_meter"
ATTENUATOR: Final = "instruments.attenuator"


class RackError(ValueError):
    """Instruments that cannot be put together as the rig file says; the message names table and mend."""


@dataclass(frozen=True, slots=True)
class Found:
    """An instrument that answered: for the report."""

    seat: str
    kind: Literal["emulated", "real"]
    resource: str
    identification: str


class Rack(Closable):
    """The open instruments. Made by `open_rack`; closing it leaves outputs and attenuations as they are."""

    def __init__(self, tables: Instruments, closing: ExitStack, power: PowerDelivery) -> None:
        self._tables = tables
        self._closing = closing
        self._power = power
        self._links: dict[str, VisaLink] = {}
        self._server: ScpiServer | None = None
        self.supplies: tuple[PowerSupply, ...] = ()
        """The outputs, in the order of the rig file."""
        self.power_meter: PowerMeter | None = None
        """The power meter, where the rig has one."""
        self.attenuators: Mapping[str, StepAttenuator] = {}
        """The step attenuators, by branch."""
        self.found: tuple[Found, ...] = ()
        """What answered."""

    def supply_of(self, seat: str) -> PowerSupply:
        """The output that feeds a seat. Raises RackError when none does."""
        for supply, table in zip(self.supplies, self._tables.supply, strict=True):
            if seat in table.feeds:
                return supply
        fed = ", ".join(seat for table in self._tables.supply for seat in table.feeds) or "nothing"
        raise RackError(f"{SUPPLY}: no output feeds {seat}, only {fed}; add it to feeds")

    def is_powered(self, seat: str) -> bool:
        """Whether a seat fed by an emulated supply has been given its power, and not been cut since."""
        return self._power.is_powered(seat)

    @property
    def retries(self) -> tuple[Retry, ...]:
        """Queries that had to be sent again: for the report."""
        return tuple(retry for link in self._links.values() for retry in link.retries)

    @property
    def power_failures(self) -> tuple[str, ...]:
        """Boards that could not be switched: for the report, and none when all is well."""
        broken = () if self._server is None or self._server.failure is None else (self._server.failure,)
        return (*self._power.failures, *(f"the emulated instruments ended: {error!r}" for error in broken))

    def close(self) -> None:
        """Close all connections, and end the emulated instruments."""
        self._closing.close()

    def _open(self, loads: Mapping[str, Load], path_losses: Mapping[str, Callable[[int], None]]) -> None:
        emulated = _Emulated.of(self._tables, loads, path_losses, self._power)
        server = self._server = self._closing.enter_context(ScpiServer(emulated.instruments))
        found = []
        supplies: list[PowerSupply] = []
        for table in self._tables.supply:
            link = self._link(SUPPLY, table, server.resource_of(emulated.supply))
            if not link.identification:
                identify_supply(link, table.identity)
            supply = ScpiSupply(link, table.channel)
            supply.set_voltage_mv(table.voltage_mv)
            supply.set_current_limit_ma(table.current_limit_ma)
            supplies.append(supply)
            found.append(Found(SUPPLY, table.kind, link.resource, link.identification))
        self.supplies = tuple(supplies)
        if (meter := self._tables.power_meter) is not None:
            link = self._link(POWER_METER, meter, server.resource_of(emulated.meter))
            identify_power_meter(link, meter.identity)
            # The emulated meter has one lead; the output it sits behind was chosen with it.
            self.power_meter = ScpiPowerMeter(link, meter.channel if meter.kind == "real" else 1)
            found.append(Found(POWER_METER, meter.kind, link.resource, link.identification))
        attenuators = {}
        for aerial in self._tables.attenuator:
            seat = f"{ATTENUATOR} of {aerial.branch}"
            model = emulated.attenuators.get(aerial.branch)
            link = self._link(seat, aerial, "" if model is None else server.resource_of(model))
            attenuator = open_attenuator(link, aerial.identity, aerial.dialect)
            attenuator.set_attenuation_cdb(aerial.attenuation_cdb)
            attenuators[aerial.branch] = attenuator
            found.append(Found(seat, aerial.kind, link.resource, link.identification))
        self.attenuators = attenuators
        self.found = tuple(dict.fromkeys(found))

    def _link(self, seat: str, table: Instrument, emulated: str) -> VisaLink:
        """The link to an instrument: one for all outputs of a supply."""
        resource = table.resource or emulated
        if resource not in self._links:
            self._links[resource] = self._closing.enter_context(_opened(seat, table, resource))
        return self._links[resource]


def open_rack(
    tables: Instruments,
    loads: Mapping[str, Load] | None = None,
    path_losses: Mapping[str, Callable[[int], None]] | None = None,
) -> Rack:
    """Start what is emulated, open and identify all, set voltages, limits and attenuations; outputs stay as
    they are (an emulated supply begins switched off, and so do its boards).

    `loads` are the boards by seat that emulated supplies feed; their `power_changed` is called in order and
    off the instruments' thread, and may take its time. `path_losses` are told the attenuation in 0.01 dB by
    branch. Raises RackError for tables that do not fit these, InfrastructureError for an instrument that
    cannot be used; nothing stays open then.
    """
    check_tables(tables)
    with ExitStack() as closing:
        # Closed last: what the instruments' thread has handed over is still delivered.
        power = closing.enter_context(PowerDelivery())
        rack = Rack(tables, closing, power)
        rack._open(loads or {}, path_losses or {})
        rack._closing = closing.pop_all()
    return rack


def check_tables(tables: Instruments) -> None:
    """Raises RackError for what no rack can be, whatever the rig."""
    outputs = [(supply.resource, supply.channel) for supply in tables.supply]
    for resource, channel in outputs:
        if outputs.count((resource, channel)) > 1:
            where = resource or "the emulated supply"
            raise RackError(f"{SUPPLY}: output {channel} of {where} stands twice; give each its channel")
        if not resource and not 1 <= channel <= len(DP832):
            raise RackError(f"{SUPPLY}: found channel = {channel}, the emulated one has 1 to {len(DP832)}")
    fed = [seat for supply in tables.supply for seat in supply.feeds]
    for seat in fed:
        if fed.count(seat) > 1:
            raise RackError(f"{SUPPLY}: {seat} is fed twice; leave it in one of the feeds")
    branches = [attenuator.branch for attenuator in tables.attenuator]
    for branch in branches:
        if branches.count(branch) > 1:
            raise RackError(f"{ATTENUATOR}: branch {branch} has two of them; leave one")


def survey(tables: Instruments) -> tuple[Found | InstrumentError, ...]:
    """Ask every real instrument who it is, and set nothing: what `bench doctor` tells."""
    told: dict[str, Found | InstrumentError] = {}
    for supply in tables.supply:
        if supply.kind == "real" and supply.resource not in told:
            told[supply.resource] = _asked(SUPPLY, supply, identify_supply)
    if tables.power_meter is not None and tables.power_meter.kind == "real":
        told[tables.power_meter.resource] = _asked(POWER_METER, tables.power_meter, identify_power_meter)
    for attenuator in tables.attenuator:
        if attenuator.kind == "real":
            seat = f"{ATTENUATOR} of {attenuator.branch}"
            identified = partial(open_attenuator, dialect=attenuator.dialect)
            told[attenuator.resource] = _asked(seat, attenuator, identified)
    return tuple(told.values())


def _opened(seat: str, table: Instrument, resource: str) -> VisaLink:
    if isinstance(table, PowerMeterTable):
        return VisaLink(seat, resource, baud_rate=table.baud_rate, error_query=ERROR_QUERY)
    return VisaLink(seat, resource, baud_rate=table.baud_rate)


def _asked(
    seat: str,
    table: Instrument,
    identified: Callable[[VisaLink, str], object],
) -> Found | InstrumentError:
    try:
        with _opened(seat, table, table.resource) as link:
            identified(link, table.identity)
            return Found(seat, table.kind, table.resource, link.identification)
    except InstrumentError as error:
        return error


@dataclass(frozen=True, slots=True)
class _Emulated:
    """The models that the tables ask for."""

    supply: SupplyInstrument
    meter: PowerMeterInstrument
    attenuators: Mapping[str, AttenuatorInstrument]

    @classmethod
    def of(
        cls,
        tables: Instruments,
        loads: Mapping[str, Load],
        path_losses: Mapping[str, Callable[[int], None]],
        power: PowerDelivery,
    ) -> _Emulated:
        fed = {supply.channel: supply.feeds for supply in tables.supply if supply.kind == "emulated"}
        for seat in (seat for feeds in fed.values() for seat in feeds):
            if seat not in loads:
                known = ", ".join(sorted(loads)) or "none"
                raise RackError(
                    f"{SUPPLY}: feeds names {seat}, which is no emulated board (these are: {known})"
                )
        channels = [
            SupplyChannel([loads[seat] for seat in fed.get(number, ())], power.put)
            for number in range(1, len(DP832) + 1)
        ]
        meter = tables.power_meter
        behind = meter.channel if meter is not None and meter.kind == "emulated" else 1
        if not 1 <= behind <= len(channels):
            raise RackError(
                f"{POWER_METER}: found channel = {behind}, the emulated supply has 1 to {len(DP832)}"
            )
        attenuators = {}
        for table in tables.attenuator:
            if table.kind == "emulated":
                if table.branch not in path_losses:
                    known = ", ".join(sorted(path_losses)) or "none"
                    raise RackError(
                        f"{ATTENUATOR}: branch {table.branch} has no emulated radio ({known} have)"
                    )
                attenuators[table.branch] = AttenuatorInstrument(path_losses[table.branch])
        return cls(SupplyInstrument(channels), PowerMeterInstrument([channels[behind - 1]]), attenuators)

    @property
    def instruments(self) -> tuple[ScpiInstrument, ...]:
        return (self.supply, self.meter, *self.attenuators.values())


class PowerDelivery(Closable):
    """A thread that switches boards, one event after the other, so that a board may take its time over it."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[PowerEvent | None] = queue.SimpleQueue()
        self._powered: dict[str, bool] = {}
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._deliver, name="power-delivery", daemon=True)
        self._thread.start()

    def put(self, event: PowerEvent) -> None:
        """Hand an event over; it is delivered after all before it."""
        self._events.put(event)

    def is_powered(self, seat: str) -> bool:
        """Whether the last event that was delivered to a seat gave it power."""
        return self._powered.get(seat, False)

    @property
    def failures(self) -> tuple[str, ...]:
        """What boards raised when they were to be switched."""
        return tuple(self._failures)

    def close(self) -> None:
        """Deliver what was handed over, and end."""
        self._events.put(None)
        self._thread.join()

    def _deliver(self) -> None:
        while (event := self._events.get()) is not None:
            name, word = event.load.name, "on" if event.powered else "off"
            try:
                event.load.power_changed(event.powered)
            # A board that fails must not take the supply from the others; the report tells of it.
            except Exception as error:
                self._failures.append(f"{name} could not be switched {word}: {error or type(error).__name__}")
            else:
                self._powered[name] = event.powered
