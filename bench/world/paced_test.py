"""The paced world keeps its appointments in order and not before their time, and lets others reach in."""

import os
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.world.paced import PacedWorld, WorldStoppedError
from bench.world.simulation import NS_PER_MS, Simulation
from bench.world.trace import Record, Trace

PATIENCE_S = 20


class Runner:
    """An actor that runs ahead as far as its leash."""

    leash_ns: int | None = None


@pytest.fixture
def world() -> Iterator[PacedWorld]:
    world = PacedWorld(Simulation(), Trace())
    yield world
    world.close()


def heard(event: threading.Event) -> bool:
    return event.wait(PATIENCE_S)


def test_appointments_are_kept_in_order_and_never_early(world: PacedWorld) -> None:
    kept: list[tuple[int, int]] = []
    done = threading.Event()

    def keep(due_ns: int) -> None:
        kept.append((due_ns, world.now_ns))

    for due_ns in (0, 3 * NS_PER_MS, NS_PER_MS, 1_500_000):
        world.simulation.at(due_ns, "x", partial(keep, due_ns))
    world.simulation.at(4 * NS_PER_MS, "x", done.set)
    world.start()
    assert heard(done)
    assert [due_ns for due_ns, _ in kept] == [0, NS_PER_MS, 1_500_000, 3 * NS_PER_MS]
    assert all(now_ns >= due_ns for due_ns, now_ns in kept)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 8 * NS_PER_MS), st.sampled_from("abc")), max_size=30))
def test_the_order_is_that_of_virtual_time(plan: list[tuple[int, str]]) -> None:
    """Each appointment makes another, as actors do."""

    def played(paced: bool) -> list[tuple[int, str]]:
        simulation, trace, told = Simulation(), Trace(), list[Record]()
        trace.subscribe(told.append)

        def act(source: str, again: bool) -> None:
            trace.record(simulation.now_ns, source, "acted")
            if again:
                simulation.at(simulation.now_ns + 100_000, source, lambda: act(source, again=False))

        for due_ns, source in plan:
            simulation.at(due_ns, source, partial(act, source, again=True))
        if paced:
            over = threading.Event()
            simulation.at(9 * NS_PER_MS, "end", over.set)
            with PacedWorld(simulation, trace):
                assert heard(over)
        else:
            simulation.run(9 * NS_PER_MS)
            trace.settle()
        return [(record.t_ns, record.source) for record in told]

    assert played(paced=True) == played(paced=False)


def test_a_call_runs_in_the_world_s_thread_at_its_present(world: PacedWorld) -> None:
    world.start()
    before_ns = world.now_ns
    name, at_ns = world.call(lambda: (threading.current_thread().name, world.simulation.now_ns))
    assert name == "paced world"
    assert before_ns <= at_ns <= world.now_ns
    assert world.call(lambda: world.call(lambda: 7)) == 7


