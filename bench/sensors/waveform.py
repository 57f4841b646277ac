"""Mains waveforms: a circuit's voltage and current as 50 Hz sines on two analogue pins of an Uno.

Each row of the data is a stretch of constant amplitude and phase. What decides is integer: amplitudes by
integer square root, the angle between voltage and current by `arc_cosine`, the phase from the trial's time.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from bench.sensors.angle import TURN, arc_cosine
from bench.sensors.circuit import NOMINAL_VOLTAGE_MV
from bench.sensors.dataset import PICOJOULES_PER_MWH
from bench.sensors.playback import CumulativeEnergy, Piece, windows
from bench.sensors.signal import AnalogSegment
from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.sensors.circuit import Circuit
    from bench.sensors.dataset import Column

MAINS_HZ = 50


class MainsError(ValueError):
    """A mains signal that the transducers cannot show; the message names sensor, columns and limit."""


@dataclass(frozen=True, slots=True)
class Transducers:
    """Microvolts at the pin per volt and per ampere of the mains; the bias is the most they swing."""

    voltage_uv_per_v: int = 4_500
    current_uv_per_a: int = 36_000
    bias_uv: int = 2_500_000

    def voltage_amplitude_uv(self, rms_mv: int) -> int:
        """Amplitude at the pin for an RMS voltage."""
        return _amplitude(rms_mv, self.voltage_uv_per_v)

    def current_amplitude_uv(self, rms_ma: int) -> int:
        """Amplitude at the pin for an RMS current."""
        return _amplitude(rms_ma, self.current_uv_per_a)


def _amplitude(rms_milli: int, uv_per_one: int) -> int:
    """sqrt(2) * rms * scale, rounded to the nearest microvolt."""
    return (isqrt(2 * (rms_milli * uv_per_one) ** 2) + 500) // 1000


@dataclass(frozen=True, slots=True)
class MainsState:
    """RMS voltage and current of a circuit, its active power (negative is export), and the current's lag."""

    voltage_mv: int
    current_ma: int
    power_mw: int
    lag: int
    """In 2^-64 turns; a leading current lags by more than half a turn."""


