"""The rig as data: sensors, Unos, radio, Pi and server of one run, and the criteria it must meet.

Every class is one table of a rig file and is frozen. Units stand in the names. A rig file's numbers
may have decimals where people think in them (dB, shares); what decides an outcome reads the integer
properties beside them (`loss_ppm`, `path_loss_cdb`, `bandwidth_hz`).
"""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.rig.criteria import UNSEEN_OF_REAL_UNOS, Criterion, CriterionError, parse_criterion
from bench.rig.instruments import Attenuator, Instruments, PowerMeter, Supply
from bench.rig.part import Part, choice, problem
from bench.rig.problem import RigError, nearest, problems_of, show
from ledger.block import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Callable

S0_PINS = 12
"""S0 inputs of an Uno without an AC channel."""

S0_PINS_PER_MAINS = 2
"""Inputs that each AC channel takes from them (voltage and current)."""

MAINS_CHANNELS = 2
"""AC channels an Uno has pins for: A0 and A1, A2 and A3."""

BANDWIDTHS_HZ: dict[float, int] = {125: 125_000, 250: 250_000, 500: 500_000}
"""The SX1278's bandwidths that the gateway's driver sets, by their name in kHz."""

HIGHEST_PATH_LOSS_DB = 200.0
"""Nobody hears anybody."""

DEFAULT_CRITERIA = {"delivered": ">= 0.99", "altered": "== 0", "unaccounted": "== 0"}
"""What a rig file without ``[criteria]`` is judged by."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_RADIO_PORT = re.compile(r"spidev:\d{1,3}\.\d{1,3}|(serial|hc12):(/|socket://|rfc2217://)\S+")
_HOST_AND_PORT = re.compile(r"[^:/\s]+:(\d{1,5})")
_SEATS = {"virtual": "", "emulated": "", "real": ""}
_TIMES = {"virtual": "virtual time", "emulated": "the wall clock", "real": "the wall clock"}
_PROFILES = {
    "collect": "",
    "sign": "the sign profile does not exist yet",
    "node": "the node profile does not exist yet",
}
_CHIPS = {"sx1278": "", "hc12": "the HC-12 does not exist yet"}
_MACS = {"aloha-ack": "", "tdma": "beaconed TDMA does not exist yet"}


def _name(value: object) -> object:
    if not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise problem(
            f"found {show(value)}, expected a name of 1 to 32 letters, digits, '-' or '_'"
            " that begins with a letter or digit"
        )
    return value


def _located(value: object, information: ValidationInfo) -> object:
    """A file named in a rig file: found by the loader, which knows where the rig file lies."""
    if isinstance(value, str) and information.context is not None:
        try:
            return information.context(value)
        except OSError as error:
            raise problem(str(error)) from None
    return value


def _host_key(value: object) -> object:
    """Only a key that can be compared pins anything: a fingerprint alone, or nothing, does not."""
    fields = value.split() if isinstance(value, str) else []
    try:
        if len(fields) < 2 or not base64.b64decode(fields[1], validate=True).startswith(
            len(fields[0]).to_bytes(4, "big") + fields[0].encode()
        ):
            raise ValueError
    except ValueError:
        raise problem(
            f'found {show(value)}, expected the host\'s public key, "ssh-ed25519 AAAA...", as ssh-keyscan'
            " prints it behind the host's name; compare it with the one on the host's own screen"
        ) from None
    return value


def _radio_port(value: str) -> str:
    """The forms that a gateway's configuration has for it (`ledger.service.config`)."""
    if not _RADIO_PORT.fullmatch(value):
        raise problem(
            f'found {show(value)}, expected "spidev:0.0", "serial:/dev/ttyUSB0", "serial:socket://HOST:PORT"'
            ' or "hc12:/dev/ttyUSB0"'
        )
    return value


def _endpoint(value: str) -> str:
    matched = _HOST_AND_PORT.fullmatch(value)
    if matched is None or not 1 <= int(matched[1]) <= 65_535:
        raise problem(f'found {show(value)}, expected host and port, like "192.0.2.10:51820"')
    return value


def _at_least_one(values: tuple[Part, ...]) -> tuple[Part, ...]:
    if not values:
        raise problem("found an empty list, expected one entry or more")
    return values


