from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.radio.interference import InterferenceRule
from bench.radio.loss import IndependentLoss
from bench.radio.medium import Medium
from bench.radio.modulation import ImplicitHeader, Modulation, Packet
from bench.radio.propagation import FixedLinks
from bench.radio.reception import Outcome, Progress, Reception, ReceptionRule
from bench.radio.regulation import BandLimit, Regulation
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

if TYPE_CHECKING:
    from bench.radio.transmission import Station

SF7 = Modulation(433_175_000, 7, 7)
SYMBOL_NS = 1_024_000
SENSING_NS = 1_280_000
PACKET = Packet(bytes(range(16)))  # 51.456 ms at SF7
LOCK_NS = 12 * SYMBOL_NS + SYMBOL_NS // 4
HEADER_NS = LOCK_NS + 8 * SYMBOL_NS
END_NS = 51_456_000


@dataclass
class Radio:
    """A listener that writes down what it is told."""

    told: list[object] = field(default_factory=list)
    longest: int = 255

    def transmitted(self) -> None:
        self.told.append("transmitted")

    def header_received(self, length: int, coding_rate: int, crc: bool) -> bool:
        self.told.append(("header", length, coding_rate, crc))
        return length <= self.longest

    def packet_received(self, reception: Reception) -> None:
        self.told.append(reception)

    def reception_lost(self) -> None:
        self.told.append("lost")

    def activity_sensed(self, detected: bool) -> None:
        self.told.append(("sensed", detected))


class World:
    """Some stations, `gateway` keeping account, and the outcomes they note."""

    def __init__(
        self,
        levels_cdbm: dict[str, int] | None = None,
        *,
        rule: ReceptionRule | None = None,
        loss: IndependentLoss | None = None,
        regulation: Regulation | None = None,
        between_cdb: dict[tuple[str, str], int] | None = None,
    ) -> None:
        self.clock = Simulation()
        self.records: list[Record] = []
        trace = Trace()
        trace.subscribe(self.records.append)
        self.trace = trace
        links = {(name, "gateway"): 1000 - level for name, level in (levels_cdbm or {}).items()}
        self.medium = Medium(
            Stream(1, "medium"),
            trace,
            self.clock,
            FixedLinks(9000, links | (between_cdb or {})),
            rule=rule,
            loss=loss,
            regulation=regulation,
        )
        self.radios = {name: Radio() for name in ("gateway", "a", "b", "c", "d")}
        self.stations: dict[str, Station] = {
            name: self.medium.attach(name, radio, keeps_account=name == "gateway")
            for name, radio in self.radios.items()
        }

    def listen(self, name: str, modulation: Modulation = SF7, *, single: bool = False) -> None:
        self.medium.listen(self.stations[name], modulation, single=single)

    def send(self, name: str, modulation: Modulation = SF7, packet: Packet = PACKET) -> None:
        end_ns = self.medium.transmit(self.stations[name], modulation, packet, 1000)
        assert end_ns == self.clock.now_ns + packet.airtime_ns(modulation)

    def send_at(self, t_ns: int, name: str, modulation: Modulation = SF7, packet: Packet = PACKET) -> None:
        self.clock.at(t_ns, name, partial(self.send, name, modulation, packet))

    def stop_at(self, t_ns: int, name: str) -> None:
        self.clock.at(t_ns, name, lambda: self.medium.stop(self.stations[name]))

    def outcomes(self, receiver: str = "gateway", until_ns: int = 10**12) -> list[tuple[str, str]]:
        self.clock.run(until_ns)
        self.trace.settle()
        return [
            (str(record.fields["sender"]), str(record.fields["outcome"]))
            for record in self.records
            if record.kind == "reception" and record.source == receiver
        ]


def test_packet_arrives_after_its_exact_airtime_with_level_and_snr() -> None:
    world = World({"a": -10_000})
    world.listen("gateway")
    world.send("a")
    world.clock.run(END_NS)
    assert world.radios["gateway"].told == [("header", 16, 1, True)]
    world.clock.run(END_NS + 1)
    assert world.radios["gateway"].told[1:] == [Reception(PACKET.payload, True, -10_000, 1753, 1, True)]
    assert world.radios["a"].told == ["transmitted"]
    assert world.outcomes() == [("a", "delivered")]


def test_a_weaker_packet_than_sensitivity_is_not_heard() -> None:
    world = World({"a": -12_504, "b": -12_503})
    world.listen("gateway")
    world.send("a")
    world.send_at(10**9, "b")
    assert world.outcomes() == [("a", "below_sensitivity"), ("b", "delivered")]