def mains_state(
    voltage_mv: int, power_mw: int | None, current_ma: int | None, reactive_mvar: int = 0
) -> MainsState:
    """Make measured values agree with each other.

    Without power it is voltage times current; without current it is what the power (and reactive power) needs
    at that voltage. A current that is too small for the power, as in coarsely rounded data, is raised to it.
    The sign of the reactive power tells whether the current lags (positive) or leads. Without voltage there
    is no current.
    """
    if voltage_mv <= 0 or (power_mw is None and current_ma is None):
        return MainsState(max(0, voltage_mv), 0, 0, 0)
    if power_mw is None:
        power_mw = voltage_mv * (current_ma or 0) // 1000
    needed_mva = abs(power_mw) if current_ma is not None else isqrt(power_mw**2 + reactive_mvar**2)
    current_ma = max(abs(current_ma or 0), -(-needed_mva * 1000 // voltage_mv))
    if current_ma == 0:
        return MainsState(voltage_mv, 0, 0, 0)
    angle = arc_cosine(power_mw * 1000, voltage_mv * current_ma)
    return MainsState(voltage_mv, current_ma, power_mw, (-angle if reactive_mvar < 0 else angle) % TURN)


@dataclass(frozen=True, slots=True)
class MainsSegments:
    """The same stretch of time on the voltage pin and on the current pin."""

    voltage: tuple[AnalogSegment, ...]
    current: tuple[AnalogSegment, ...]


class MainsSignal:
    """Voltage and current of one circuit over [0, duration_ns) of a trial, and the truth about them.

    Before and after, the pins rest at the bias. Raises MainsError when a row is beyond the transducers.
    """

    def __init__(
        self,
        sensor: str,
        circuit: Circuit,
        offset_ns: int,
        duration_ns: int,
        transducers: Transducers | None = None,
    ) -> None:
        self.sensor = sensor
        self.circuit = circuit
        self.duration_ns = duration_ns
        self.transducers = transducers or Transducers()
        self._pieces: list[Piece] = []
        self._states: list[MainsState] = []
        for piece, state in _played(circuit, offset_ns, duration_ns):
            self._pieces.append(piece)
            self._states.append(state)
        self._check("voltage", "V", [state.voltage_mv for state in self._states])
        self._check("current", "A", [state.current_ma for state in self._states])
        self._starts = [piece.start_ns for piece in self._pieces]
        self.energy = CumulativeEnergy(self._pieces)

    def state_at(self, t_ns: int) -> MainsState:
        """What flows at `t_ns` of the trial."""
        if not 0 <= t_ns < self.duration_ns:
            return MainsState(0, 0, 0, 0)
        return self._states[bisect_right(self._starts, t_ns) - 1]

    def rms_voltage_mv(self, t_ns: int) -> int:
        """RMS voltage at `t_ns`, in mV."""
        return self.state_at(t_ns).voltage_mv

    def rms_current_ma(self, t_ns: int) -> int:
        """RMS current at `t_ns`, in mA."""
        return self.state_at(t_ns).current_ma

    def power_mw(self, t_ns: int) -> int:
        """Active power at `t_ns`, in mW; negative is export."""
        return self.state_at(t_ns).power_mw

    def import_energy_mwh(self, t_ns: int) -> int:
        """Whole mWh drawn from the grid in [0, t_ns)."""
        return self.energy.imported_pj(t_ns) // PICOJOULES_PER_MWH

    def export_energy_mwh(self, t_ns: int) -> int:
        """Whole mWh fed into the grid in [0, t_ns)."""
        return self.energy.exported_pj(t_ns) // PICOJOULES_PER_MWH

    def segments(
        self, cycle_at: Callable[[int], int], from_ns: int = 0, until_ns: int | None = None
    ) -> MainsSegments:
        """Segments for [from_ns, until_ns) of the trial; by default all of it.

        `cycle_at` turns a time of the trial into the Uno's cycle, with that Uno's own clock error. Where the
        trial begins or ends in this stretch, a segment at rest comes before or after.
        """
        until_ns = self.duration_ns if until_ns is None else min(until_ns, self.duration_ns)
        voltage: list[AnalogSegment] = []
        current: list[AnalogSegment] = []
        if from_ns <= 0 < cycle_at(0):
            self._rest(0, voltage, current)
        first = max(0, bisect_right(self._starts, from_ns) - 1)
        for piece, state in zip(self._pieces[first:], self._states[first:], strict=True):
            start_ns, stop_ns = max(from_ns, piece.start_ns), min(until_ns, piece.stop_ns)
            if piece.start_ns >= until_ns:
                break
            from_cycle, to_cycle = cycle_at(start_ns), cycle_at(stop_ns)
            if from_cycle == to_cycle:
                continue
            phase = _mains_phase(start_ns)
            # The step follows from where the stretch begins and ends on the Uno's own clock.
            phase_step = (_mains_phase(stop_ns) - phase) // (to_cycle - from_cycle)
            volts_uv = self.transducers.voltage_amplitude_uv(state.voltage_mv)
            amperes_uv = self.transducers.current_amplitude_uv(state.current_ma)
            bias_uv = self.transducers.bias_uv
            lagging = (phase - state.lag) % TURN
            voltage.append(AnalogSegment(from_cycle, bias_uv, volts_uv, phase % TURN, phase_step))
            current.append(AnalogSegment(from_cycle, bias_uv, amperes_uv, lagging, phase_step))
        if until_ns == self.duration_ns:
            self._rest(cycle_at(until_ns), voltage, current)
        return MainsSegments(tuple(voltage), tuple(current))

    def _rest(self, cycle: int, *pins: list[AnalogSegment]) -> None:
        for pin in pins:
            pin.append(AnalogSegment(cycle, self.transducers.bias_uv))

    def _check(self, what: str, unit: str, rms_milli: list[int]) -> None:
        scale = self.transducers.current_uv_per_a if unit == "A" else self.transducers.voltage_uv_per_v
        peak_milli = max(rms_milli, default=0)
        if _amplitude(peak_milli, scale) <= self.transducers.bias_uv:
            return
        limit_milli = isqrt((self.transducers.bias_uv * 1000 // scale) ** 2 // 2)
        columns = ", ".join(column.name for column in self.circuit.columns)
        raise MainsError(
            f"{self.sensor}: column {columns} gives an RMS {what} of {peak_milli // 1000} {unit}, beyond the "
            f"{limit_milli // 1000} {unit} of the {what} transducer; choose other columns, or an S0 sensor"
        )


def _mains_phase(t_ns: int) -> int:
    """Phase of the mains at a time of the trial, in 2^-64 turns since 0."""
    return t_ns * MAINS_HZ * TURN // NS_PER_S


def _played(circuit: Circuit, offset_ns: int, duration_ns: int) -> Iterator[tuple[Piece, MainsState]]:
    """Rows of all the circuit's columns together, in the order of play."""
    columns = circuit.columns
    span_ns = columns[0].span_ns
    starts_ns = np.unique(np.concatenate([column.starts_ns for column in columns]))
    for window in windows(starts_ns, span_ns, offset_ns, duration_ns):
        start_ns = int(starts_ns[window.row])
        power_mw = circuit.power.power_mw(start_ns) if circuit.power is not None else None
        voltage_mv = _value(circuit.voltage, start_ns, NOMINAL_VOLTAGE_MV)
        current_ma = circuit.current.value_at(start_ns) if circuit.current is not None else None
        state = mains_state(voltage_mv, power_mw, current_ma, _value(circuit.reactive, start_ns, 0))
        played_ns = window.stop_ns - window.start_ns
        yield Piece(window.start_ns, window.stop_ns, state.power_mw * played_ns, played_ns), state


def _value(column: Column | None, t_ns: int, otherwise: int) -> int:
    return otherwise if column is None else column.value_at(t_ns)
