from hypothesis import given
from hypothesis import strategies as st

from bench.uno.clock import CYCLE_HZ, UnoClock

clocks = st.builds(UnoClock, st.integers(0, 10**12), st.integers(-5_000_000, 5_000_000))


@given(clocks, st.integers(0, 10**15))
def test_a_cycle_maps_back_to_itself(clock: UnoClock, cycle: int) -> None:
    assert clock.cycle_at(clock.ns_at(cycle)) in (cycle, cycle - 1)
    assert clock.ns_at(clock.cycle_at(clock.ns_at(cycle))) <= clock.ns_at(cycle)


@given(clocks, st.integers(0, 10**16))
def test_the_cycle_found_is_the_first_not_before(clock: UnoClock, t_ns: int) -> None:
    cycle = clock.cycle_at(t_ns)
    assert clock.ns_at(cycle) >= t_ns - 1
    assert cycle == 0 or clock.ns_at(cycle - 1) < t_ns


def test_a_second_fast_by_two_per_mille() -> None:
    assert UnoClock(0).cycle_at(10**9) == CYCLE_HZ
    assert UnoClock(0, 2_000_000).cycle_at(10**9) == CYCLE_HZ * 1002 // 1000
    assert UnoClock(500, 0).ns_at(16) == 1500
