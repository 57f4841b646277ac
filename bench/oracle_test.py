from dataclasses import dataclass, replace

import pytest

from bench.oracle import Cause, LedgerEntry, MeterTruth, Oracle, Verdict
from bench.world.simulation import NS_PER_S
from bench.world.trace import Record
from ledger.frame import Snapshot, Status

INTERVAL_NS = 60 * NS_PER_S
WINDOW_NS = 3 * INTERVAL_NS + NS_PER_S
UNO_ID = 17


@dataclass(frozen=True)
class OnePulseASecond:
    """A sensor input whose right register is known at any time."""

    index: int

    def disagreement(self, snapshot: Snapshot, t_ns: int) -> str | None:
        right = t_ns // NS_PER_S
        found = snapshot.pulses[self.index]
        return None if found == right else f"register {self.index} is {found}, not {right}"


METER = MeterTruth("uno-1", UNO_ID, INTERVAL_NS, (OnePulseASecond(0), OnePulseASecond(1)))


def plaintext_at(t_ns: int) -> bytes:
    seconds = t_ns // NS_PER_S
    return Snapshot(Status.FIRST_AFTER_BOOT, 0, 0, (), (seconds, seconds)).encode()


def entry(counter: int, accepted_ns: int | None = None) -> LedgerEntry:
    return LedgerEntry(UNO_ID, 0x10005, counter, plaintext_at((counter + 1) * INTERVAL_NS), accepted_ns)


class Story:
    """An Uno's life, written down as the trace would."""

    def __init__(self) -> None:
        self.oracle = Oracle(WINDOW_NS)
        self.oracle(Record(0, "uno-1", "boot", {"epoch": 5}))

    def snapshots(self, *counters: int) -> "Story":
        for counter in counters:
            t_ns = (counter + 1) * INTERVAL_NS
            self.oracle(
                Record(t_ns, "uno-1", "snapshot", {"counter": counter, "plaintext": plaintext_at(t_ns)})
            )
        return self

    def then(self, kind: str, *counters: int) -> "Story":
        for counter in counters:
            self.oracle(Record(WINDOW_NS, "uno-1", kind, {"counter": counter}))
        return self

    def judged(
        self, *server: LedgerEntry, gateways: tuple[LedgerEntry, ...] = (), forks: tuple[str, ...] = ()
    ) -> Verdict:
        return self.oracle.judge([METER], server, gateways, forks)


def missing(verdict: Verdict) -> dict[str, int]:
    return {cause.value: count for cause, count in verdict.missing_by_cause.items() if count}


def test_everything_delivered() -> None:
    story = Story().snapshots(0, 1, 2).then("sent", 0, 1, 1, 2).then("acked", 0, 1, 2)
    verdict = story.judged(*(entry(n, (n + 1) * INTERVAL_NS + n * NS_PER_S) for n in range(3)))
    assert (verdict.injected, verdict.in_server_ledger, verdict.altered, verdict.unaccounted) == (6, 6, 0, 0)
    assert (verdict.delivered, verdict.missing, missing(verdict), story.oracle.repeated) == (
        1.0,
        0,
        {},
        {"uno-1": 1},
    )
    assert verdict.latencies_ns == (0, NS_PER_S, 2 * NS_PER_S)
    assert (verdict.latency_ns(50), verdict.latency_ns(99), verdict.latency_ns(0)) == (
        NS_PER_S,
        2 * NS_PER_S,
        0,
    )


@pytest.mark.parametrize(
    ("story", "gateways", "cause"),
    [
        (Story().snapshots(0, 1, 2).then("sent", 2), (), Cause.STILL_BUFFERED),
        (Story().snapshots(0, 1, 2).then("sent", 2).then("acked", 2), (entry(2),), Cause.STILL_BUFFERED),
        (Story().snapshots(0, 1, 2).then("sent", 2).then("dropped", 2), (), Cause.RADIO),
        (Story().snapshots(0, 1, 2).then("dropped", 2), (), Cause.MEMORY),
        (Story().snapshots(0, 1), (), Cause.CPU),
    ],
)
def test_what_is_missing_has_its_cause(story: Story, gateways: tuple[LedgerEntry, ...], cause: Cause) -> None:
    verdict = story.judged(entry(0), entry(1), gateways=gateways)
    assert (verdict.missing, missing(verdict), verdict.unaccounted) == (2, {cause.value: 2}, 0)


def test_an_acknowledged_reading_that_is_nowhere_is_unaccounted() -> None:
    verdict = Story().snapshots(0, 1, 2).then("sent", 2).then("acked", 2).judged(entry(0), entry(1))
    assert (verdict.missing, missing(verdict), verdict.unaccounted) == (2, {}, 2)


def test_alterations_are_found_wherever_they_are() -> None:
    whole = Story().snapshots(0, 1, 2)
    other_bytes = replace(entry(1), plaintext=plaintext_at(INTERVAL_NS))
    verdict = whole.judged(entry(0), other_bytes, entry(2), entry(2), replace(entry(0), uno_id=99))
    assert (verdict.altered, verdict.foreign) == (2 + 2 + 1, 1)
    assert any("other bytes" in example for example in verdict.examples)
    assert any("stands 2 times" in example for example in verdict.examples)


def test_an_entry_of_a_snapshot_that_was_never_taken_is_foreign() -> None:
    verdict = Story().snapshots(0, 1).judged(entry(0), entry(1), entry(2))
    assert (verdict.altered, verdict.foreign, missing(verdict)) == (1, 1, {"cpu": 2})
    assert verdict.in_server_ledger == 4


def test_a_fork_counts_as_altered_and_is_told() -> None:
    fork = "server: east/pi is frozen: it signed two blocks with seq 3"
    verdict = Story().snapshots(0, 1, 2).judged(*map(entry, range(3)), forks=(fork,))
    assert (verdict.altered, verdict.foreign, verdict.missing, verdict.examples) == (1, 0, 0, (fork,))


def test_a_register_that_is_not_what_was_played_is_altered() -> None:
    story, t_ns = Story(), INTERVAL_NS
    short = Snapshot(Status(0), 0, 0, (), (60, 59)).encode()
    story.oracle(Record(t_ns, "uno-1", "snapshot", {"counter": 0, "plaintext": short}))
    verdict = story.judged(LedgerEntry(UNO_ID, 5, 0, short))
    assert verdict.altered == 1
    assert verdict.examples[0].endswith("register 1 is 59, not 60")


def test_a_reset_loses_what_was_in_memory_and_starts_a_new_life() -> None:
    story = Story().snapshots(0).then("sent", 0).then("acked", 0)
    story.snapshots(1)
    story.oracle(Record(2 * INTERVAL_NS + NS_PER_S, "uno-1", "boot", {"epoch": 6}))
    verdict = story.judged(entry(0))
    assert (verdict.injected, verdict.in_server_ledger, missing(verdict)) == (4, 2, {"memory": 2})


def test_an_uno_that_never_spoke_is_missed() -> None:
    verdict = Oracle(WINDOW_NS).judge([METER], [], [])
    assert (verdict.injected, missing(verdict)) == (6, {"cpu": 6})
