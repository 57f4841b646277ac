from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.world.simulation import Simulation


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from("abc")), max_size=30))
def test_order_does_not_hang_on_who_asked_first(wishes: list[tuple[int, str]]) -> None:
    def kept(order: list[tuple[int, str]]) -> list[tuple[int, str]]:
        simulation, done = Simulation(), list[tuple[int, str]]()

        def note(source: str) -> None:
            done.append((simulation.now_ns, source))

        for t_ns, source in order:
            simulation.at(t_ns, source, partial(note, source))
        simulation.run(100)
        return done

    assert kept(wishes) == kept(sorted(wishes)) == sorted(wishes)


def test_cancelled_appointments_do_not_happen_and_time_reaches_the_end() -> None:
    simulation, done = Simulation(), list[str]()
    simulation.at(5, "a", lambda: done.append("kept"))
    simulation.at(3, "a", lambda: done.append("cancelled")).cancel()
    assert simulation.next_ns() == 5
    simulation.run(5)
    assert (done, simulation.now_ns) == ([], 5)
    simulation.run(6)
    assert (done, simulation.now_ns, simulation.next_ns()) == (["kept"], 6, None)


def test_the_past_is_refused() -> None:
    simulation = Simulation()
    simulation.run(10)
    with pytest.raises(ValueError, match="uno-1 asks for 9 ns"):
        simulation.at(9, "uno-1", lambda: None)
