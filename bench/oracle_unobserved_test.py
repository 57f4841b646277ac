"""Unos that cannot be looked into: how a true ledger may look under any clock, and what no clock explains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.oracle import Cause, LedgerEntry, Oracle, UnobservedMeterTruth, Verdict
from bench.sensors.s0 import S0Output, S0Signal
from bench.truth import PULSE_COUNT_DELAY_NS, PulseTruth
from bench.world.simulation import NS_PER_MS, NS_PER_S
from bench.world.trace import Record
from ledger.frame import Snapshot, Status

INTERVAL_S = 10
INTERVAL_NS = INTERVAL_S * NS_PER_S
UNO_ID, EPOCH = 17, 0x10005
BEGAN_NS = 3 * NS_PER_S
TOLERANCE_PPM = 10_000
MOST_SNAPSHOT_DELAY_NS = 200 * NS_PER_MS
SPACING_NS = 200 * NS_PER_MS
"""Of pulses, at least: five a second."""


@dataclass(frozen=True)
class Uno:
    """A metering Uno with its own clock, and what it delivered."""

    signals: tuple[S0Signal, ...]
    greeted_ns: int
    lag_ns: int
    clock_ppm: int
    snapshot_delay_ns: int
    count_delay_ns: int
    readings: int

    def snapshot_ns(self, counter: int) -> int:
        grid_ns = (counter + 1) * INTERVAL_NS * (1_000_000 + self.clock_ppm) // 1_000_000
        return self.greeted_ns - self.lag_ns + grid_ns + self.snapshot_delay_ns * (counter % 3) // 2

    def counted(self, counter: int) -> tuple[int, ...]:
        t_ns = self.snapshot_ns(counter) - BEGAN_NS - self.count_delay_ns
        return tuple(signal.pulses_until(t_ns) for signal in self.signals)

    def entry(self, counter: int, *registers: int) -> LedgerEntry:
        plaintext = Snapshot(Status(0), 0, 0, (), registers or self.counted(counter)).encode()
        return LedgerEntry(UNO_ID, EPOCH, counter, plaintext, self.snapshot_ns(counter) + NS_PER_S)

    @property
    def entries(self) -> list[LedgerEntry]:
        return [self.entry(counter) for counter in range(self.readings)]

    @property
    def meter(self) -> UnobservedMeterTruth:
        channels = tuple(PulseTruth(i, signal, BEGAN_NS) for i, signal in enumerate(self.signals))
        return UnobservedMeterTruth("uno-1", UNO_ID, INTERVAL_NS, channels, TOLERANCE_PPM)

    def judged(self, server: list[LedgerEntry], *gateway: LedgerEntry) -> Verdict:
        # What is due by the slowest clock is what was delivered, or one less.
        oracle = Oracle(self.greeted_ns + INTERVAL_NS * self.readings * 1_000_000 // 990_000)
        for t_ns, text in (
            (self.greeted_ns - 1, "uno ready for provisioning"),
            (
                self.greeted_ns,
                f"uno {UNO_ID} collect, epoch {EPOCH}, {len(self.signals)} S0, 0 AC, every {INTERVAL_S} s, "
                "ring 35, registers new",
            ),
        ):
            oracle(Record(t_ns, "uno-1", "console", {"text": text}))
        return oracle.judge([self.meter], server, gateway)


@st.composite
def unos(draw: st.DrawFn, readings: st.SearchStrategy[int] | None = None) -> Uno:
    signals = []
    for index in range(draw(st.integers(1, 3))):
        gaps = draw(st.lists(st.integers(1, 40), max_size=200))
        starts_ns = np.cumsum(np.array(gaps, dtype=np.int64)) * SPACING_NS
        signals.append(S0Signal(f"sensor {index}", S0Output(), 10**13, starts_ns, 0, ()))
    return Uno(
        tuple(signals),
        greeted_ns=draw(st.integers(0, 3 * NS_PER_S)),
        lag_ns=draw(st.integers(0, NS_PER_S)),
        clock_ppm=draw(st.integers(-TOLERANCE_PPM, TOLERANCE_PPM)),
        snapshot_delay_ns=draw(st.integers(0, MOST_SNAPSHOT_DELAY_NS)),
        count_delay_ns=draw(st.integers(0, PULSE_COUNT_DELAY_NS)),
        readings=draw(readings or st.integers(2, 40)),
    )


@pytest.mark.parametrize("clock_ppm", [-TOLERANCE_PPM, TOLERANCE_PPM])
@pytest.mark.parametrize("lag_ns", [0, NS_PER_S])
@pytest.mark.parametrize("snapshot_delay_ns", [0, MOST_SNAPSHOT_DELAY_NS])
@pytest.mark.parametrize("count_delay_ns", [0, PULSE_COUNT_DELAY_NS])
def test_a_true_ledger_passes_at_the_corners_of_all_tolerances(
    clock_ppm: int, lag_ns: int, snapshot_delay_ns: int, count_delay_ns: int
) -> None:
    """Pulses so dense that each reading tells the clock to 7 ms and no more."""
    signal = S0Signal("sensor", S0Output(), 10**13, np.arange(0, 10**12, 7_000_001, dtype=np.int64), 0, ())
    uno = Uno((signal,), 5 * NS_PER_S, lag_ns, clock_ppm, snapshot_delay_ns, count_delay_ns, 40)
    assert uno.judged(uno.entries).examples == ()


def missing(verdict: Verdict) -> dict[Cause, int]:
    return {cause: count for cause, count in verdict.missing_by_cause.items() if count}


def of_epoch(entry: LedgerEntry, epoch: int) -> LedgerEntry:
    return replace(entry, boot_epoch=epoch)


def test_what_an_uno_said_before_the_curtain_is_not_judged_and_what_it_never_said_is() -> None:
    signal = S0Signal("sensor", S0Output(), 10**13, np.arange(0, 10**12, 10**9, dtype=np.int64), 0, ())
    uno = Uno((signal,), NS_PER_S, 0, 0, 0, 0, 4)
    before = [of_epoch(uno.entry(counter, 0), EPOCH - back) for counter in range(2) for back in (1, 6)]
    assert uno.judged([*before, *uno.entries]) == uno.judged(uno.entries)
    after = of_epoch(uno.entry(0), EPOCH + 1)
    assert uno.judged([*uno.entries, after]).foreign == 1


@given(unos())
def test_a_true_ledger_passes_under_any_clock_within_tolerance(uno: Uno) -> None:
    verdict = uno.judged(uno.entries)
    assert (verdict.altered, verdict.examples, verdict.foreign, verdict.unaccounted) == (0, (), 0, 0)
    assert missing(verdict) == {}
    assert verdict.injected in (uno.readings * len(uno.signals), (uno.readings - 1) * len(uno.signals))
    assert verdict.in_server_ledger == verdict.injected
    assert len(verdict.latencies_ns) == uno.readings
    assert min(verdict.latencies_ns) >= NS_PER_S


@given(unos(), st.data())
def test_a_lost_reading_is_missed_and_nothing_else_is(uno: Uno, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, uno.readings - 2))
    rest = [entry for entry in uno.entries if entry.counter != lost]
    verdict = uno.judged(rest)
    assert missing(verdict) == {Cause.UNOBSERVED: len(uno.signals)}
    assert (verdict.altered, verdict.unaccounted, verdict.missing) == (0, 0, len(uno.signals))
    held = uno.judged(rest, uno.entry(lost))
    assert missing(held) == {Cause.STILL_BUFFERED: len(uno.signals)}


@given(unos(), st.data())
def test_a_duplicated_reading_is_found(uno: Uno, data: st.DataObject) -> None:
    twice = uno.entry(data.draw(st.integers(0, uno.readings - 1)))
    verdict = uno.judged([*uno.entries, twice])
    assert verdict.altered == len(uno.signals)
    assert "stands 2 times" in verdict.examples[0]


@given(unos(), st.data())
def test_a_register_that_no_clock_explains_is_altered(uno: Uno, data: st.DataObject) -> None:
    counter = data.draw(st.integers(0, uno.readings - 1))
    elapsed_ns = (counter + 1) * INTERVAL_NS
    slack_ns = 2 * elapsed_ns * TOLERANCE_PPM // 1_000_000 + 3 * NS_PER_S
    least = slack_ns // SPACING_NS + 1
    registers = list(uno.counted(counter))
    channel = data.draw(st.integers(0, len(registers) - 1))
    if data.draw(st.booleans()) or registers[channel] < least:
        registers[channel] += data.draw(st.integers(least, 10**6))
    else:
        registers[channel] -= data.draw(st.integers(least, registers[channel]))
    entries = uno.entries
    entries[counter] = uno.entry(counter, *registers)
    assert uno.judged(entries).altered >= 1


def steady(clock_ppm: int, readings: int, pulses: int) -> Uno:
    starts_ns = np.arange(1, pulses + 1, dtype=np.int64) * SPACING_NS
    signal = S0Signal("sensor", S0Output(), 10**13, starts_ns, 0, ())
    return Uno((signal,), 2 * NS_PER_S, 30 * NS_PER_MS, clock_ppm, 0, 0, readings)


@pytest.mark.parametrize("clock_ppm", [-9_000, 0, 2_021])
@pytest.mark.parametrize("change", [-12, 12])
def test_the_readings_before_tell_the_clock_closer_than_its_tolerance(clock_ppm: int, change: int) -> None:
    """After 400 s a clock within 1 % may be 4 s off, 20 pulses; the readings say that it is not."""
    uno = steady(clock_ppm, 40, 100_000)
    assert uno.judged(uno.entries).altered == 0
    altered = uno.entry(38, uno.counted(38)[0] + change)
    verdict = uno.judged([entry for entry in uno.entries if entry.counter != 38] + [altered])
    assert verdict.altered >= 1
    assert "38) at" in verdict.examples[0]


@pytest.mark.parametrize("change", [-1, 1])
def test_when_the_stimulus_has_been_quiet_the_last_register_is_exact(change: int) -> None:
    uno = steady(5_000, 40, 100)
    altered = uno.entry(39, 100 + change)
    verdict = uno.judged([*uno.entries[:39], altered])
    assert verdict.examples[0].endswith(f"S0 register 0 is {100 + change}, but 100 pulses were played")


def test_two_readings_in_each_others_place_are_found() -> None:
    uno = steady(0, 40, 100_000)
    entries = uno.entries
    entries[20], entries[21] = (
        replace(entries[20], plaintext=entries[21].plaintext),
        replace(entries[21], plaintext=entries[20].plaintext),
    )
    assert uno.judged(entries).altered >= 2


def test_a_register_that_goes_back_is_found() -> None:
    """Without pulses that tell the clock, only the order of readings does."""
    uno = steady(0, 3, 12)
    back = [uno.entry(0), uno.entry(1), uno.entry(2, 11)]
    assert any(example.endswith("registers go back") for example in uno.judged(back).examples)


def test_what_no_uno_can_have_made_yet_is_altered() -> None:
    uno = steady(0, 10, 100)
    early = replace(uno.entry(9), accepted_ns=60 * NS_PER_S)
    verdict = uno.judged([*uno.entries[:9], early])
    assert verdict.altered == 1
    assert "was in the ledger already at 60000000000" in verdict.examples[0]


def test_garbage_and_strangers_are_altered() -> None:
    uno = steady(0, 5, 100)
    garbage = replace(uno.entry(4), plaintext=b"\0" * 3)
    stranger = replace(uno.entry(0), boot_epoch=EPOCH + 1)
    verdict = uno.judged([*uno.entries[:4], garbage, stranger])
    assert (verdict.altered, verdict.foreign) == (2, 1)


def test_a_reset_begins_a_new_life_and_readings_before_it_are_still_due() -> None:
    uno = steady(0, 20, 1)
    oracle = Oracle(uno.greeted_ns + 210 * NS_PER_S)
    greeting = f"uno {UNO_ID} collect, epoch %d, 1 S0, 0 AC, every {INTERVAL_S} s, ring 35, registers new"
    oracle(Record(uno.greeted_ns, "uno-1", "console", {"text": greeting % EPOCH}))
    oracle(Record(uno.greeted_ns + 105 * NS_PER_S, "uno-1", "console", {"text": greeting % (EPOCH + 1)}))
    first = uno.entries[:10]
    again = [replace(uno.entry(counter, 1), boot_epoch=EPOCH + 1, accepted_ns=None) for counter in range(9)]
    verdict = oracle.judge([uno.meter], [*first[:7], *again], [first[7]])
    assert (verdict.injected, verdict.in_server_ledger, verdict.altered) == (20, 16, 0)
    assert missing(verdict) == {Cause.STILL_BUFFERED: 1, Cause.UNOBSERVED: 3}
    late = replace(uno.entry(15, 1), accepted_ns=None)
    verdict = oracle.judge([uno.meter], [*first, *again, late], [])
    assert "was reset already at" in verdict.examples[0]


def test_an_uno_whose_console_was_never_heard_is_missed() -> None:
    uno = steady(0, 6, 100)
    verdict = Oracle(61 * NS_PER_S).judge([uno.meter], [], [])
    assert (verdict.injected, missing(verdict)) == (6, {Cause.UNOBSERVED: 6})


@pytest.mark.parametrize(("after_ms", "missed"), [(250, 0), (350, 1)])
def test_a_snapshot_that_may_still_be_to_come_is_not_missed(after_ms: int, missed: int) -> None:
    """The slowest clock reaches its tenth interval after 101 s; 0.2 s may pass until the snapshot."""
    uno = steady(TOLERANCE_PPM, 9, 1)
    oracle = Oracle(uno.greeted_ns + 101 * NS_PER_S + after_ms * NS_PER_MS)
    greeting = f"uno {UNO_ID} collect, epoch {EPOCH}, 1 S0, 0 AC, every 10 s, ring 35, registers new"
    oracle(Record(uno.greeted_ns, "uno-1", "console", {"text": greeting}))
    assert missing(oracle.judge([uno.meter], uno.entries, [])) == ({Cause.UNOBSERVED: 1} if missed else {})
