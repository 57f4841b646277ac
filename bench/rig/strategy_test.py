from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import MOST_TRIES, Seat, State, Strategy


class LadderSeat:
    """A seat that keeps the rule of one step at a time, and fails as often as it is told to."""

    def __init__(self, name: str, failures: int = 0, *, retry_helps: bool = True) -> None:
        self.name = name
        self.state = State.OFF
        self.steps: list[State] = []
        self.failures = failures
        self.retry_helps = retry_helps

    def step_to(self, state: State) -> None:
        assert state <= self.state + 1, f"{self.state} to {state} is no step"
        self.steps.append(state)
        if state is not State.OFF and self.failures:
            self.failures -= 1
            raise InfrastructureError(self.name, "it fell", "pick it up", retry_helps=self.retry_helps)
        self.state = state


def test_seats_climb_in_their_order_and_come_down_in_reverse() -> None:
    told: list[str] = []
    seats = [LadderSeat("server"), LadderSeat("pi")]
    strategy = Strategy(seats, told.append)
    strategy.reach(State.RUNNING)
    assert told == ["server: flashed", "pi: flashed", "server: running", "pi: running"]
    strategy.reach(State.RUNNING)
    assert len(told) == 4
    strategy.reach(State.FLASHED, seats[1:])
    assert seats[0].state is State.RUNNING
    assert seats[1].steps == [State.FLASHED, State.RUNNING, State.FLASHED]


@given(st.integers(0, 5), st.booleans())
def test_a_failure_is_retried_where_it_helps_and_every_retry_is_kept(failures: int, helps: bool) -> None:
    seat = LadderSeat("pi", failures, retry_helps=helps)
    strategy = Strategy([seat])
    if failures == 0 or (helps and failures < MOST_TRIES):
        strategy.reach(State.JOINED)
        assert [retry.attempt for retry in strategy.retries] == list(range(1, failures + 1))
        assert all("pi on its way to flashed" in str(retry) for retry in strategy.retries)
        return
    with pytest.raises(InfrastructureError, match="pi: it fell; pick it up"):
        strategy.reach(State.JOINED)
    tried = len(seat.steps)
    with pytest.raises(InfrastructureError, match="it fell"):
        strategy.reach(State.JOINED)
    assert len(seat.steps) == tried, "a broken rig is not tried again"
    strategy.reach(State.OFF)


class StrategyMachine(RuleBasedStateMachine):
    """From anything to any state, whatever happened to the seats meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.seats = [LadderSeat("server"), LadderSeat("pi"), LadderSeat("uno")]
        self.strategy = Strategy(self.seats)

    @rule(state=st.sampled_from(State))
    def reach(self, state: State) -> None:
        self.strategy.reach(state)
        assert {seat.state for seat in self.seats} == {state}

    @rule(place=st.integers(0, 2), state=st.sampled_from(State))
    def happen(self, place: int, state: State) -> None:
        """A seat is found in another state than it was left in."""
        self.seats[place].state = state

    @invariant()
    def nothing_breaks(self) -> None:
        assert self.strategy.broken is None


TestStrategy = StrategyMachine.TestCase


def test_a_seat_that_does_not_find_its_way_down_is_brought_up_again_from_off() -> None:
    seat = LadderSeat("pi")
    strategy = Strategy([seat])
    strategy.reach(State.JOINED)
    seat.failures = 1
    strategy.reach(State.FLASHED)
    assert seat.state is State.FLASHED
    assert seat.steps[-3:] == [State.FLASHED, State.OFF, State.FLASHED]
    [retry] = strategy.retries
    assert str(retry).startswith("pi on its way to flashed")
    assert strategy.broken is None


def test_the_ladder_seat_is_a_seat() -> None:
    seat: Seat = LadderSeat("pi")
    assert str(seat.state) == "off"
