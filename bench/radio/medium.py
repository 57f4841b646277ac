"""The shared channel: who hears whose packet, and by what cause a packet is not heard.

A receiver has one demodulator, as the SX1278 has, and a reception goes through stages (c is
`ReceptionRule.clean_from_symbol`, Ts a symbol):

1. acquisition, from start + c Ts to the end of the preamble: the receiver must have been listening
   and free all the while, and the packet must stand out of all others by `InterferenceRule`;
2. header, 8 symbols: a violation makes the receiver search again (implicit headers skip this stage);
3. payload: a violation spoils the packet, but the receiver is busy to its end.

A stronger packet that comes later is never received and spoils the one locked to. Outcomes are settled
at the ends of the stages, on half-open intervals, so that they do not depend on the order of
simultaneous calls.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

from bench.radio.decibel import level_of_power, linear_power
from bench.radio.reception import Listener, Outcome, Progress, Reception, ReceptionRule
from bench.radio.transmission import Channel, Sensing, Station, Transmission

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.radio.loss import LinkLoss, LossPlan
    from bench.radio.modulation import Modulation, Packet
    from bench.radio.regulation import Regulation
    from bench.radio.transmission import Appointment


class Clock(Protocol):
    """The calendar of the virtual world."""

    @property
    def now_ns(self) -> int:
        """The time."""
        ...

    def at(self, t_ns: int, source: str, action: Callable[[], None], /) -> Appointment:
        """Have `action` called at `t_ns`."""
        ...


class Streams(Protocol):
    """Counter-based randomness."""

    def child(self, *names: str | int) -> Self:
        """A stream of its own below this one."""
        ...

    def bits(self, index: int) -> int:
        """A 64-bit integer at `index`."""
        ...

    def below(self, bound: int, index: int) -> int:
        """An integer in [0, bound) at `index`."""
        ...

    def happens(self, probability_ppm: int, index: int) -> bool:
        """Whether an event of this probability happens at `index`."""
        ...


class Trace(Protocol):
    """Where all that happens is noted."""

    def record(self, t_ns: int, source: str, kind: str, /, **fields: int | str | bytes | bool) -> None:
        """Note one thing."""
        ...


class LinkBudget(Protocol):
    """What is lost between two stations."""

    def attenuation_cdb(self, sender: str, receiver: str) -> int:
        """Loss of the link that does not change during a trial, antenna gains subtracted."""
        ...

    def fading_cdb(self, sender: str, receiver: str, number: int) -> int:
        """Further loss of the sender's packet of this number; negative for a gain."""
        ...


