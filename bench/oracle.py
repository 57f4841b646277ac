"""The oracle: is every reading that a sensor produced in the server's ledger, unaltered, once; if not, why?

It knows what was played into the pins, watches the trace, and reads the ledgers at the end. It trusts no
part of the system under test to tell what it lost.

A real Uno cannot be looked into: of it the oracle knows when its console greeted and how far its clock may
be off, and finds the clocks that agree with its readings in the ledger. Where there is none, one was altered.
"""

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from bench.sensors.stimulus_clock import RATE_TOLERANCE_PPM, ClockRegion
from bench.uno.console import Greeting
from bench.world.simulation import NS_PER_MS, NS_PER_S
from bench.world.trace import Record
from ledger.frame import FrameError, Snapshot

Key = tuple[int, int, int]
"""(uno_id, low 16 bits of the boot epoch, counter): what makes a snapshot unique within a trial."""

# Due is what should have happened this long before the window ends: timer interrupts come late, not early.
_DUE_SLACK_NS = 100 * NS_PER_MS
# A snapshot may wait for an evaluation, a seal or a save of registers (firmware/README.md, Measured).
_SNAPSHOT_DELAY_NS = 200 * NS_PER_MS
# A board that is reset spends up to 2 s in its boot loader before its sketch begins.
_BOOT_LOADER_NS = 2 * NS_PER_S
_EXAMPLES = 20


class Cause(enum.StrEnum):
    """Why a reading is not in the server's ledger."""

    RADIO = "radio"
    """Its frame was sent, never arrived, and at last gave way to newer ones in the Uno's ring."""
    CPU = "cpu"
    """The Uno did not take the snapshot in time, or stood still."""
    MEMORY = "memory"
    """Its frame left the Uno's ring, or was lost with its SRAM, before it could be sent once."""
    STILL_BUFFERED = "still_buffered"
    """It waits in the Uno's ring or in the gateway's store."""
    UNOBSERVED = "unobserved"
    """Never seen on the way from an Uno that cannot be looked into: not measured, not sent, or not heard."""


class ChannelTruth(Protocol):
    """What was played into one sensor input."""

    def disagreement(self, snapshot: Snapshot, t_ns: int) -> str | None:
        """What is wrong with this channel's registers at this time; None when they are right."""


class SpanTruth(ChannelTruth, Protocol):
    """The same where the time of a reading is known within bounds only."""

    def disagreement_within(self, snapshot: Snapshot, earliest_ns: int, latest_ns: int) -> str | None:
        """What is wrong with this channel's registers; None when they are right at some time in between."""

    def possible_ns(self, snapshot: Snapshot) -> tuple[int | None, int | None]:
        """From when until when registers that are right can have been so; None: they do not tell."""


@dataclass(frozen=True, slots=True)
class MeterTruth:
    """What the bench knows of one Uno: its identity, its pace in world time, and its inputs."""

    name: str
    uno_id: int
    interval_ns: int
    channels: tuple[ChannelTruth, ...]