def _named_lines(table: object) -> object:
    """Tells each criterion its name."""
    if not isinstance(table, dict):
        return table
    return {name: value if isinstance(value, Criterion) else (name, value) for name, value in table.items()}


def _criterion(value: object) -> object:
    if isinstance(value, Criterion):
        return value
    assert isinstance(value, tuple)
    name, text = value
    try:
        return parse_criterion(name, text if isinstance(text, str) else show(text))
    except CriterionError as error:
        raise problem(str(error)) from None


Seat = Annotated[str, choice("seat", _SEATS)]
Probability = Annotated[float, Field(ge=0, le=1)]
File = Annotated[Path, BeforeValidator(_located), Field(strict=False)]


class Sensors(Part):
    """Meters of one sort on every Uno of a branch.

    `s0` is a pulse output on a digital pin, `mains` a pair of AC voltage and current on ADC pins.
    """

    kind: Annotated[Literal["s0", "mains"], choice("sensor kind", {"s0": "", "mains": ""})]
    per_uno: Annotated[int, Field(ge=1, le=S0_PINS)] = 1
    pulses_per_kwh: Annotated[int, Field(ge=1, le=100_000)] = 1000
    columns: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Columns of the data set to play, in order; none: all that fit, repeated when there are too few."""
    units: dict[str, str] = Field(default_factory=dict)
    """Unit of a column whose name does not end in one: ``{ load = "w" }``."""

    @model_validator(mode="after")
    def _mains_pins(self) -> Self:
        if self.kind == "mains" and self.per_uno > MAINS_CHANNELS:
            raise problem(f"found per_uno = {self.per_uno}, expected 1 or 2: an Uno has two AC channels")
        return self


class Login(Part):
    """How to log in to a host by SSH: with a key, and only if the host shows the key that is pinned here."""

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    user: Annotated[str, Field(min_length=1, max_length=64)]
    identity: Annotated[str, Field(min_length=1)]
    """Path of the private key; ``~`` is the home folder of whoever runs the bench."""
    host_key: Annotated[str, BeforeValidator(_host_key)]
    """The host's public key, ``ssh-ed25519 AAAA...``: what ``ssh-keyscan HOST`` prints, once checked."""


class Uno(Part):
    """The Unos of a branch, all alike."""

    kind: Seat = "virtual"
    count: Annotated[int, Field(ge=1, le=4096)] = 1
    ports: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)] = ()
    """Serial ports of real boards, one for each: ``/dev/ttyACM0``, ``rfc2217://host:port``."""
    stimuli: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)] = ()
    """Serial ports of the stimulus Unos that play into the pins of real boards, in the same order."""
    profile: Annotated[str, choice("profile", _PROFILES)] = "collect"
    interval_s: Annotated[int, Field(ge=5, le=3600)] = 60
    clock_ppm: Annotated[int, Field(ge=-5000, le=5000)] = 0
    """How much faster than nominal the Uno's 16 MHz resonator runs (ceramic resonators: up to 5000)."""

    @model_validator(mode="before")
    @classmethod
    def _one_per_port(cls, table: object) -> object:
        """Real boards are counted by their ports."""
        if isinstance(table, dict) and isinstance(table.get("ports"), list) and table["ports"]:
            return {"count": len(table["ports"]), **table}
        return table

    def first(self, count: int | None) -> dict[str, object]:
        """Count and ports of the first `count` boards, of all for None; no more ports than there are."""
        if count is None:
            return {}
        return {"count": count, "ports": self.ports[:count], "stimuli": self.stimuli[:count]}

    @model_validator(mode="after")
    def _boards(self) -> Self:
        if self.kind == "real" and len(self.ports) != self.count:
            raise problem(f"found {len(self.ports)} ports for {self.count} real Unos, expected one for each")
        if self.kind == "real" and len(self.stimuli) != self.count:
            raise problem(
                f"found {len(self.stimuli)} stimuli for {self.count} real Unos, expected the port of a"
                " stimulus Uno for each (firmware/stimulus/README.md)"
            )
        if self.kind != "real" and (self.ports or self.stimuli):
            raise problem(f"found ports or stimuli with {self.kind} Unos, expected them with real ones only")
        ports = (*self.ports, *self.stimuli)
        if len(set(ports)) != len(ports):
            raise problem("found a port twice, expected one board on each")
        return self


