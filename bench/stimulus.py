"""What each sensor of a branch plays into its Uno, and what the Uno's registers must show of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.oracle import ChannelTruth
from bench.rig.model import Branch, Sensors
from bench.sensors.assignment import Assignment, assign_sensors
from bench.sensors.dataset import load_dataset
from bench.sensors.playback import Playback
from bench.sensors.s0 import S0Output, largest_pulses_per_kwh, s0_signal
from bench.sensors.signal import AnalogSegment
from bench.sensors.waveform import MainsSignal
from bench.truth import MainsTruth, PulseTruth
from bench.uno.atmega328p import Pin
from bench.uno.clock import UnoClock
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream

_S0_PINS = (
    *(Pin.PD3, Pin.PD4, Pin.PD5, Pin.PD6, Pin.PD7, Pin.PB0),
    *(Pin.PC0, Pin.PC1, Pin.PC2, Pin.PC3, Pin.PC4, Pin.PC5),
)
"""S0 inputs D3 to D8 and A0 to A5; each AC channel takes two of the analogue ones, from A0 on."""

_DIGITAL_S0_PINS = 6

_METER_CONSTANTS = (100_000, 50_000, 20_000, 10_000, 5_000, 2_000, 1_000, 500, 200, 100, 50, 20, 10, 5, 2, 1)
"""Pulses per kWh that meters are sold with, largest first."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Sensors of one sort: what each plays, and where its registers begin among those of its kind."""

    sensors: Sensors
    assignments: tuple[Assignment, ...]
    first: int


class Board(Protocol):
    """An Uno whose pins are played: on the core, or by a stimulus Uno."""

    @property
    def name(self) -> str:
        """The Uno's name."""

    @property
    def clock(self) -> UnoClock:
        """Its cycles in world time."""

    def play_pulses(self, pin: Pin, falling_ns: Sequence[int], width_ns: int) -> None:
        """Pull a pin low for `width_ns` at each of these world times."""

    def play_waveform(self, channel: int, segments: Sequence[AnalogSegment]) -> None:
        """Put a voltage on an analogue input."""


class BranchStimuli:
    """The sensors of one branch, all playing one data set between two times of the world.

    Raises DatasetError, S0Error or MainsError, at the latest when an Uno's sensors are played.
    """

    def __init__(self, branch: Branch, seed: Stream, begin_ns: int, until_ns: int) -> None:
        self.notes: list[str] = []
        self._branch = branch
        self._seed = seed
        self._begin_ns = begin_ns
        self._duration_ns = until_ns - begin_ns
        self._groups = list(self._grouped())

    def _grouped(self) -> Iterator[_Group]:
        """AC channels first, as their registers stand in the snapshot."""
        first = {"mains": 0, "s0": 0}
        for sensors in sorted(self._branch.sensors, key=lambda sensors: sensors.kind != "mains"):
            dataset = load_dataset(self._branch.data, sensors.units)
            self.data_sha256 = dataset.sha256
            self.notes += [note for note in dataset.notes if note not in self.notes]
            repeats = dataset.repeats(self._duration_ns)
            shorter = f"the data set is shorter than the trial and starts over {repeats} times"
            if repeats and shorter not in self.notes:
                self.notes.append(shorter)
            count = self._branch.uno.count * sensors.per_uno
            yield _Group(sensors, assign_sensors(dataset, count, sensors.columns), first[sensors.kind])
            first[sensors.kind] += sensors.per_uno

    def play(self, position: int, uno: Board) -> tuple[ChannelTruth, ...]:
        """Play the sensors of the Uno at this position; the truths are in the order of its registers."""
        return tuple(
            self._play_mains(assignment, group.first + channel, uno)
            if group.sensors.kind == "mains"
            else self._play_s0(group.sensors, assignment, group.first + channel, uno)
            for group in self._groups
            for channel, assignment in enumerate(
                group.assignments[position * group.sensors.per_uno : (position + 1) * group.sensors.per_uno]
            )
        )

    def _play_s0(self, sensors: Sensors, assignment: Assignment, register: int, uno: Board) -> PulseTruth:
        name = f"{uno.name} S0 {register + 1}"
        playback = Playback(assignment.circuit.energy_column(), assignment.offset_ns, self._duration_ns)
        output = self._fitting(name, S0Output(sensors.pulses_per_kwh), playback)
        signal = s0_signal(name, playback, output, self._seed.child("s0", assignment.index))
        self.notes += signal.notes
        starts_ns = (signal.starts_ns + self._begin_ns).tolist()
        uno.play_pulses(self._pins()[register], starts_ns, output.width_ns)
        return PulseTruth(register, signal, self._begin_ns)

    def _fitting(self, name: str, output: S0Output, playback: Playback) -> S0Output:
        """A meter on a load too large for its constant gets the next smaller one, as installers do."""
        largest = largest_pulses_per_kwh(playback, output)
        if output.pulses_per_kwh <= largest:
            return output
        constant = next(
            (constant for constant in _METER_CONSTANTS if constant <= largest), output.pulses_per_kwh
        )
        self.notes.append(
            f"{name}: column {playback.column.name} is too large a load for {output.pulses_per_kwh} pulses "
            f"per kWh; its meter gives {constant}"
        )
        return S0Output(constant)

    def _pins(self) -> tuple[Pin, ...]:
        analogue = _DIGITAL_S0_PINS + 2 * self._branch.mains_per_uno
        return (*_S0_PINS[:_DIGITAL_S0_PINS], *_S0_PINS[analogue:])

    def _play_mains(self, assignment: Assignment, channel: int, uno: Board) -> MainsTruth:
        name = f"{uno.name} mains {channel + 1}"
        signal = MainsSignal(name, assignment.circuit, assignment.offset_ns, self._duration_ns)
        segments = signal.segments(lambda t_ns: uno.clock.cycle_at(self._begin_ns + t_ns))
        uno.play_waveform(2 * channel, segments.voltage)
        uno.play_waveform(2 * channel + 1, segments.current)
        return MainsTruth(channel, signal, self._begin_ns, self._branch.uno.interval_s * NS_PER_S)