@pytest.mark.parametrize(
    ("second_starts_ns", "first_outcome", "second_outcome"),
    [
        (LOCK_NS - 1, "collided_preamble", "delivered"),
        (LOCK_NS, "collided_header", "receiver_busy"),
        (HEADER_NS - 3 * SYMBOL_NS - 1, "collided_header", "receiver_busy"),
        (HEADER_NS - 3 * SYMBOL_NS, "collided_header", "delivered"),
        (HEADER_NS, "collided_payload", "receiver_busy"),
        (END_NS - 3 * SYMBOL_NS - 1, "collided_payload", "receiver_busy"),
        (END_NS - 3 * SYMBOL_NS, "collided_payload", "delivered"),
        (END_NS - 1, "collided_payload", "delivered"),
        (END_NS, "delivered", "delivered"),
    ],
)
def test_a_stronger_late_packet_spoils_the_stage_it_meets(
    second_starts_ns: int, first_outcome: str, second_outcome: str
) -> None:
    world = World({"a": -9000, "b": -8000})
    world.listen("gateway")
    world.send("a")
    world.send_at(second_starts_ns, "b")
    assert sorted(world.outcomes()) == [("a", first_outcome), ("b", second_outcome)]


def test_search_resumes_behind_a_spoiled_header_unless_told_otherwise() -> None:
    for resumes, third in ((True, "collided_preamble"), (False, "receiver_busy")):
        world = World({"a": -9000, "b": -8000}, rule=ReceptionRule(resumes_after_header_failure=resumes))
        world.listen("gateway")
        world.send("a")
        world.send_at(LOCK_NS, "b")
        world.send_at(HEADER_NS, "c")
        assert ("c", third) in world.outcomes()


def test_a_much_weaker_packet_does_no_harm_and_is_lost_itself() -> None:
    world = World({"a": -8000, "b": -8600})
    world.listen("gateway")
    world.send("b")
    world.send_at(SYMBOL_NS, "a")
    assert sorted(world.outcomes()) == [("a", "delivered"), ("b", "collided_preamble")]


def test_a_spoiled_payload_is_handed_on_as_such() -> None:
    world = World({"a": -9000, "b": -9000})
    world.listen("gateway")
    world.send("a")
    world.send_at(HEADER_NS, "b")
    world.outcomes()
    (reception,) = [told for told in world.radios["gateway"].told if isinstance(told, Reception)]
    assert not reception.intact
    assert len(reception.payload) == 16
    assert reception.payload != PACKET.payload


def test_many_weak_packets_add_up() -> None:
    levels = {"a": -8000, "b": -8700, "c": -8700}
    for sums_power, expected in ((True, "collided_payload"), (False, "delivered")):
        world = World(levels, rule=ReceptionRule(interference=InterferenceRule(sums_power=sums_power)))
        world.listen("gateway")
        world.send("a")
        world.send_at(HEADER_NS, "b")
        world.send_at(HEADER_NS + 5 * SYMBOL_NS, "c")
        assert ("a", expected) in world.outcomes()


def test_weak_packets_one_after_the_other_do_not_add_up() -> None:
    world = World({"a": -8000, "b": -8700, "c": -8700})
    long = Packet(bytes(200))
    world.listen("gateway")
    world.send("a", packet=long)
    world.send_at(HEADER_NS, "b")
    world.send_at(HEADER_NS + END_NS, "c")
    assert ("a", "delivered") in world.outcomes()


@pytest.mark.parametrize(
    ("interferer", "level_cdbm", "expected"),
    [
        (replace(SF7, spreading_factor=9), -8000, "delivered"),  # Croce: 9 dB below is enough
        (replace(SF7, spreading_factor=9), -7099, "collided_header"),
        (
            replace(SF7, spreading_factor=9, bandwidth_code=8),
            -8000,
            "collided_header",
        ),  # the same chirp slope
        (replace(SF7, frequency_hz=434_000_000), -3000, "delivered"),
    ],
)
def test_other_modulations_are_noise_by_the_matrix(
    interferer: Modulation, level_cdbm: int, expected: str
) -> None:
    world = World({"a": -8000, "b": level_cdbm})
    world.listen("gateway")
    world.send("a")
    world.send_at(LOCK_NS + 1, "b", interferer)
    assert ("a", expected) in world.outcomes()


@pytest.mark.parametrize(
    "other",
    [
        replace(SF7, sync_word=0x34),
        replace(SF7, inverted_iq=True),
        replace(SF7, low_data_rate=True),
        replace(SF7, frequency_hz=434_000_000),
        replace(SF7, implicit_header=ImplicitHeader(16, 1, True)),
    ],
)
def test_a_receiver_with_other_settings_hears_nothing(other: Modulation) -> None:
    world = World()
    world.listen("gateway", other)
    world.send("a")
    assert world.outcomes() == [("a", "mismatched")]
    assert world.radios["gateway"].told == []


