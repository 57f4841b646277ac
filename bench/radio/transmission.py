"""What the medium keeps of channels, stations and packets on the air. Internal to the medium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.radio import airtime

if TYPE_CHECKING:
    from bench.radio.loss import LinkLoss
    from bench.radio.modulation import Modulation, Packet
    from bench.radio.reception import Listener, ReceptionRule


class Appointment(Protocol):
    """Something due, which may be called off."""

    def cancel(self) -> None:
        """Call it off."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """The ends of a transmission's stages, from its start."""

    acquire_ns: int
    lock_ns: int
    header_ns: int
    end_ns: int


class Channel:
    """A modulation, with what it means to packets and to other modulations worked out once."""

    __slots__ = (
        "_hears",
        "_required_cdb",
        "_rule",
        "_timings",
        "modulation",
        "noise_cdbm",
        "sensitivity_cdbm",
    )

    def __init__(self, modulation: Modulation, rule: ReceptionRule) -> None:
        self.modulation = modulation
        factor, bandwidth = modulation.spreading_factor, modulation.bandwidth_code
        self.noise_cdbm = airtime.noise_floor_cdbm(bandwidth, rule.noise_figure_cdb)
        self.sensitivity_cdbm = airtime.sensitivity_cdbm(factor, bandwidth, rule.noise_figure_cdb)
        self._rule = rule
        self._hears: dict[Channel, bool] = {}
        self._required_cdb: dict[Channel, int | None] = {}
        self._timings: dict[tuple[int, int, bool, int], Timing] = {}

    def timing(self, packet: Packet) -> Timing:
        """The stages of a packet sent so."""
        form = (len(packet.payload), packet.coding_rate, packet.crc, packet.preamble_symbols)
        timing = self._timings.get(form)
        if timing is None:
            modulation = self.modulation
            symbol_ns = modulation.symbol_ns
            lock_ns = airtime.preamble_ns(
                packet.preamble_symbols, modulation.spreading_factor, modulation.bandwidth_code
            )
            header_symbols = 0 if modulation.implicit_header else airtime.HEADER_SYMBOLS
            timing = self._timings[form] = Timing(
                self._rule.clean_from_symbol * symbol_ns,
                lock_ns,
                lock_ns + header_symbols * symbol_ns,
                packet.airtime_ns(modulation),
            )
        return timing

    def hears(self, sent: Channel) -> bool:
        """Whether a receiver set so demodulates what is sent so."""
        if sent is self:
            return True
        if sent not in self._hears:
            self._hears[sent] = self.modulation.hears(sent.modulation)
        return self._hears[sent]

    def required_cdb(self, interferer: Channel) -> int | None:
        """Ratio to such interferers that a packet sent so needs; None where they share no spectrum."""
        if interferer not in self._required_cdb:
            self._required_cdb[interferer] = self._rule.interference.required_cdb(
                self.modulation, interferer.modulation
            )
        return self._required_cdb[interferer]


class Sensing:
    """A channel activity detection under way: it listens for one symbol, then works until its end."""

    __slots__ = ("appointment", "begin_ns", "channel", "detected", "end_ns", "index")

    def __init__(self, index: int, channel: Channel, begin_ns: int) -> None:
        modulation = channel.modulation
        self.index = index
        self.channel = channel
        self.begin_ns = begin_ns
        self.end_ns = begin_ns + airtime.channel_activity_detection_ns(
            modulation.spreading_factor, modulation.bandwidth_code
        )
        self.detected = False
        self.appointment: Appointment | None = None


class Station:
    """One radio's place in the medium; made by `Medium.attach`, opaque to others."""

    __slots__ = (
        "attenuations_cdb",
        "channel",
        "free_since_ns",
        "header_done",
        "keeps_account",
        "link_losses",
        "listener",
        "listening_since_ns",
        "lock",
        "name",
        "sending",
        "sensed",
        "sensing",
        "sent",
        "single",
    )

    def __init__(self, name: str, listener: Listener, keeps_account: bool) -> None:
        self.name = name
        self.listener = listener
        self.keeps_account = keeps_account
        self.sent = 0
        self.sensed = 0
        self.channel: Channel | None = None  # not None while listening
        self.single = False
        self.listening_since_ns = 0
        self.free_since_ns = 0
        self.lock: Transmission | None = None
        self.header_done = False
        self.sending: Transmission | None = None
        self.sensing: Sensing | None = None
        self.attenuations_cdb: dict[Station, int] = {}
        self.link_losses: dict[Station, LinkLoss] = {}


class Transmission:
    """One packet on the air, and which stations have to do with it."""

    __slots__ = (
        "acquire_ns",
        "channel",
        "end_ns",
        "header_ns",
        "levels_cdbm",
        "lock_ns",
        "lock_reached",
        "locked",
        "number",
        "off_ns",
        "overlaps",
        "packet",
        "power_cdbm",
        "sender",
        "start_ns",
        "tried",
    )

    def __init__(
        self, sender: Station, channel: Channel, packet: Packet, power_cdbm: int, start_ns: int
    ) -> None:
        self.sender = sender
        self.number = sender.sent
        self.channel = channel
        self.packet = packet
        self.power_cdbm = power_cdbm
        self.start_ns = start_ns
        timing = channel.timing(packet)
        self.acquire_ns = start_ns + timing.acquire_ns
        self.lock_ns = start_ns + timing.lock_ns
        self.header_ns = start_ns + timing.header_ns
        self.end_ns = start_ns + timing.end_ns
        self.off_ns = self.end_ns  # earlier when the sender stops
        self.overlaps: list[Transmission] = []
        self.levels_cdbm: dict[Station, int] = {}
        self.lock_reached = False
        self.tried: list[Station] = []
        self.locked: list[Station] = []
