"""The oracle: is every reading that a sensor produced in the server's ledger, unaltered, once; if not, why?

It knows what was played into the pins, watches the trace, and reads the ledgers at the end. It trusts no
part of the system under test to tell what it lost.
"""

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from bench.world.simulation import NS_PER_MS
from bench.world.trace import Record
from ledger.frame import FrameError, Snapshot

Key = tuple[int, int, int]
"""(uno_id, low 16 bits of the boot epoch, counter): what makes a snapshot unique within a trial."""

# Due is what should have happened this long before the window ends: timer interrupts come late, not early.
_DUE_SLACK_NS = 100 * NS_PER_MS
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


class ChannelTruth(Protocol):
    """What was played into one sensor input."""

    def disagreement(self, snapshot: Snapshot, t_ns: int) -> str | None:
        """What is wrong with this channel's registers at this time; None when they are right."""


@dataclass(frozen=True, slots=True)
class MeterTruth:
    """What the bench knows of one Uno: its identity, its pace in world time, and its inputs."""

    name: str
    uno_id: int
    interval_ns: int
    channels: tuple[ChannelTruth, ...]


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


class Oracle:
    """Subscriber of the trace that judges the ledgers at the end of the trial.

    Snapshots due before `window_ns` are judged; what the Unos go on measuring while the last of them find
    their way to the server is held against the truth, but not missed.
    """

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._boots: dict[str, list[_Boot]] = {}

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

    def judge(
        self, meters: Iterable[MeterTruth], server: Iterable[LedgerEntry], gateways: Iterable[LedgerEntry]
    ) -> Verdict:
        """Hold the server's ledger against what was injected; `gateways` tells what waits in theirs."""
        account = _Account(held={entry.key for entry in gateways})
        for entry in server:
            account.found.setdefault(entry.key, []).append(entry)
        for meter in meters:
            boots = self._boots.get(meter.name, [])
            for boot in boots:
                self._judge_boot(account, meter, boot)
            if not boots:
                intervals = max(0, self._window_ns - _DUE_SLACK_NS) // meter.interval_ns
                account.miss(Cause.CPU, intervals * len(meter.channels))
        account.judge_rest()
        return account.verdict()

    def _judge_boot(self, account: "_Account", meter: MeterTruth, boot: _Boot) -> None:
        end_ns = min(self._window_ns, boot.ended_ns or self._window_ns)
        due = max(0, end_ns - _DUE_SLACK_NS - boot.began_ns) // meter.interval_ns
        for counter in range(max(due, max(boot.snapshots, default=-1) + 1)):
            key = meter.uno_id, boot.epoch, counter
            entries = account.found.pop(key, [])
            snapshot = boot.snapshots.get(counter)
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

    def _compare_channels(self, meter: MeterTruth, key: Key, t_ns: int, plaintext: bytes) -> None:
        try:
            registers = Snapshot.decode(plaintext)
        except FrameError as error:
            self._alter(len(meter.channels), f"{meter.name} {key}: {error}")
            return
        for channel in meter.channels:
            disagreement = channel.disagreement(registers, t_ns)
            if disagreement is not None:
                self._alter(1, f"{meter.name} {key} at {t_ns} ns: {disagreement}")

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
            missing_by_cause={cause: self.causes[cause] for cause in Cause},
            unaccounted=self.unaccounted,
            foreign=self.foreign,
            latencies_ns=tuple(sorted(self.latencies_ns)),
            examples=tuple(self.examples),
        )
