"""Brings the seats of a rig from whatever they are in to a known state, and keeps account of what that took.

The states are steps of one ladder: `off`, `flashed` (the software is on it), `running` (it does its work),
`joined` (it is in touch with its neighbours). A seat that fails on the way is taken back to `off` and tried
again where its error says that this helps; what is not mended by that breaks the rig, and whoever asks for a
state afterwards gets the same error at once instead of a verdict on the system under test.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_TRIES = 3
"""How often one seat is tried on its way to one state."""


class State(enum.IntEnum):
    """A known state of a seat; each takes the ones before it along."""

    OFF = 0
    FLASHED = 1
    RUNNING = 2
    JOINED = 3

    def __str__(self) -> str:
        """As it is spoken of: ``flashed``."""
        return self.name.lower()


class Seat(Protocol):
    """One part of a rig that can be brought to a state."""

    @property
    def name(self) -> str:
        """As errors and reports call it."""

    @property
    def state(self) -> State:
        """The state it is in as far as the bench knows."""

    def step_to(self, state: State) -> None:
        """Go one step up to this state from the one before it, or down to it from any above.

        Raises InfrastructureError. Down to `OFF` works from anything.
        """


@dataclass(frozen=True, slots=True)
class Retry:
    """One failure of the infrastructure on the way to a state that was followed by another try."""

    seat: str
    state: State
    attempt: int
    error: str

    def __str__(self) -> str:
        """One line of the report."""
        return f"{self.seat} on its way to {self.state}, try {self.attempt}: {self.error}"


class Strategy:
    """Brings seats to states in the order they are given, and remembers what broke."""

    def __init__(self, seats: Sequence[Seat], tell: Callable[[str], None] = lambda _line: None) -> None:
        self.seats = tuple(seats)
        self.retries: list[Retry] = []
        self.broken: InfrastructureError | None = None
        self._tell = tell

    def reach(self, state: State, seats: Sequence[Seat] | None = None) -> None:
        """Bring these seats (all, when None) to exactly this state.

        Down goes in the reverse order. Raises InfrastructureError, the same one from now on, when a seat does
        not get there.
        """
        if self.broken is not None and state is not State.OFF:
            raise self.broken
        chosen = self.seats if seats is None else tuple(seats)
        for seat in reversed(chosen):
            if seat.state > state:
                self._descend(seat, state)
        for step in tuple(State)[1 : state + 1]:
            for seat in chosen:
                if seat.state < step:
                    self._climb(seat, step)

    def note(self, retry: Retry) -> None:
        """Keep account of a try that failed and is followed by another."""
        self.retries.append(retry)
        self._tell(f"{retry.seat}: trying again, since {retry.error}")

    def _descend(self, seat: Seat, state: State) -> None:
        """A seat that does not find its way down goes to `off`, and up again from there."""
        try:
            seat.step_to(state)
        except InfrastructureError as error:
            if state is State.OFF:
                raise
            self.note(Retry(seat.name, state, 1, str(error)))
            seat.step_to(State.OFF)

    def _climb(self, seat: Seat, state: State) -> None:
        for attempt in range(1, MOST_TRIES + 1):
            try:
                for step in tuple(State)[seat.state + 1 : state + 1]:
                    self._tell(f"{seat.name}: {step}")
                    seat.step_to(step)
                return
            except InfrastructureError as error:
                if not error.retry_helps or attempt == MOST_TRIES:
                    self.broken = error
                    raise
                self.note(Retry(seat.name, state, attempt, str(error)))
                seat.step_to(State.OFF)
