"""The instruments of a rig as data: the [instruments] tables of a rig file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bench.rig.part import Part, choice, problem


class Instrument(Part):
    """An instrument: emulated, or real and named by its VISA resource."""

    kind: Annotated[Literal["emulated", "real"], choice("instrument", {"emulated": "", "real": ""})]
    resource: str = ""
    """VISA resource of a real one: ``TCPIP::192.0.2.7::5025::SOCKET``, ``USB0::0x1AB1::...::INSTR``."""
    identity: str = ""
    """Text that its answer to ``*IDN?`` must hold; left out, one of the kinds that the bench knows."""
    baud_rate: Annotated[int, Field(ge=300, le=921_600)] | None = None
    """Of a serial one (``ASRL...``)."""

    @model_validator(mode="after")
    def _where_it_is(self) -> Self:
        if self.kind == "real" and not self.resource:
            raise problem("found a real instrument without resource, expected its VISA resource")
        if self.kind == "emulated" and self.resource:
            raise problem("found resource with an emulated instrument, expected it with a real one only")
        return self


class Supply(Instrument):
    """One output of a programmable supply, and the seats on its leads."""

    voltage_mv: Annotated[int, Field(ge=0, le=60_000)]
    current_limit_ma: Annotated[int, Field(ge=1, le=50_000)]
    feeds: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """``east/pi``, ``east/uno-1``."""
    channel: Annotated[int, Field(ge=1, le=8)] = 1


class PowerMeter(Instrument):
    """A power meter: its element when it is real, the supply's output it sits behind when it is emulated."""

    channel: Annotated[int, Field(ge=1, le=8)] = 1


class Attenuator(Instrument):
    """A step attenuator in the radio path of a branch."""

    branch: str
    attenuation_db: Annotated[float, Field(ge=0, le=130)] = 0.0
    dialect: Literal["scpi", "mini-circuits"] = "scpi"

    @property
    def attenuation_cdb(self) -> int:
        """The attenuation in 0.01 dB."""
        return round(self.attenuation_db * 100)


class Instruments(Part):
    """The instruments of a rig."""

    supply: Annotated[tuple[Supply, ...], Field(strict=False)] = ()
    power_meter: PowerMeter | None = None
    attenuator: Annotated[tuple[Attenuator, ...], Field(strict=False)] = ()

    @property
    def real(self) -> Self:
        """The real ones alone."""
        meter = self.power_meter
        return self.model_copy(
            update={
                "supply": tuple(supply for supply in self.supply if supply.kind == "real"),
                "power_meter": meter if meter is not None and meter.kind == "real" else None,
                "attenuator": tuple(each for each in self.attenuator if each.kind == "real"),
            }
        )

    def without_unos_beyond(self, count: int) -> Self:
        """The same, with no more than so many Unos of each branch on the supply's leads."""

        def stays(seat: str) -> bool:
            _, uno, number = seat.partition("/uno-")
            return not uno or int(number) <= count

        supplies = (
            supply.model_copy(update={"feeds": tuple(filter(stays, supply.feeds))}) for supply in self.supply
        )
        return self.model_copy(update={"supply": tuple(supplies)})