class Burst(Part):
    """Gilbert burst loss (Gilbert 1960): while the link is bad, every frame is lost.

    Without outages the mean loss is enter / (enter + leave), and a burst lasts 1 / leave frames.
    """

    enter: Probability
    """Chance per frame that a good link turns bad."""
    leave: Annotated[float, Field(gt=0, le=1)]
    """Chance per frame that a bad link turns good."""
    outage_enter: Probability = 0.0
    """Chance per frame that a good link falls into a long outage."""
    outage_leave: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Chance per frame that a long outage ends."""

    @model_validator(mode="after")
    def _chances(self) -> Self:
        if self.enter + self.outage_enter > 1:
            raise problem("enter and outage_enter make more than 1 together")
        return self

    @property
    def enter_ppm(self) -> int:
        """`enter` in parts per million."""
        return _ppm(self.enter)

    @property
    def leave_ppm(self) -> int:
        """`leave` in parts per million."""
        return _ppm(self.leave)

    @property
    def outage_enter_ppm(self) -> int:
        """`outage_enter` in parts per million."""
        return _ppm(self.outage_enter)

    @property
    def outage_leave_ppm(self) -> int:
        """`outage_leave` in parts per million."""
        return _ppm(self.outage_leave)


class Radio(Part):
    """The radio between a branch's Unos and its gateway, and the link it works over."""

    chip: Annotated[str, choice("radio chip", _CHIPS)] = "sx1278"
    spreading_factor: Annotated[int, Field(ge=7, le=12)] = 7
    bandwidth_khz: float = 125
    coding_rate: Literal["4/5", "4/6", "4/7", "4/8"] = "4/5"
    mac: Annotated[str, choice("mac", _MACS)] = "aloha-ack"
    loss: Probability = 0.0
    """Independent loss per frame and direction, on top of collisions and of what path loss costs."""
    burst: Burst | None = None
    """Loss in bursts, instead of independent loss."""
    tx_power_dbm: int = 10
    path_loss_db: Annotated[float, Field(ge=0, le=HIGHEST_PATH_LOSS_DB)] = 100.0
    ack_timeout_ms: Annotated[int, Field(ge=20, le=10_000)] = 0
    """How long an Uno listens for its acknowledgement; left out, it follows from the air rate."""
    frequency_hz: Annotated[int, Field(ge=410_000_000, le=525_000_000)] = 433_175_000

    @field_validator("bandwidth_khz", mode="after")
    @classmethod
    def _known_bandwidth(cls, value: float) -> float:
        if value not in BANDWIDTHS_HZ:
            raise problem(f"found {value:g}, expected one of {', '.join(f'{b:g}' for b in BANDWIDTHS_HZ)}")
        return value

    @field_validator("tx_power_dbm", mode="after")
    @classmethod
    def _known_power(cls, value: int) -> int:
        # PA_BOOST (datasheet rev. 7, section 5.4.3). 20 dBm take RegPaDac, which the firmware leaves alone.
        if value not in range(2, 18):
            raise problem(f"found {value}, expected 2 to 17")
        return value

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        if self.burst is not None and self.loss > 0:
            raise problem("found loss and burst, expected one of them")
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_ack_timeout(cls, table: object) -> object:
        """An ACK of 19 bytes takes at most 72 symbols with its preamble, at any SF and coding rate."""
        if not isinstance(table, dict) or "ack_timeout_ms" in table:
            return table
        spreading_factor, bandwidth_khz = table.get("spreading_factor", 7), table.get("bandwidth_khz", 125)
        timeout_ms = GATEWAY_REPLY_MS
        known_rate = isinstance(bandwidth_khz, int | float) and bandwidth_khz in BANDWIDTHS_HZ
        if spreading_factor in range(7, 13) and known_rate:
            timeout_ms += 72 * 1000 * 2**spreading_factor // BANDWIDTHS_HZ[bandwidth_khz]
        return {**table, "ack_timeout_ms": min(timeout_ms, 10_000)}

    @property
    def bandwidth_hz(self) -> int:
        """Bandwidth in Hz."""
        return BANDWIDTHS_HZ[self.bandwidth_khz]

    @property
    def coding_rate_denominator(self) -> int:
        """5 to 8, for the coding rates 4/5 to 4/8."""
        return int(self.coding_rate[-1])

    @property
    def loss_ppm(self) -> int:
        """Independent loss in parts per million."""
        return _ppm(self.loss)

    @property
    def path_loss_cdb(self) -> int:
        """Path loss in 0.01 dB."""
        return round(self.path_loss_db * 100)