def test_an_error_in_a_call_comes_back_and_the_world_plays_on(world: PacedWorld) -> None:
    world.start()
    with pytest.raises(ZeroDivisionError):
        world.call(lambda: 1 // 0)
    assert world.call(lambda: 3) == 3


def test_before_and_after_calls_run_in_place(world: PacedWorld) -> None:
    here = threading.current_thread()
    assert world.call(threading.current_thread) is here
    world.start()
    world.close()
    assert world.call(threading.current_thread) is here


def test_a_descriptor_wakes_the_world_until_it_is_detached(world: PacedWorld) -> None:
    reader, writer = os.pipe()
    read: list[bytes] = []
    ready = threading.Event()

    def take() -> None:
        read.append(os.read(reader, 10))
        ready.set()

    world.start()
    world.attach(reader, take)
    os.write(writer, b"one")
    assert heard(ready)
    assert read == [b"one"]
    world.detach(reader)
    os.write(writer, b"two")
    world.call(lambda: None)
    world.call(lambda: None)
    assert read == [b"one"]
    os.close(reader)
    os.close(writer)


def test_a_ready_that_detaches_another_is_obeyed_at_once(world: PacedWorld) -> None:
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def take(index: int) -> None:
        called.append(index)
        for reader, _ in pipes:
            world.detach(reader)

    for index, (reader, writer) in enumerate(pipes):
        world.attach(reader, partial(take, index))
        os.write(writer, b"x")
    world.start()
    world.call(lambda: None)
    world.call(lambda: None)
    assert len(called) == 1
    for descriptors in pipes:
        for descriptor in descriptors:
            os.close(descriptor)


def test_an_actor_gets_as_much_leash_as_there_is_past(world: PacedWorld) -> None:
    runner = Runner()
    seen: list[tuple[int | None, int]] = []
    done = threading.Event()

    def look() -> None:
        seen.append((runner.leash_ns, world.now_ns))
        if len(seen) == 5:
            done.set()
        else:
            world.simulation.at(world.simulation.now_ns + NS_PER_MS, "runner", look)

    world.leash(runner)
    world.simulation.at(0, "runner", look)
    world.start()
    assert heard(done)
    leashes = [leash_ns for leash_ns, _ in seen if leash_ns is not None]
    assert leashes == sorted(leashes)
    assert all(leash_ns is not None and leash_ns <= now_ns for leash_ns, now_ns in seen)
    world.unleash(runner)
    last_ns = runner.leash_ns
    world.call(lambda: None)
    assert runner.leash_ns == last_ns


def test_what_comes_late_is_measured(world: PacedWorld) -> None:
    """An appointment that holds the world up for 60 ms makes the one 10 ms after it 50 ms late, and more."""
    done = threading.Event()
    world.simulation.at(0, "slow", lambda: time.sleep(0.06))
    world.simulation.at(10 * NS_PER_MS, "late", done.set)
    world.start()
    assert heard(done)
    world.call(lambda: None)
    assert world.largest_lag_ns >= 50 * NS_PER_MS


def test_records_are_told_while_it_plays_and_all_at_the_end() -> None:
    trace, told, early = Trace(), list[str](), threading.Event()

    def take(record: Record) -> None:
        told.append(record.kind)
        assert record.source == "x"
        early.set()

    trace.subscribe(take)
    with PacedWorld(Simulation(), trace) as world:
        world.record("x", "first")
        assert heard(early)
        world.call(lambda: trace.record(world.simulation.now_ns + 1_000_000_000_000, "x", "far ahead"))
        assert told == ["first"]
    assert told == ["first", "far ahead"]


def test_the_zero_is_known_by_the_wall_clock(world: PacedWorld) -> None:
    before_ns = time.time_ns()
    world.start()
    assert before_ns <= world.began_unix_ns <= time.time_ns()


def test_an_error_in_the_world_stops_it_and_is_told_to_all() -> None:
    entered = threading.Event()

    def fail() -> None:
        assert heard(entered)
        raise KeyError("lost")

    failing = PacedWorld(Simulation(), Trace())
    failing.simulation.at(0, "x", fail)
    failing.start()
    outcome: list[Exception] = []

    def wait() -> None:
        try:
            failing.call(lambda: None)
        except WorldStoppedError as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    entered.set()
    waiting.join(PATIENCE_S)
    assert isinstance(outcome[0].__cause__, KeyError)
    with pytest.raises(WorldStoppedError, match="lost"):
        failing.call(lambda: None)
    with pytest.raises(WorldStoppedError, match="lost"):
        failing.close()
    assert not failing.is_playing


def test_a_posted_error_stops_the_world() -> None:
    world = PacedWorld(Simulation(), Trace())
    world.start()
    world.post(lambda: 1 // 0)
    with pytest.raises(WorldStoppedError, match="ZeroDivisionError"):
        world.call(lambda: None)
    with pytest.raises(WorldStoppedError):
        world.close()