def test_implicit_headers_have_no_header_stage() -> None:
    implicit = replace(SF7, implicit_header=ImplicitHeader(16, 1, True))
    world = World({"a": -9000, "b": -8000})
    world.listen("gateway", implicit)
    world.send("a", implicit)
    world.send_at(LOCK_NS + 1, "b", implicit)
    assert ("a", "collided_payload") in world.outcomes()
    assert not any(isinstance(told, tuple) for told in world.radios["gateway"].told)


def test_receiver_that_comes_late_goes_early_or_sends_is_deaf() -> None:
    world = World()
    world.clock.at(3 * SYMBOL_NS + 1, "gateway", lambda: world.listen("gateway"))
    world.send("a")
    world.send_at(10**9, "a")
    world.stop_at(10**9 + LOCK_NS - 1, "gateway")
    world.send_at(2 * 10**9, "gateway")
    world.send_at(2 * 10**9, "a")
    assert world.outcomes() == [("a", "receiver_deaf")] * 3


def test_receiver_that_leaves_after_locking_is_told_apart() -> None:
    world = World()
    world.listen("gateway")
    world.send("a")
    world.stop_at(LOCK_NS + 1, "gateway")
    assert world.outcomes() == [("a", "receiver_left")]


def test_sender_that_stops_leaves_a_packet_without_end() -> None:
    for stop_ns in (1, LOCK_NS + 1, HEADER_NS + 1):
        world = World()
        world.listen("gateway")
        world.send("a")
        world.stop_at(stop_ns, "a")
        assert world.outcomes() == [("a", "sender_stopped")]
        assert world.radios["a"].told == []


def test_receiver_may_refuse_what_the_header_announces() -> None:
    world = World()
    world.radios["gateway"].longest = 15
    world.listen("gateway")
    world.send("a")
    assert world.outcomes() == [("a", "refused")]
    assert world.radios["gateway"].told == [("header", 16, 1, True), "lost"]


def test_single_reception_ends_by_itself() -> None:
    world = World()
    world.listen("gateway", single=True)
    world.send("a")
    world.send_at(10**9, "a")
    assert world.outcomes() == [("a", "delivered"), ("a", "receiver_deaf")]


def test_only_those_that_listen_or_keep_account_get_outcomes() -> None:
    world = World()
    world.listen("b")
    world.send("a")
    assert world.outcomes("gateway") == [("a", "receiver_deaf")]
    assert world.outcomes("b") == [("a", "delivered")]
    assert world.outcomes("c") == []
    assert world.medium.outcomes == {("gateway", Outcome.RECEIVER_DEAF): 1, ("b", Outcome.DELIVERED): 1}


def test_planned_loss_takes_its_share_and_no_more() -> None:
    world = World(loss=IndependentLoss(250_000))
    world.listen("gateway")
    for number in range(2000):
        world.send_at(number * 10**8, "a")
    counts = Counter(outcome for _, outcome in world.outcomes())
    assert set(counts) == {"delivered", "lost_by_plan"}
    assert counts["lost_by_plan"] == pytest.approx(500, abs=80)  # four standard deviations


def test_hidden_nodes_do_not_sense_each_other() -> None:
    world = World(between_cdb={("a", "c"): 30_000})
    world.send("a")
    for name in ("b", "c"):
        world.clock.at(SYMBOL_NS, name, partial(world.medium.sense, world.stations[name], SF7))
    world.clock.run(10**9)
    assert world.radios["b"].told == [("sensed", True)]
    assert world.radios["c"].told == [("sensed", False)]


def test_sensing_lasts_its_time_and_payload_is_sensed_less_surely() -> None:
    world = World(rule=ReceptionRule(sensed_in_payload_ppm=0))
    world.send("a")
    world.clock.at(HEADER_NS, "b", lambda: world.medium.sense(world.stations["b"], SF7))
    world.clock.run(HEADER_NS + 1_280_000)
    assert world.radios["b"].told == []
    world.clock.run(HEADER_NS + 1_280_001)
    assert world.radios["b"].told == [("sensed", False)]


def test_level_and_progress_follow_the_packet() -> None:
    world = World({"a": -9000, "b": -9000})
    gateway = world.stations["gateway"]
    world.listen("gateway")
    assert world.medium.level_cdbm(gateway, SF7) == pytest.approx(
        -11753, abs=1
    )  # noise floor of 125 kHz, NF 5.5 dB
    world.send("a")
    seen = []
    for t_ns in (1, 3 * SYMBOL_NS, LOCK_NS + 1, HEADER_NS + 1, END_NS + 1):
        world.clock.run(t_ns)
        seen.append(world.medium.progress(gateway))
    assert seen == [
        Progress.SEARCHING,
        Progress.DETECTED,
        Progress.SYNCHRONISED,
        Progress.HEADER_VALID,
        Progress.SEARCHING,
    ]
    world.send("a")
    world.send("b")
    world.clock.run(END_NS + 2)
    assert world.medium.level_cdbm(gateway, SF7) == pytest.approx(-8699, abs=2)