GATEWAY_REPLY_MS = 250
"""What the default ACK timeout leaves a gateway for opening, storing and answering a frame."""


class Pi(Part):
    """The branch's gateway and the calibration its costs are taken from."""

    kind: Seat = "virtual"
    calibration: File
    card_writes_per_s: Annotated[int, Field(ge=20, le=100_000)] | None = None
    """Write rate of an emulated Pi's card (4 KiB writes); left out, it is as fast as the host's disk."""
    login: Login | None = None
    """Where a real Pi is."""
    radio: Annotated[str, AfterValidator(_radio_port)] | None = None
    """The radio as a real Pi sees it: ``spidev:0.0``, ``serial:/dev/ttyUSB0``, ``hc12:/dev/ttyS0``."""
    dio0_gpio: Annotated[int, Field(ge=0, le=53)] = 25
    """GPIO of a real Pi that the radio's DIO0 is wired to."""
    reset_gpio: Annotated[int, Field(ge=0, le=53)] | None = None
    """GPIO of a real Pi that the radio's RESET is wired to."""
    bench_line: str | None = None
    """The bench's end of the serial line by which a real Pi reaches the radio among emulated Unos: a port, or
    an emulator's Unix socket."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 64
    """Readings that fill a block."""
    batch_age_s: Annotated[int, Field(ge=1, le=86_400)] = 10
    """Age of the oldest waiting reading at which a block is sealed although it is not full."""

    @model_validator(mode="after")
    def _where_it_is(self) -> Self:
        if self.kind == "real" and self.login is None:
            raise problem(
                "found a real Pi without login, expected login = { host, user, identity, host_key }"
            )
        for key in ("login", "radio", "bench_line", "dio0_gpio", "reset_gpio"):
            if self.kind != "real" and key in self.model_fields_set:
                raise problem(f"found {key} with a Pi that is {self.kind}, expected it with a real one only")
        if self.kind != "emulated" and self.card_writes_per_s is not None:
            raise problem(
                f"found card_writes_per_s with a Pi that is {self.kind}, expected it with an emulated one"
            )
        return self

    @property
    def radio_port(self) -> str:
        """Where a real Pi has its radio: what the rig file says, or else the first chip select of its SPI."""
        return self.radio or "spidev:0.0"


class Outage(Part):
    """A span of virtual time during which the uplink carries nothing."""

    from_s: Annotated[int, Field(ge=0)]
    to_s: int

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise problem(f"found {len(value)} numbers, expected [from_s, to_s]")
            return {"from_s": value[0], "to_s": value[1]}
        return value

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to_s <= self.from_s:
            raise problem(f"found [{self.from_s}, {self.to_s}], expected an end after the beginning")
        return self


class Uplink(Part):
    """The connection from a gateway to the server."""

    delay_ms: Annotated[int, Field(ge=1, le=600_000)] = 40
    jitter_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    loss: Probability = 0.0
    outages: Annotated[tuple[Outage, ...], Field(strict=False)] = ()

    @field_validator("outages", mode="after")
    @classmethod
    def _ascending(cls, outages: tuple[Outage, ...]) -> tuple[Outage, ...]:
        for earlier, later in pairwise(outages):
            if later.from_s < earlier.to_s:
                raise problem(
                    f"found [{later.from_s}, {later.to_s}] after [{earlier.from_s}, {earlier.to_s}],"
                    " expected outages in order and without overlap"
                )
        return outages

    @property
    def loss_ppm(self) -> int:
        """Loss per message in parts per million."""
        return _ppm(self.loss)

    def without_outages(self) -> Uplink:
        """The same, never cut."""
        return self.model_copy(update={"outages": ()})


class Server(Part):
    """The server that all branches sync to."""

    kind: Seat = "virtual"
    vpn: Literal["wireguard", "none"] = "wireguard"
    """What joins Pis and server off the virtual rig; ``none`` is for loopback alone."""
    login: Login | None = None
    """Where a real server is."""
    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    """Where this machine, which leads the Pis' way, reaches a real server's WireGuard: ``host:port``."""

    @model_validator(mode="after")
    def _where_it_is(self) -> Self:
        real = self.kind == "real"
        for key in ("login", "endpoint"):
            if real and getattr(self, key) is None:
                raise problem(f"found a real server without {key}")
            if not real and getattr(self, key) is not None:
                raise problem(
                    f"found {key} with a server that is {self.kind}, expected it with a real one only"
                )
        if real and self.vpn == "none":
            raise problem(
                'found vpn = "none" with a real server, expected "wireguard": it listens nowhere else'
            )
        return self


class Branch(Part):
    """Sensors, Unos, radio and one Pi, with the data set that is played into them."""

    name: Annotated[str, BeforeValidator(_name)]
    data: File
    sensors: Annotated[tuple[Sensors, ...], Field(strict=False), AfterValidator(_at_least_one)]
    uno: Uno = Field(default_factory=Uno)
    radio: Radio = Field(default_factory=lambda: Radio.model_validate({}))
    pi: Pi
    uplink: Uplink = Field(default_factory=Uplink)

    @field_validator("sensors", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _pins(self) -> Self:
        mains, s0 = self.mains_per_uno, self.s0_per_uno
        if mains > MAINS_CHANNELS:
            raise problem(f"found {mains} mains sensors per Uno, expected at most {MAINS_CHANNELS}")
        room = S0_PINS - S0_PINS_PER_MAINS * mains
        if s0 > room:
            raise problem(
                f"found {s0} S0 sensors per Uno, expected at most {room}"
                + (f": each of the {mains} mains sensors takes two pins" if mains else "")
            )
        return self

    @model_validator(mode="after")
    def _one_air(self) -> Self:
        """Unos and Pi hear each other: over the lab's air, or a modelled one that the Pi has a line to."""
        if self.pi.radio_port.startswith("hc12:"):
            raise problem(
                f"found an HC-12 at the Pi, expected pi.radio with the chip of the Unos, {self.radio.chip}"
            )
        if self.uno.kind == "real":
            if self.radio.loss > 0 or self.radio.burst is not None:
                raise problem(
                    "found loss on the radio of real Unos, expected loss = 0 and no burst:"
                    " they lose what the air, or an attenuator, makes them lose"
                )
            if self.mains_per_uno:
                raise problem(
                    'found sensors of kind "mains" with real Unos, expected kind "s0":'
                    " a stimulus Uno plays pulses and no AC"
                )
            if self.pi.kind == "emulated":
                raise problem(
                    "found real Unos with an emulated Pi, which has no radio to hear them:"
                    " expected a real Pi, or emulated Unos"
                )
            if self.pi.bench_line is not None:
                raise problem(
                    "found pi.bench_line with real Unos, expected it with emulated ones only:"
                    " a real Pi hears real Unos by a radio of its own"
                )
        elif self.uno.kind == "emulated" and self.pi.kind == "real":
            if self.pi.bench_line is None:
                raise problem(
                    "found a real Pi among emulated Unos without pi.bench_line, expected the bench's end of"
                    " the serial line by which the Pi reaches their radio"
                )
            if not self.pi.radio_port.startswith("serial:"):
                raise problem(
                    f"found a real Pi among emulated Unos with its radio at {show(self.pi.radio_port)},"
                    ' expected pi.radio = "serial:...", the Pi\'s end of the line to their radio'
                )
        return self

    @property
    def s0_per_uno(self) -> int:
        """S0 pulse inputs in use on every Uno."""
        return sum(sensors.per_uno for sensors in self.sensors if sensors.kind == "s0")

    @property
    def mains_per_uno(self) -> int:
        """AC channels in use on every Uno."""
        return sum(sensors.per_uno for sensors in self.sensors if sensors.kind == "mains")