class Medium:
    """The channel that all stations share. All calls act at `clock.now_ns`."""

    def __init__(
        self,
        streams: Streams,
        trace: Trace,
        clock: Clock,
        links: LinkBudget,
        *,
        rule: ReceptionRule | None = None,
        loss: LossPlan | None = None,
        regulation: Regulation | None = None,
    ) -> None:
        self.outcomes: Counter[tuple[str, Outcome]] = Counter()
        """How many packets had each outcome, by receiver."""
        self.streams = streams
        self.trace = trace
        self.clock = clock
        self._links = links
        self._rule = rule or ReceptionRule()
        self._loss = loss
        self._regulation = regulation
        self._channels: dict[Modulation, Channel] = {}
        self._stations: dict[str, Station] = {}
        self._keep_account: list[Station] = []
        self._listening: dict[Station, None] = {}  # in the order of their calls
        self._on_air: list[Transmission] = []  # may hold some that are over

    # The stations' calls

    def attach(self, name: str, listener: Listener, *, keeps_account: bool = False) -> Station:
        """Add a radio.

        A station that keeps account gets an outcome for every packet of another; others only for packets
        that come while they listen.
        """
        if name in self._stations:
            raise ValueError(f"there is a station named {name} already")
        station = self._stations[name] = Station(name, listener, keeps_account)
        if keeps_account:
            self._keep_account.append(station)
        return station

    def listen(self, station: Station, modulation: Modulation, *, single: bool = False) -> None:
        """Receive from now on, until `stop`; when `single`, until one packet came in."""
        self.stop(station)
        station.channel = self._channel(modulation)
        station.single = single
        station.listening_since_ns = station.free_since_ns = self.clock.now_ns
        self._listening[station] = None

    def transmit(self, station: Station, modulation: Modulation, packet: Packet, power_cdbm: int) -> int:
        """Send a packet from now on; returns the time of its end. The listener is told then."""
        self.stop(station)
        now_ns = self.clock.now_ns
        sent = Transmission(station, self._channel(modulation), packet, power_cdbm, now_ns)
        station.sent += 1
        station.sending = sent
        on_air = [other for other in self._on_air if other.off_ns >= now_ns or not other.lock_reached]
        for other in on_air:
            if other.off_ns > now_ns:
                other.overlaps.append(sent)
                sent.overlaps.append(other)
        on_air.append(sent)
        self._on_air = on_air
        self.clock.at(sent.lock_ns, station.name, partial(self._reach_lock, sent))
        self.clock.at(sent.end_ns, station.name, partial(self._reach_end, sent))
        self.trace.record(
            now_ns,
            station.name,
            "transmission",
            number=sent.number,
            end_ns=sent.end_ns,
            power_cdbm=power_cdbm,
            payload=packet.payload,
        )
        if self._regulation is not None:
            for violation in self._regulation.violations(
                station.name, modulation, power_cdbm, now_ns, sent.end_ns
            ):
                self.trace.record(now_ns, station.name, "violation", rule=violation)
        return sent.end_ns

    def sense(self, station: Station, modulation: Modulation) -> None:
        """Start a channel activity detection; the listener is told its result when it is done."""
        self.stop(station)
        begin_ns = self.clock.now_ns
        sensing = station.sensing = Sensing(station.sensed, self._channel(modulation), begin_ns)
        station.sensed += 1
        sensing.appointment = self.clock.at(
            begin_ns + modulation.symbol_ns, station.name, partial(self._sense_symbol, station, sensing)
        )

    def stop(self, station: Station) -> None:
        """Leave whatever the station does (listening, sending, sensing) and be idle."""
        if station.channel is not None:
            self._stop_listening(station)
        elif station.sending is not None:
            self._stop_sending(station.sending)
        elif station.sensing is not None:
            self._stop_sensing(station, station.sensing)

    def level_cdbm(self, station: Station, modulation: Modulation) -> int:
        """Power at the station in the modulation's channel just before now, noise included."""
        channel = self._channel(modulation)
        now_ns = self.clock.now_ns
        power = linear_power(channel.noise_cdbm)
        for sent in self._on_air:
            if (
                sent.start_ns < now_ns <= sent.off_ns
                and sent.sender is not station
                and modulation.overlaps(sent.channel.modulation)
            ):
                power += linear_power(self._level_cdbm(sent, station))
        return level_of_power(power)

    def progress(self, station: Station) -> Progress:
        """How far the station's reception has come."""
        if station.channel is None:
            return Progress.SEARCHING
        if station.lock is not None:
            return Progress.HEADER_VALID if station.header_done else Progress.SYNCHRONISED
        now_ns = self.clock.now_ns
        for sent in self._on_air:
            if (
                station.listening_since_ns <= sent.acquire_ns <= now_ns < sent.lock_ns
                and sent.off_ns > now_ns
                and station.channel.hears(sent.channel)
                and self._level_cdbm(sent, station) >= station.channel.sensitivity_cdbm
            ):
                return Progress.DETECTED
        return Progress.SEARCHING

    # The stages of a transmission

    def _reach_lock(self, sent: Transmission) -> None:
        sent.lock_reached = True
        for station in self._keep_account:
            if station.channel is None and station is not sent.sender and station not in sent.tried:
                self._judge(sent, station, Outcome.RECEIVER_DEAF)
        now_ns = self.clock.now_ns
        for station in tuple(self._listening):
            # One that begins to listen just now is as good as not listening.
            begun = station.listening_since_ns < now_ns or station.keeps_account
            if begun and station is not sent.sender and station not in sent.tried:
                self._try_lock(sent, station)
        sent.tried.clear()
        if sent.locked and sent.header_ns > sent.lock_ns:
            self.clock.at(sent.header_ns, sent.sender.name, partial(self._reach_header, sent))

    def _reach_header(self, sent: Transmission) -> None:
        for station in tuple(sent.locked):
            if station.lock is sent and not station.header_done:
                self._check_header(sent, station)

    def _reach_end(self, sent: Transmission) -> None:
        sender = sent.sender
        if sender.sending is sent:
            sender.sending = None
            sender.listener.transmitted()
        for station in tuple(sent.locked):
            if station.lock is sent:
                self._finish(sent, station)
        sent.overlaps.clear()  # else a busy channel would keep all its past alive

    def _try_lock(self, sent: Transmission, station: Station) -> None:
        channel = station.channel
        if channel is None or station.listening_since_ns > sent.acquire_ns:
            self._judge(sent, station, Outcome.RECEIVER_DEAF)
        elif not channel.hears(sent.channel):
            self._judge(sent, station, Outcome.MISMATCHED)
        elif sent.off_ns < sent.lock_ns:
            self._give_up(sent, station, Outcome.SENDER_STOPPED)
        elif self._level_cdbm(sent, station) < channel.sensitivity_cdbm:
            self._judge(sent, station, Outcome.BELOW_SENSITIVITY)
        elif self._loss is not None and self._link_loss(sent.sender, station, self._loss).takes():
            self._give_up(sent, station, Outcome.LOST_BY_PLAN)
        elif _is_busy(station, sent):
            self._judge(sent, station, Outcome.RECEIVER_BUSY)
        elif not self._clean(sent, station, sent.acquire_ns, sent.lock_ns):
            self._give_up(sent, station, Outcome.COLLIDED_PREAMBLE)
        else:
            station.lock = sent
            station.header_done = sent.header_ns == sent.lock_ns
            sent.locked.append(station)

    def _check_header(self, sent: Transmission, station: Station) -> None:
        packet = sent.packet
        if not self._clean(sent, station, sent.lock_ns, sent.header_ns) or sent.off_ns < sent.header_ns:
            stopped = sent.off_ns < sent.header_ns
            outcome = Outcome.SENDER_STOPPED if stopped else Outcome.COLLIDED_HEADER
        elif not station.listener.header_received(len(packet.payload), packet.coding_rate, packet.crc):
            outcome = Outcome.REFUSED
        else:
            station.header_done = True
            return
        resumes = self._rule.resumes_after_header_failure
        self._release(station, self.clock.now_ns if resumes else sent.end_ns)
        self._give_up(sent, station, outcome)

    def _finish(self, sent: Transmission, station: Station) -> None:
        intact = True
        if sent.off_ns < sent.end_ns:
            intact = False
            self._judge(sent, station, Outcome.SENDER_STOPPED)
        elif not self._clean(sent, station, sent.header_ns, sent.end_ns):
            intact = False
            self._judge(sent, station, Outcome.COLLIDED_PAYLOAD)
        else:
            self._judge(sent, station, Outcome.DELIVERED)
        packet, level_cdbm = sent.packet, self._level_cdbm(sent, station)
        self._release(station, self.clock.now_ns)
        if station.single:
            self._cease_listening(station)
        station.listener.packet_received(
            Reception(
                packet.payload if intact else self._spoiled(sent, station),
                intact,
                level_cdbm,
                level_cdbm - sent.channel.noise_cdbm,
                packet.coding_rate,
                packet.crc,
            )
        )

    def _stop_listening(self, station: Station) -> None:
        # What is due at this very moment happens first, as it would had the calendar been quicker.
        now_ns = self.clock.now_ns
        for sent in self._on_air:
            due = sent.lock_ns == now_ns and not sent.lock_reached and sent.sender is not station
            if due and station not in sent.tried:
                sent.tried.append(station)
                self._try_lock(sent, station)
        locked = station.lock
        if locked is not None and not station.header_done and locked.header_ns <= now_ns:
            self._check_header(locked, station)
        locked = station.lock
        if locked is not None:
            if locked.end_ns <= now_ns:
                self._finish(locked, station)
            else:
                self._judge(locked, station, Outcome.RECEIVER_LEFT)
                self._release(station, now_ns)
        self._cease_listening(station)

    def _stop_sending(self, sent: Transmission) -> None:
        now_ns = self.clock.now_ns
        sent.sender.sending = None
        if now_ns >= sent.end_ns:
            sent.sender.listener.transmitted()
            return
        sent.off_ns = now_ns
        self.trace.record(now_ns, sent.sender.name, "transmission_stopped", number=sent.number)

    def _cease_listening(self, station: Station) -> None:
        station.channel = None
        self._listening.pop(station, None)

    def _release(self, station: Station, free_ns: int) -> None:
        station.lock = None
        station.free_since_ns = free_ns

    def _give_up(self, sent: Transmission, station: Station, outcome: Outcome) -> None:
        self._judge(sent, station, outcome)
        station.listener.reception_lost()

    def _judge(self, sent: Transmission, station: Station, outcome: Outcome) -> None:
        self.outcomes[station.name, outcome] += 1
        self.trace.record(
            self.clock.now_ns,
            station.name,
            "reception",
            sender=sent.sender.name,
            number=sent.number,
            outcome=outcome.value,
            level_cdbm=self._level_cdbm(sent, station),
        )

    # Levels and interference

    def _channel(self, modulation: Modulation) -> Channel:
        channel = self._channels.get(modulation)
        if channel is None:
            channel = self._channels[modulation] = Channel(modulation, self._rule)
        return channel

    def _level_cdbm(self, sent: Transmission, station: Station) -> int:
        level_cdbm = sent.levels_cdbm.get(station)
        if level_cdbm is None:
            sender = sent.sender
            attenuation_cdb = station.attenuations_cdb.get(sender)
            if attenuation_cdb is None:
                attenuation_cdb = self._links.attenuation_cdb(sender.name, station.name)
                station.attenuations_cdb[sender] = attenuation_cdb
            fading_cdb = self._links.fading_cdb(sender.name, station.name, sent.number)
            level_cdbm = sent.levels_cdbm[station] = sent.power_cdbm - attenuation_cdb - fading_cdb
        return level_cdbm

    def _link_loss(self, sender: Station, station: Station, plan: LossPlan) -> LinkLoss:
        link_loss = station.link_losses.get(sender)
        if link_loss is None:
            link_loss = plan.on_link(self.streams.child("loss", sender.name, station.name))
            station.link_losses[sender] = link_loss
        return link_loss

    def _clean(self, sent: Transmission, station: Station, from_ns: int, until_ns: int) -> bool:
        """Whether the packet stands out of all others at the station, throughout [from_ns, until_ns)."""
        if not sent.overlaps:
            return True
        level_cdbm = self._level_cdbm(sent, station)
        met: list[tuple[int, Transmission]] = []
        for other in sent.overlaps:
            if other.start_ns < until_ns and other.off_ns > from_ns:
                required_cdb = sent.channel.required_cdb(other.channel)
                if required_cdb is not None:
                    if level_cdbm - self._level_cdbm(other, station) < required_cdb:
                        return False
                    met.append((required_cdb, other))
        if len(met) < 2 or not self._rule.interference.sums_power:
            return True
        return self._clean_of_sums(level_cdbm, station, from_ns, until_ns, met)

    def _clean_of_sums(
        self,
        level_cdbm: int,
        station: Station,
        from_ns: int,
        until_ns: int,
        met: list[tuple[int, Transmission]],
    ) -> bool:
        # The sum of powers is largest at some interferer's beginning, or at the section's.
        moments_ns = {max(from_ns, other.start_ns) for _, other in met}
        for moment_ns in moments_ns:
            sums: dict[tuple[int, int], int] = {}
            for required_cdb, other in met:
                if other.start_ns <= moment_ns < other.off_ns and moment_ns < until_ns:
                    kind = (required_cdb, other.channel.modulation.spreading_factor)
                    sums[kind] = sums.get(kind, 0) + linear_power(self._level_cdbm(other, station))
            for (required_cdb, _), power in sums.items():
                if linear_power(level_cdbm - required_cdb) < power:
                    return False
        return True

    def _spoiled(self, sent: Transmission, station: Station) -> bytes:
        bits = self.streams.child("spoiled", sent.sender.name, station.name).bits(sent.number)
        payload = bytearray(sent.packet.payload)
        payload[bits % len(payload)] ^= 1 + (bits >> 16) % 255
        return bytes(payload)

    # Channel activity detection

    def _sense_symbol(self, station: Station, sensing: Sensing) -> None:
        sensing.detected = self._senses(station, sensing)
        sensing.appointment = self.clock.at(
            sensing.end_ns, station.name, partial(self._sense_done, station, sensing)
        )

    def _senses(self, station: Station, sensing: Sensing) -> bool:
        rule = self._rule
        channel, modulation = sensing.channel, sensing.channel.modulation
        now_ns = self.clock.now_ns
        probability_ppm = rule.sensed_falsely_ppm
        for sent in self._on_air:
            if (
                sent.start_ns <= sensing.begin_ns
                and sent.off_ns >= now_ns
                and sent.channel.modulation.chirp_slope == modulation.chirp_slope
                and modulation.overlaps(sent.channel.modulation)
                and self._level_cdbm(sent, station) >= channel.sensitivity_cdbm
            ):
                in_preamble = now_ns <= sent.lock_ns
                sensed_ppm = rule.sensed_in_preamble_ppm if in_preamble else rule.sensed_in_payload_ppm
                probability_ppm = max(probability_ppm, sensed_ppm)
        return self.streams.child("sense", station.name).happens(probability_ppm, sensing.index)

    def _sense_done(self, station: Station, sensing: Sensing) -> None:
        station.sensing = None
        self.trace.record(self.clock.now_ns, station.name, "channel_sensed", detected=sensing.detected)
        station.listener.activity_sensed(sensing.detected)

    def _stop_sensing(self, station: Station, sensing: Sensing) -> None:
        if sensing.appointment is not None:
            sensing.appointment.cancel()
        if self.clock.now_ns >= sensing.end_ns:
            self._sense_done(station, sensing)
        station.sensing = None


def _is_busy(station: Station, sent: Transmission) -> bool:
    """Whether the demodulator was taken at some time since the packet's acquisition began.

    A lock made at this very moment does not count: the two preambles meet, whichever is looked at first.
    """
    if station.lock is not None and station.lock.lock_ns < sent.lock_ns:
        return True
    return station.free_since_ns > sent.acquire_ns