def test_violations_of_regulation_are_noted() -> None:
    regulation = Regulation(BandLimit(433_050_000, 434_790_000, 900, 1_000_000))
    world = World(regulation=regulation)
    world.send("a")
    world.outcomes()
    assert [record.fields["rule"] for record in world.records if record.kind == "violation"] == ["power"]


def test_a_name_can_be_taken_once() -> None:
    world = World()
    with pytest.raises(ValueError, match="station named a already"):
        world.medium.attach("a", Radio())


MOMENTS_NS = sorted(
    {
        base + offset
        for base in (0, 5 * SYMBOL_NS, LOCK_NS, END_NS)
        for offset in (0, 1, SYMBOL_NS, SENSING_NS, 3 * SYMBOL_NS, LOCK_NS, HEADER_NS, END_NS)
    }
)
CALLS = st.lists(
    st.tuples(
        st.sampled_from(MOMENTS_NS),
        st.sampled_from(["gateway", "a", "b", "c", "d"]),
        st.sampled_from(["send", "send", "send", "listen", "single", "stop", "sense"]),
    ),
    max_size=25,
    unique_by=lambda call: call[:2],
)
LEVELS = st.fixed_dictionaries({name: st.sampled_from([-8000, -8300, -8600, -12_600]) for name in "abcd"})


def play(calls: list[tuple[int, str, str]], levels: dict[str, int], order: dict[str, str]) -> World:
    """Make the calls; those of one moment go by `order`, before or after what is due."""
    world = World(levels, loss=IndependentLoss(100_000))

    def make(name: str, what: str) -> None:
        station = world.stations[name]
        if what == "send":
            world.send(name)
        elif what == "stop":
            world.medium.stop(station)
        elif what == "sense":
            world.medium.sense(station, SF7)
        else:
            world.listen(name, single=what == "single")

    for t_ns, name, what in calls:
        world.clock.at(t_ns, order[name], partial(make, name, what))
    world.outcomes()
    return world


def notes(world: World) -> list[str]:
    return sorted(record.line() for record in world.records)


@settings(max_examples=300, deadline=None)
@given(CALLS, LEVELS, st.permutations(["gateway", "a", "b", "c", "d"]), st.sets(st.sampled_from("abcd")))
def test_outcomes_do_not_hang_on_the_order_of_simultaneous_calls(
    calls: list[tuple[int, str, str]], levels: dict[str, int], ranks: list[str], late: set[str]
) -> None:
    plain = play(calls, levels, {name: name for name in ranks})
    # Sources that begin with '!' are served before all stations, those with '~' after.
    shuffled = play(
        calls, levels, {name: f"{'~' if name in late else '!'}{rank}" for rank, name in enumerate(ranks)}
    )
    assert notes(plain) == notes(shuffled)


@settings(max_examples=300, deadline=None)
@given(CALLS, LEVELS)
def test_a_packet_has_at_most_one_outcome_and_none_reaches_one_that_sends(
    calls: list[tuple[int, str, str]], levels: dict[str, int]
) -> None:
    world = play(calls, levels, {name: name for name in ["gateway", *"abcd"]})
    sent = {
        (record.source, record.fields["number"]): record
        for record in world.records
        if record.kind == "transmission"
    }
    stopped = {
        (record.source, record.fields["number"]): record.t_ns
        for record in world.records
        if record.kind == "transmission_stopped"
    }
    seen: Counter[tuple[str, object, object]] = Counter()
    for record in world.records:
        if record.kind != "reception":
            continue
        packet = (str(record.fields["sender"]), record.fields["number"])
        seen[record.source, *packet] += 1
        if record.fields["outcome"] == "delivered":
            start_ns, end_ns = sent[packet].t_ns, record.t_ns
            own = [key for key in sent if key[0] == record.source]
            assert packet[0] != record.source
            assert not any(
                sent[key].t_ns < end_ns
                and stopped.get(key, sent[key].fields["end_ns"]) > start_ns + 3 * SYMBOL_NS  # type: ignore[operator]  # the end is an int
                for key in own
            )
    assert all(count == 1 for count in seen.values())
    assert {key[1:] for key in seen if key[0] == "gateway"} == {key for key in sent if key[0] != "gateway"}
