from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.load import Load, Part, SteppedCurrent
from bench.instruments.scpi.channel import PowerEvent, Slew, SupplyChannel

MS = 1_000_000
SECOND_NS = 1_000 * MS
SLEW = Slew(rise_uv_per_ms=100_000, fall_uv_per_ms=50_000)
UNEVEN = Slew(rise_uv_per_ms=99_991, fall_uv_per_ms=33_331)
"""No level is passed at a whole ns."""

VOLTAGE_UV = 5_000_000


@dataclass
class Bench:
    """A channel with one board that browns out at 2.7 V, and what happened to it."""

    part: Part = field(default_factory=lambda: SteppedCurrent(100_000))
    limit_ua: int = 3_000_000
    slew: Slew = SLEW

    def __post_init__(self) -> None:
        self.events: list[tuple[int, bool]] = []
        load = Load("board", self.part, 2_700, lambda _powered: None)
        self.channel = SupplyChannel([load], self._on_power, self.slew)
        self.channel.set_voltage(VOLTAGE_UV)
        self.channel.set_limit(self.limit_ua)

    def _on_power(self, event: PowerEvent) -> None:
        assert event.load.name == "board"
        self.events.append((event.at_ns, event.powered))


def test_an_output_that_is_off_gives_nothing() -> None:
    bench = Bench()
    bench.channel.advance(SECOND_NS)
    assert (bench.channel.voltage_uv, bench.channel.current_ua, bench.channel.charge_fc) == (0, 0, 0)
    assert bench.events == []