@dataclass(frozen=True, slots=True)
class UnobservedMeterTruth(MeterTruth):
    """An Uno without markers, of which the trace holds nothing but its console.

    Its own time began up to `greeting_lag_ns` before its greeting was heard, and runs within
    `clock_tolerance_ppm` of the world's; `interval_ns` is its nominal pace.
    """

    channels: tuple[SpanTruth, ...]
    clock_tolerance_ppm: int = RATE_TOLERANCE_PPM
    greeting_lag_ns: int = NS_PER_S


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A reading found in a ledger, and when it got there (None where that is not known)."""

    uno_id: int
    boot_epoch: int
    counter: int
    plaintext: bytes
    accepted_ns: int | None = None

    @property
    def key(self) -> Key:
        """What it is matched by."""
        return self.uno_id, self.boot_epoch & 0xFFFF, self.counter


@dataclass(frozen=True, slots=True)
class Verdict:
    """The account of a trial, in readings: one sensor's value for one interval."""

    injected: int
    in_server_ledger: int
    altered: int
    """Readings that are not what was played, or stand twice; a forked chain counts as one."""
    missing_by_cause: dict[Cause, int]
    unaccounted: int
    foreign: int
    """Readings in the ledger that no Uno made; they count as altered too."""
    latencies_ns: tuple[int, ...]
    """Of each delivered snapshot, from the Uno to the server's ledger, ascending."""
    examples: tuple[str, ...]
    """The first few disagreements, in words."""

    @property
    def missing(self) -> int:
        """Readings that are not in the server's ledger, whatever the cause."""
        return self.injected - self.in_server_ledger

    @property
    def delivered(self) -> float:
        """Share of the injected readings that is in the server's ledger."""
        return self.in_server_ledger / self.injected if self.injected else 1.0

    def latency_ns(self, percent: int) -> int | None:
        """The nearest-rank percentile of the latencies; None when nothing was delivered."""
        if not self.latencies_ns:
            return None
        return self.latencies_ns[max(0, -(-percent * len(self.latencies_ns) // 100) - 1)]


@dataclass(slots=True)
class _Boot:
    """One life of an Uno, from a reset to the next."""

    epoch: int
    began_ns: int
    ended_ns: int | None = None
    snapshots: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)
    acknowledged: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Life:
    """What the console tells of one life of an Uno that cannot be looked into."""

    epoch: int
    greeted_ns: int
    ended_ns: int | None = None


class Oracle:
    """Subscriber of the trace that judges the ledgers at the end of the trial.

    Snapshots due before `window_ns` are judged; what the Unos go on measuring while the last of them find
    their way to the server is held against the truth, but not missed.
    """

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._boots: dict[str, list[_Boot]] = {}
        self._lives: dict[int, list[_Life]] = {}

    @property
    def repeated(self) -> dict[str, int]:
        """By Uno, the transmissions of frames that had been sent before."""
        return {
            name: sum(boot.sent.total() - len(boot.sent) for boot in boots)
            for name, boots in self._boots.items()
        }

    def __call__(self, record: Record) -> None:
        """Take one record of the trace in."""
        if record.kind == "boot":
            boots = self._boots.setdefault(record.source, [])
            if boots:
                boots[-1].ended_ns = record.t_ns
            boots.append(_Boot(int(record.fields["epoch"]), record.t_ns))
            return
        if record.kind == "console":
            self._heard(record.t_ns, str(record.fields["text"]))
        boots = self._boots.get(record.source, [])
        if boots and "counter" in record.fields:
            self._note(boots[-1], record, int(record.fields["counter"]))

    def _note(self, boot: _Boot, record: Record, counter: int) -> None:
        match record.kind:
            case "snapshot":
                plaintext = record.fields["plaintext"]
                assert isinstance(plaintext, bytes)
                boot.snapshots[counter] = record.t_ns, plaintext
            case "sent":
                boot.sent[counter] += 1
            case "acked":
                boot.acknowledged.add(counter)
            case "dropped":
                boot.dropped.add(counter)

    def _heard(self, t_ns: int, line: str) -> None:
        greeting = Greeting.parse(line)
        if greeting is None:
            return
        lives = self._lives.setdefault(greeting.uno_id, [])
        if lives:
            lives[-1].ended_ns = t_ns
        lives.append(_Life(greeting.epoch & 0xFFFF, t_ns))

    def judge(
        self,
        meters: Iterable[MeterTruth],
        server: Iterable[LedgerEntry],
        gateways: Iterable[LedgerEntry],
        forks: Iterable[str] = (),
    ) -> Verdict:
        """Hold the server's ledger against what was injected; `gateways` tells what waits in theirs.

        `forks` are the frozen issuers of any ledger, in words.
        """
        account = _Account(held={entry.key for entry in gateways})
        account.judge_forks(forks)
        for entry in server:
            account.found.setdefault(entry.key, []).append(entry)
        for meter in meters:
            if isinstance(meter, UnobservedMeterTruth):
                self._judge_unobserved(account, meter)
            else:
                self._judge_observed(account, meter)
        account.judge_rest()
        return account.verdict()

    def _judge_observed(self, account: "_Account", meter: MeterTruth) -> None:
        boots = self._boots.get(meter.name, [])
        for boot in boots:
            self._judge_boot(account, meter, boot)
        if not boots:
            intervals = max(0, self._window_ns - _DUE_SLACK_NS) // meter.interval_ns
            account.miss(Cause.CPU, intervals * len(meter.channels))

    def _judge_unobserved(self, account: "_Account", meter: UnobservedMeterTruth) -> None:
        lives = self._lives.get(meter.uno_id, [])
        if lives:
            account.forget_before(meter.uno_id, lives[0].epoch)
        for life in lives:
            self._judge_life(account, meter, life)
        if not lives:
            account.miss(Cause.UNOBSERVED, _due(meter, 0, self._window_ns) * len(meter.channels))

    def _judge_life(self, account: "_Account", meter: UnobservedMeterTruth, life: _Life) -> None:
        """Due is what the slowest clock within the tolerance has reached."""
        end_ns = self._window_ns
        if life.ended_ns is not None:
            end_ns = min(end_ns, life.ended_ns - meter.greeting_lag_ns - _BOOT_LOADER_NS)
        due = _due(meter, life.greeted_ns, end_ns)
        found = {
            key[2]: account.found.pop(key)
            for key in sorted(account.found)
            if key[:2] == (meter.uno_id, life.epoch)
        }
        account.compare_unobserved(meter, life, found)
        channels = len(meter.channels)
        for counter in range(due):
            account.injected += channels
            if counter in found:
                account.in_server_ledger += channels
                continue
            held = (meter.uno_id, life.epoch, counter) in account.held
            account.miss(Cause.STILL_BUFFERED if held else Cause.UNOBSERVED, channels, injected=False)

    def _judge_boot(self, account: "_Account", meter: MeterTruth, boot: _Boot) -> None:
        end_ns = min(self._window_ns, boot.ended_ns or self._window_ns)
        due = max(0, end_ns - _DUE_SLACK_NS - boot.began_ns) // meter.interval_ns
        for counter in range(max(due, max(boot.snapshots, default=-1) + 1)):
            key = meter.uno_id, boot.epoch, counter
            snapshot = boot.snapshots.get(counter)
            # An entry of a snapshot that was never taken is left to be found foreign.
            entries = [] if snapshot is None else account.found.pop(key, [])
            if snapshot is not None and entries:
                account.compare(meter, key, snapshot, entries)
            if counter >= due:
                continue
            channels = len(meter.channels)
            account.injected += channels
            if snapshot is not None and entries:
                account.in_server_ledger += channels
            elif snapshot is None:
                account.miss(Cause.CPU, channels, injected=False)
            else:
                account.miss(_cause(boot, counter, key in account.held), channels, injected=False)


def _due(meter: UnobservedMeterTruth, greeted_ns: int, end_ns: int) -> int:
    """How many snapshots must have been taken until `end_ns`, however slow the clock."""
    left_ns = max(0, end_ns - greeted_ns - _SNAPSHOT_DELAY_NS - _DUE_SLACK_NS)
    return left_ns * 1_000_000 // (meter.interval_ns * (1_000_000 + meter.clock_tolerance_ppm))


def _cause(boot: _Boot, counter: int, held_by_gateway: bool) -> Cause | None:
    if held_by_gateway:
        return Cause.STILL_BUFFERED
    if counter in boot.acknowledged:
        return None
    if counter in boot.dropped:
        return Cause.RADIO if boot.sent[counter] else Cause.MEMORY
    return Cause.MEMORY if boot.ended_ns is not None else Cause.STILL_BUFFERED


@dataclass(slots=True)
class _Account:
    """The sums while they are being made."""

    held: set[Key]
    found: dict[Key, list[LedgerEntry]] = field(default_factory=dict)
    injected: int = 0
    in_server_ledger: int = 0
    altered: int = 0
    foreign: int = 0
    unaccounted: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)
    latencies_ns: list[int] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def miss(self, cause: Cause | None, readings: int, *, injected: bool = True) -> None:
        """Readings that should be in the server's ledger and are not."""
        if injected:
            self.injected += readings
        if cause is None:
            self.unaccounted += readings
        else:
            self.causes[cause] += readings

    def forget_before(self, uno_id: int, epoch: int) -> None:
        """A real Uno measures as soon as it is provisioned: what it said before the curtain is not judged."""
        for key in [key for key in self.found if key[0] == uno_id and (key[1] - epoch) & 0xFFFF > 0x7FFF]:
            del self.found[key]

    def compare(
        self, meter: MeterTruth, key: Key, snapshot: tuple[int, bytes], entries: list[LedgerEntry]
    ) -> None:
        """Hold what the ledger says of one snapshot against what the Uno measured and what was played."""
        t_ns, plaintext = snapshot
        if len(entries) > 1:
            self._alter(len(meter.channels), f"{meter.name} {key} stands {len(entries)} times in the ledger")
        for entry in entries[:1]:
            if entry.plaintext != plaintext:
                self._alter(
                    len(meter.channels), f"{meter.name} {key} has other bytes in the ledger than in the Uno"
                )
            else:
                self._compare_channels(meter, key, t_ns, plaintext)
            if entry.accepted_ns is not None:
                self.latencies_ns.append(entry.accepted_ns - t_ns)

    def compare_unobserved(
        self, meter: UnobservedMeterTruth, life: _Life, found: dict[int, list[LedgerEntry]]
    ) -> None:
        """Hold one life's readings, by counter, against what was played, under one clock for them all."""
        clocks = ClockRegion.around(
            0,
            life.greeted_ns - meter.greeting_lag_ns,
            life.greeted_ns,
            Fraction(meter.interval_ns),
            meter.clock_tolerance_ppm,
        )
        before: Snapshot | None = None
        for counter, entries in found.items():
            key = meter.uno_id, life.epoch, counter
            if len(entries) > 1:
                self._alter(
                    len(meter.channels), f"{meter.name} {key} stands {len(entries)} times in the ledger"
                )
            entry, (earliest_ns, _) = entries[0], clocks.span_ns(counter + 1)
            for known_ns, what in (
                (entry.accepted_ns, "in the ledger already"),
                (life.ended_ns, "reset already"),
            ):
                if known_ns is not None and known_ns < earliest_ns:
                    self._alter(
                        len(meter.channels),
                        f"{meter.name} {key} was {what} at {known_ns}, but is not from before {earliest_ns}",
                    )
            if entry.accepted_ns is not None:
                self.latencies_ns.append(max(0, entry.accepted_ns - earliest_ns))
            snapshot = self._decoded(meter, key, entry.plaintext)
            if snapshot is not None:
                clocks = self._narrowed(meter, key, snapshot, clocks)
                if before is not None and any(
                    now < then for now, then in zip(snapshot.pulses, before.pulses, strict=False)
                ):
                    self._alter(1, f"{meter.name} {key}: registers go back")
                before = snapshot

    def _narrowed(
        self, meter: UnobservedMeterTruth, key: Key, snapshot: Snapshot, clocks: ClockRegion
    ) -> ClockRegion:
        """The clocks that agree with this reading too; a channel with which none agrees is altered."""
        tick = key[2] + 1
        for channel in meter.channels:
            earliest_ns, latest_ns = clocks.span_ns(tick)
            latest_ns += _SNAPSHOT_DELAY_NS
            disagreement = channel.disagreement_within(snapshot, earliest_ns, latest_ns)
            if disagreement is not None:
                self._alter(1, f"{meter.name} {key} at {earliest_ns} to {latest_ns} ns: {disagreement}")
                continue
            since_ns, until_ns = channel.possible_ns(snapshot)
            narrowed = clocks
            if since_ns is not None:
                narrowed = narrowed.not_before(tick, since_ns - _SNAPSHOT_DELAY_NS)
            if until_ns is not None:
                narrowed = narrowed.not_after(tick, until_ns)
            # Bounds in whole ns let pass what touches the region's edge from outside.
            clocks = clocks if narrowed.is_empty else narrowed
        return clocks

    def _decoded(self, meter: MeterTruth, key: Key, plaintext: bytes) -> Snapshot | None:
        try:
            return Snapshot.decode(plaintext)
        except FrameError as error:
            self._alter(len(meter.channels), f"{meter.name} {key}: {error}")
            return None

    def _compare_channels(self, meter: MeterTruth, key: Key, t_ns: int, plaintext: bytes) -> None:
        registers = self._decoded(meter, key, plaintext)
        if registers is None:
            return
        for channel in meter.channels:
            disagreement = channel.disagreement(registers, t_ns)
            if disagreement is not None:
                self._alter(1, f"{meter.name} {key} at {t_ns} ns: {disagreement}")

    def judge_forks(self, forks: Iterable[str]) -> None:
        """No issuer of a trial may sign two blocks at one place, whatever became of their readings."""
        for fork in forks:
            self._alter(1, fork)

    def judge_rest(self) -> None:
        """Whatever is left in the ledger was made by no Uno."""
        for key in self.found:
            self.foreign += 1
            self._alter(1, f"{key} is in the ledger, but no Uno made it")

    def _alter(self, readings: int, example: str) -> None:
        self.altered += readings
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    def verdict(self) -> Verdict:
        """The account, closed."""
        return Verdict(
            injected=self.injected,
            in_server_ledger=self.in_server_ledger,
            altered=self.altered,
            missing_by_cause={
                cause: self.causes[cause]
                for cause in Cause
                if cause is not Cause.UNOBSERVED or self.causes[cause]
            },
            unaccounted=self.unaccounted,
            foreign=self.foreign,
            latencies_ns=tuple(sorted(self.latencies_ns)),
            examples=tuple(self.examples),
        )
