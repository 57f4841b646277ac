"""Discrete-event simulation on an integer nanosecond clock."""

import heapq
from collections.abc import Callable

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

Action = Callable[[], None]


class Appointment:
    """An action due at a time; `cancel()` keeps it from happening."""

    __slots__ = ("_action", "source", "t_ns")

    def __init__(self, t_ns: int, source: str, action: Action) -> None:
        self.t_ns = t_ns
        self.source = source
        self._action: Action | None = action

    @property
    def due(self) -> bool:
        """True until it has happened or was cancelled."""
        return self._action is not None

    def cancel(self) -> None:
        """Take it out of the calendar; cancelling twice, or after the fact, does nothing."""
        self._action = None

    def keep(self) -> None:
        """Let it happen, once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class Simulation:
    """The calendar of the virtual world.

    Appointments happen in the order of (time, source, order of making within the source), so that the
    outcome does not hang on which of two independent sources was served first.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self._calendar: list[tuple[int, str, int, Appointment]] = []
        self._made = 0

    def at(self, t_ns: int, source: str, action: Action) -> Appointment:
        """Make an appointment for `source`; `t_ns` must not lie in the past."""
        if t_ns < self.now_ns:
            raise ValueError(f"{source} asks for {t_ns} ns, but it is {self.now_ns} ns already")
        appointment = Appointment(t_ns, source, action)
        self._made += 1
        heapq.heappush(self._calendar, (t_ns, source, self._made, appointment))
        return appointment

    def next_ns(self) -> int | None:
        """The time of the next appointment, or None when the calendar is empty."""
        while self._calendar and not self._calendar[0][3].due:
            heapq.heappop(self._calendar)
        return self._calendar[0][0] if self._calendar else None

    def run(self, until_ns: int) -> None:
        """Keep all appointments before `until_ns`, then let it be `until_ns`."""
        while (next_ns := self.next_ns()) is not None and next_ns < until_ns:
            appointment = heapq.heappop(self._calendar)[3]
            self.now_ns = next_ns
            appointment.keep()
        self.now_ns = max(self.now_ns, until_ns)
