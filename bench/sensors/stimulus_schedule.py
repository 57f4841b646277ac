"""The pulses of several meters as one sequence in the order of starts, and the record of what was played."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.sensors.stimulus_frame import LINES, MAX_WIDTH_TICKS, NS_PER_TICK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bench.sensors.s0 import S0Signal


class ScheduleError(ValueError):
    """Signals that a stimulus Uno cannot play; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class ScheduledPulse:
    """One pulse: LOW on `line` for `width_ns` from the world time `start_ns` on."""

    start_ns: int
    width_ns: int
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """What is to be played: by line, a signal whose own time is 0 at the world time `began_ns`."""

    signals: Mapping[int, S0Signal]
    began_ns: int
    starts_ns: NDArray[np.int64]
    """World times of all pulses, ascending."""
    lines: NDArray[np.int64]

    @classmethod
    def of(cls, signals: Mapping[int, S0Signal], began_ns: int) -> Schedule:
        """Raises ScheduleError for a line that there is not, or for pulses too long for the Uno."""
        for line, signal in signals.items():
            if not 0 <= line < LINES:
                raise ScheduleError(f"{signal.sensor}: line {line}; a stimulus Uno has 0 to {LINES - 1}")
            if signal.output.width_ns > MAX_WIDTH_TICKS * NS_PER_TICK:
                raise ScheduleError(
                    f"{signal.sensor}: pulses of {signal.output.width_ns} ns; a stimulus Uno plays "
                    f"{MAX_WIDTH_TICKS * NS_PER_TICK} ns at most"
                )
        starts = [np.asarray(signal.starts_ns) + began_ns for signal in signals.values()]
        lines = [np.full(len(signal.starts_ns), line, np.int64) for line, signal in signals.items()]
        starts_ns = np.concatenate([np.empty(0, np.int64), *starts])
        order = np.argsort(starts_ns, kind="stable")
        return cls(
            dict(signals), began_ns, starts_ns[order], np.concatenate([np.empty(0, np.int64), *lines])[order]
        )

    def __len__(self) -> int:
        """How many pulses."""
        return len(self.starts_ns)

    @property
    def ends_ns(self) -> int:
        """World time at which the last signal is over, its last pulse included."""
        lengths_ns = (signal.duration_ns + signal.output.width_ns for signal in self.signals.values())
        return self.began_ns + max(lengths_ns, default=0)

    def pulse(self, index: int) -> ScheduledPulse:
        """The pulse at this place in the order of starts."""
        line = int(self.lines[index])
        return ScheduledPulse(int(self.starts_ns[index]), self.signals[line].output.width_ns, line)

    def before(self, t_ns: int) -> int:
        """How many pulses start before this world time."""
        return int(np.searchsorted(self.starts_ns, t_ns, side="left"))


@dataclass(frozen=True, slots=True)
class Unplayed:
    """A pulse that never was on its line, and why."""

    pulse: ScheduledPulse
    reason: str


@dataclass(frozen=True, slots=True)
class Performance:
    """What was on the lines, as far as the Uno has told: the truth that registers are held against."""

    signals: Mapping[int, S0Signal]
    """By line, the signal with the starts that were played, in its own time as before."""
    unplayed: tuple[Unplayed, ...]
    latest_ticks: int
    """How late the latest pulse began against the tick it was sent for."""
    underruns: int
    """How often the Uno's time passed what the host had told it by then."""
    uncertainty_ns: int
    """How far a start may lie from where it is said to be."""


def performance(
    schedule: Schedule,
    played: Sequence[tuple[int, int]],
    unplayed: Sequence[Unplayed],
    latest_ticks: int,
    underruns: int,
    uncertainty_ns: int,
) -> Performance:
    """The record of a schedule, of which (line, world time) were `played`."""
    starts_ns: dict[int, list[int]] = {line: [] for line in schedule.signals}
    for line, start_ns in played:
        starts_ns[line].append(start_ns - schedule.began_ns)
    return Performance(
        signals={
            line: replace(signal, starts_ns=_frozen(starts_ns[line]))
            for line, signal in schedule.signals.items()
        },
        unplayed=tuple(unplayed),
        latest_ticks=latest_ticks,
        underruns=underruns,
        uncertainty_ns=uncertainty_ns,
    )


def _frozen(starts_ns: list[int]) -> NDArray[np.int64]:
    array = np.array(sorted(starts_ns), dtype=np.int64)
    array.setflags(write=False)
    return array