class Heading(Part):
    """The ``[rig]`` table."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


class Rig(Part):
    """One whole rig. Made by `bench.rig.loader.load_rig`."""

    rig: Heading
    branch: Annotated[tuple[Branch, ...], Field(strict=False), AfterValidator(_at_least_one)]
    server: Server = Field(default_factory=Server)
    instruments: Instruments = Field(default_factory=Instruments)
    criteria: Annotated[
        dict[str, Annotated[Criterion, BeforeValidator(_criterion)]], BeforeValidator(_named_lines)
    ] = Field(default_factory=lambda: dict(DEFAULT_CRITERIA), validate_default=True)
    """The bounds to keep, by the name of the figure."""

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        """Virtual seats keep virtual time, all others the wall clock: they cannot be joined."""
        seats = [("server", self.server.kind)]
        for branch in self.branch:
            if branch.pi.kind == "real" and self.server.vpn == "none":
                raise problem(
                    f'found vpn = "none" with the real Pi of {branch.name}, expected "wireguard": only'
                    " emulated Pis find the server on this machine's loopback"
                )
            if self.server.vpn == "none" and branch.uplink != Uplink():
                raise problem(
                    f'found vpn = "none" with an uplink for {branch.name}, expected "wireguard": only the VPN'
                    " leads through the relay that delays, loses and cuts"
                )
            seats += [(f"Unos of {branch.name}", branch.uno.kind), (f"Pi of {branch.name}", branch.pi.kind)]
        first_seat, first_kind = seats[0]
        for seat, kind in seats:
            if _TIMES[kind] != _TIMES[first_kind]:
                raise problem(
                    f"found {first_kind} for the {first_seat}, which keeps {_TIMES[first_kind]}, and {kind}"
                    f" for the {seat}, which keeps {_TIMES[kind]}: expected one of both for all seats"
                )
        return self

    @model_validator(mode="after")
    def _connected_instruments(self) -> Self:
        """Instruments belong to rigs on the wall clock, and to seats that the rig has."""
        instruments = self.instruments
        if not self.is_paced and instruments != Instruments():
            raise problem(
                "found instruments on a virtual rig, expected them where seats are emulated or real"
            )
        seats = {f"{branch.name}/pi": branch.pi.kind for branch in self.branch}
        for branch in self.branch:
            seats |= {f"{branch.name}/uno-{n + 1}": branch.uno.kind for n in range(branch.uno.count)}
        for supply in instruments.supply:
            for fed in supply.feeds:
                if fed not in seats:
                    close = nearest(fed, seats)
                    raise problem(
                        f"found a supply that feeds {show(fed)}, which this rig does not have"
                        + (f'; did you mean "{close}"?' if close else "")
                    )
                if seats[fed] != supply.kind:
                    raise problem(
                        f"found {show(fed)}, which is {seats[fed]}, on the leads of a supply that is"
                        f" {supply.kind}: expected both of one kind"
                    )
        airs = {branch.name: branch.uno.kind for branch in self.branch}
        for attenuator in instruments.attenuator:
            air = airs.get(attenuator.branch)
            if air is None:
                raise problem(f"found an attenuator for {show(attenuator.branch)}, which is no branch")
            if air != attenuator.kind:
                raise problem(
                    f"found an attenuator that is {attenuator.kind} for {show(attenuator.branch)}, whose air"
                    f" is {air}: expected both of one kind"
                )
        return self

    @model_validator(mode="after")
    def _measured_criteria(self) -> Self:
        """A criterion that nothing measures would fail every trial."""
        if all(branch.uno.kind == "real" for branch in self.branch):
            for name in self.criteria:
                if name in UNSEEN_OF_REAL_UNOS:
                    raise problem(
                        f"found {name} among the criteria of real Unos, expected none of"
                        f" {', '.join(UNSEEN_OF_REAL_UNOS)}: nobody looks into those, nor hears their radio"
                    )
        return self

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [branch.name for branch in self.branch]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise problem(f"the branch name {show(twice[0])} stands twice, expected different ones")
        return self

    @property
    def name(self) -> str:
        """The rig's name."""
        return self.rig.name

    @property
    def is_paced(self) -> bool:
        """Whether the rig keeps the wall clock: its seats are emulated or real."""
        return self.server.kind != "virtual"

    @property
    def kind(self) -> str:
        """What its figures are: real only where every seat is."""
        seats = {self.server.kind}
        seats |= {kind for branch in self.branch for kind in (branch.uno.kind, branch.pi.kind)}
        return seats.pop() if len(seats) == 1 else "emulated"

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches, in the order of the file."""
        return self.branch

    def supply_of(self, seat: str) -> Supply | None:
        """The output that feeds a seat, where one does."""
        return next((supply for supply in self.instruments.supply if seat in supply.feeds), None)

    def can_cut_power(self, branch: Branch) -> bool:
        """Whether the bench can pull the plug of the branch's Pi: it is emulated, or a supply feeds it."""
        return branch.pi.kind == "emulated" or self.supply_of(f"{branch.name}/pi") is not None

    def attenuated(self, branch: Branch) -> Branch:
        """The branch with what the emulated attenuators in it take counted as path loss."""
        radio = branch.radio
        taken_db = sum(
            attenuator.attenuation_db
            for attenuator in self.instruments.attenuator
            if attenuator.branch == branch.name and attenuator.kind == "emulated"
        )
        path_loss_db = min(HIGHEST_PATH_LOSS_DB, radio.path_loss_db + taken_db)
        return branch.model_copy(update={"radio": radio.model_copy(update={"path_loss_db": path_loss_db})})

    def without_outages(self) -> Rig:
        """The same rig with uplinks that are never cut."""
        branches = tuple(
            branch.model_copy(update={"uplink": branch.uplink.without_outages()}) for branch in self.branches
        )
        return self.model_copy(update={"branch": branches})

    def virtual_twin(self) -> Rig:
        """The same rig with every seat virtual: what a trial on the wall clock is held against."""
        branches = [
            {
                **dict(branch),
                "uno": {**dict(branch.uno), "kind": "virtual", "ports": (), "stimuli": ()},
                "pi": Pi(
                    calibration=branch.pi.calibration,
                    batch_size=branch.pi.batch_size,
                    batch_age_s=branch.pi.batch_age_s,
                ),
            }
            for branch in map(self.attenuated, self.branch)
        ]
        twin = {**dict(self), "branch": branches, "server": Server(), "instruments": Instruments()}
        return rig_from(twin, f"twin of {self.name}")

    def with_changes(
        self,
        *,
        data: Path | None = None,
        loss: float | None = None,
        unos: int | None = None,
        sensors_per_uno: int | None = None,
        interval_s: int | None = None,
    ) -> Rig:
        """The same rig with some values changed in every branch; what is None stays.

        A loss takes the place of burst loss. Where a branch has several sorts of sensors,
        `sensors_per_uno` counts the first.

        Raises:
            RigError: when the changed rig would break a limit.
        """
        branches = [
            _changed(
                branch,
                data=data,
                radio=branch.radio if loss is None else {**dict(branch.radio), "loss": loss, "burst": None},
                uno=_changed(branch.uno, **branch.uno.first(unos), interval_s=interval_s),
                sensors=(_changed(branch.sensors[0], per_uno=sensors_per_uno), *branch.sensors[1:]),
            )
            for branch in self.branch
        ]
        changed = {**dict(self), "branch": branches}
        if unos is not None:
            changed["instruments"] = self.instruments.without_unos_beyond(unos)
        return rig_from(changed, "changed rig")


def _changed(part: Part, **values: object) -> dict[str, object]:
    return {**dict(part), **{key: value for key, value in values.items() if value is not None}}


TABLES: dict[str, type[BaseModel]] = {
    "": Rig,
    "rig": Heading,
    "branch": Branch,
    "branch.sensors": Sensors,
    "branch.uno": Uno,
    "branch.radio": Radio,
    "branch.radio.burst": Burst,
    "branch.pi": Pi,
    "branch.pi.login": Login,
    "branch.uplink": Uplink,
    "server": Server,
    "server.login": Login,
    "instruments": Instruments,
    "instruments.supply": Supply,
    "instruments.power_meter": PowerMeter,
    "instruments.attenuator": Attenuator,
}
"""The model that reads each table of a rig file."""


def rig_from(document: dict[str, Any], source: str, locate: Callable[[str], Path] | None = None) -> Rig:
    """Build a rig from a parsed document; `locate` turns a file's text into its path or raises OSError.

    Raises:
        RigError: naming `source` and every problem.
    """
    try:
        return Rig.model_validate(document, context=locate)
    except ValidationError as error:
        raise RigError(source, problems_of(error, document, TABLES)) from None


def _ppm(share: float) -> int:
    return round(share * 1_000_000)