def test_switching_on_and_off_powers_and_cuts_the_board_at_the_exact_time() -> None:
    bench = Bench()
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    # 2.7 V and the hysteresis of 50 mV at 100 mV per ms.
    assert bench.events == [(27 * MS + MS // 2, True)]
    bench.channel.switch(False)
    bench.channel.advance(2 * SECOND_NS)
    # Just below 2.7 V, 2.300001 V down at 50 mV per ms.
    assert bench.events[1:] == [(SECOND_NS + 46 * MS + 20, False)]
    assert bench.channel.voltage_uv == 0


def test_a_level_between_two_ns_is_passed_at_the_later() -> None:
    bench = Bench(slew=UNEVEN)
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    assert bench.events == [(-(-2_750_000 * MS // 99_991), True)]
    bench.channel.switch(False)
    bench.channel.advance(2 * SECOND_NS)
    assert bench.events[1:] == [(SECOND_NS - (-2_300_001 * MS // 33_331), False)]


def test_a_board_comes_up_only_above_the_hysteresis() -> None:
    bench = Bench()
    bench.channel.switch(True)
    for voltage_uv, powered in ((2_749_000, False), (2_750_000, True), (2_700_000, True), (2_699_000, False)):
        bench.channel.set_voltage(voltage_uv)
        bench.channel.advance(bench.channel.now_ns + SECOND_NS)
        bench.channel.advance(bench.channel.now_ns + SECOND_NS)
        assert (bool(bench.events) and bench.events[-1][1]) is powered


def test_a_steady_output_rests_and_a_guarded_one_does_not() -> None:
    bench = Bench()
    assert bench.channel.due_ns == 100 * MS
    bench.channel.switch(True)
    # The first level on the way: just below 2.7 V.
    assert bench.channel.due_ns == 27 * MS - 10
    bench.channel.advance(SECOND_NS)
    assert bench.channel.due_ns == SECOND_NS + 100 * MS
    bench.channel.over_current.level = 200_000
    bench.channel.over_current.is_enabled = True
    assert bench.channel.due_ns == SECOND_NS + 5 * MS


def test_energy_of_a_steady_voltage_is_exact() -> None:
    part = SteppedCurrent(0)
    bench = Bench(part)
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    assert bench.channel.energy_zj == 0
    area_fc, at_ns = 0, SECOND_NS
    for step, current_ua in enumerate((260_000, 730_001, 12_345, 999_983)):
        part.change(at_ns, current_ua)
        bench.channel.advance(at_ns + 777 * (step + 1))
        at_ns += 3_333_333 * (step + 1)
        bench.channel.advance(at_ns)
        area_fc += current_ua * 3_333_333 * (step + 1)
    assert bench.channel.charge_fc == area_fc
    assert bench.channel.energy_zj == area_fc * VOLTAGE_UV


def test_energy_while_the_voltage_rises_is_that_of_its_mean() -> None:
    bench = Bench()
    bench.channel.switch(True)
    bench.channel.advance(50 * MS)
    # From 2.75 V, where the board comes on, to 5 V in 22.5 ms, at 100 mA: 3.875 V in the mean.
    assert bench.channel.charge_fc == 100_000 * 22_500_000
    assert bench.channel.energy_zj == bench.channel.charge_fc * 3_875_000


ACTIONS = st.lists(
    st.tuples(
        st.integers(1, 400 * MS),
        st.sampled_from([None, True, False, 0, 2_000_000, 3_300_000, 5_000_000, 30_000_000]),
    ),
    max_size=12,
)


@given(ACTIONS, st.lists(st.integers(1, 400 * MS), max_size=40))
def test_how_time_is_cut_changes_nothing(
    actions: list[tuple[int, bool | int | None]], cuts: list[int]
) -> None:
    def played(extra_ns: list[int]) -> SupplyChannel:
        bench = Bench(slew=UNEVEN)
        benches.append(bench)
        times = iter(sorted(extra_ns))
        stop, at_ns = next(times, None), 0
        for wait_ns, action in actions:
            at_ns += wait_ns
            while stop is not None and stop <= at_ns:
                bench.channel.advance(stop)
                stop = next(times, None)
            bench.channel.advance(at_ns)
            if isinstance(action, bool):
                bench.channel.switch(action)
            elif action is not None:
                bench.channel.set_voltage(action)
        return bench.channel

    benches: list[Bench] = []
    whole, pieces = played([]), played(cuts)
    assert benches[0].events == benches[1].events
    assert whole.voltage_uv == pieces.voltage_uv
    assert abs(whole.charge_fc - pieces.charge_fc) == 0
    # The mean of a ramp's ends is cut to a whole uV in each piece.
    assert abs(whole.energy_zj - pieces.energy_zj) <= whole.charge_fc


@given(ACTIONS)
def test_who_advances_when_due_is_told_of_power_in_time(actions: list[tuple[int, bool | int | None]]) -> None:
    bench = Bench()
    late_ns: list[int] = []

    def go_to(until_ns: int) -> None:
        while bench.channel.now_ns < until_ns:
            known = len(bench.events)
            bench.channel.advance(min(until_ns, bench.channel.due_ns))
            late_ns.extend(bench.channel.now_ns - at_ns for at_ns, _ in bench.events[known:])

    at_ns = 0
    for wait_ns, action in [*actions, (SECOND_NS, None)]:
        at_ns += wait_ns
        go_to(at_ns)
        if isinstance(action, bool):
            bench.channel.switch(action)
        elif action is not None:
            bench.channel.set_voltage(action)
    assert max(late_ns, default=0) <= MS


@given(ACTIONS)
def test_power_comes_and_goes_in_turn_and_with_the_voltage(
    actions: list[tuple[int, bool | int | None]],
) -> None:
    bench, at_ns = Bench(), 0
    for wait_ns, action in actions:
        at_ns += wait_ns
        bench.channel.advance(at_ns)
        if isinstance(action, bool):
            bench.channel.switch(action)
        elif action is not None:
            bench.channel.set_voltage(action)
    bench.channel.advance(at_ns + 10 * SECOND_NS)
    assert [powered for _, powered in bench.events] == [index % 2 == 0 for index in range(len(bench.events))]
    assert all(earlier <= later for (earlier, _), (later, _) in pairwise(bench.events))
    powered = bool(bench.events) and bench.events[-1][1]
    if bench.channel.voltage_uv >= 2_750_000:
        assert powered
    if bench.channel.voltage_uv < 2_700_000:
        assert not powered


def test_a_dip_below_the_level_resets_the_board_and_one_above_it_does_not() -> None:
    bench = Bench()
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    for dip_uv, events in ((2_700_000, 1), (2_699_000, 3)):
        bench.channel.set_voltage(dip_uv)
        bench.channel.advance(bench.channel.now_ns + SECOND_NS)
        bench.channel.set_voltage(VOLTAGE_UV)
        bench.channel.advance(bench.channel.now_ns + SECOND_NS)
        assert len(bench.events) == events


def test_the_limit_holds_the_current_and_takes_from_the_voltage() -> None:
    part = SteppedCurrent(400_000)
    bench = Bench(part, limit_ua=400_000)
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    assert not bench.channel.is_limiting
    part.change(SECOND_NS, 500_000)
    for at_ms in range(1005, 1500, 5):
        bench.channel.advance(at_ms * MS)
    assert bench.channel.is_limiting
    assert bench.channel.current_ua == 400_000
    assert bench.channel.voltage_uv == VOLTAGE_UV * 400 // 500
    assert len(bench.events) == 1


def test_a_board_starved_by_the_limit_stays_down_until_the_output_is_set_anew() -> None:
    bench = Bench(SteppedCurrent(500_000), limit_ua=100_000)
    bench.channel.switch(True)
    for at_ms in range(5, 500, 5):
        bench.channel.advance(at_ms * MS)
    assert [powered for _, powered in bench.events] == [True, False]
    assert bench.channel.current_ua == 0
    bench.channel.set_limit(600_000)
    bench.channel.advance(SECOND_NS)
    assert [powered for _, powered in bench.events] == [True, False, True]


def test_over_current_trips_until_it_is_cleared() -> None:
    part = SteppedCurrent(100_000)
    bench = Bench(part)
    bench.channel.over_current.level = 200_000
    bench.channel.over_current.is_enabled = True
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    assert bench.channel.is_on
    part.change(SECOND_NS, 200_001)
    bench.channel.advance(SECOND_NS + 5 * MS)
    assert bench.channel.over_current.tripped
    assert not bench.channel.is_on
    bench.channel.advance(2 * SECOND_NS)
    assert bench.events[-1][1] is False
    bench.channel.switch(True)
    assert not bench.channel.is_on
    bench.channel.over_current.clear()
    bench.channel.switch(True)
    assert bench.channel.is_on


def test_over_voltage_trips_as_the_voltage_passes_the_level() -> None:
    bench = Bench()
    bench.channel.over_voltage.level = 4_000_000
    bench.channel.over_voltage.is_enabled = True
    bench.channel.switch(True)
    bench.channel.advance(40 * MS)
    assert not bench.channel.over_voltage.tripped
    bench.channel.advance(41 * MS)
    assert bench.channel.over_voltage.tripped
    bench.channel.advance(SECOND_NS)
    assert bench.channel.voltage_uv == 0
    # From 4.000001 V, reached after 40.00001 ms, down to just below 2.7 V at 50 mV per ms.
    assert bench.events[-1] == (40 * MS + 10 + 26 * MS + 40, False)


def test_the_current_is_a_mean_over_one_period_of_the_mains() -> None:
    part = SteppedCurrent(100_000)
    bench = Bench(part)
    bench.channel.switch(True)
    bench.channel.advance(SECOND_NS)
    bench.channel.advance(SECOND_NS + 20 * MS)
    part.change(SECOND_NS + 20 * MS, 300_000)
    bench.channel.advance(SECOND_NS + 30 * MS)
    bench.channel.advance(SECOND_NS + 40 * MS)
    assert bench.channel.current_ua == 300_000
    part.change(SECOND_NS + 40 * MS, 0)
    bench.channel.advance(SECOND_NS + 50 * MS)
    assert bench.channel.current_ua == 150_000
