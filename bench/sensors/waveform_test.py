import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.sensors.angle import TURN, arc_cosine
from bench.sensors.circuit import Circuit, circuits
from bench.sensors.dataset import Column, load_dataset
from bench.sensors.quantity import Quantity
from bench.sensors.signal import AnalogSegment
from bench.sensors.waveform import MainsError, MainsSignal, MainsState, Transducers, mains_state

SAMPLES = Path(__file__).parents[2] / "rigs" / "datasets"
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS


def column(name: str, quantity: Quantity, values: list[int]) -> Column:
    starts_ns = np.arange(len(values), dtype=np.int64) * MINUTE_NS
    return Column(name, quantity, starts_ns, np.array(values, dtype=np.int64), len(values) * MINUTE_NS)


def clock(begin_ns: int = 0, error_ppm: int = 0) -> Callable[[int], int]:
    return lambda t_ns: (t_ns + begin_ns) * 16 * (1_000_000 + error_ppm) // (1_000 * 1_000_000)


def sampled(segments: tuple[AnalogSegment, ...], cycles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pin voltage in volts: the contract's formula in floating point, apart from the phase."""
    index = np.searchsorted([segment.from_cycle for segment in segments], cycles, side="right") - 1
    out = np.empty(len(cycles))
    for k, (i, cycle) in enumerate(zip(index.tolist(), cycles.tolist(), strict=True)):
        segment = segments[i]
        phase = (segment.phase + (cycle - segment.from_cycle) * segment.phase_step) % TURN
        out[k] = (segment.offset_uv + segment.amplitude_uv * math.sin(2 * math.pi * phase / TURN)) / 1e6
    return out


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**12))
@example(0, 1)
@example(1, 1)
@example(-1, 1)
@example(1, 2)
def test_arc_cosine(numerator: int, denominator: int) -> None:
    if abs(numerator) > denominator:
        numerator, denominator = denominator, abs(numerator)
    angle = arc_cosine(numerator, denominator)
    assert 0 <= angle <= TURN // 2
    # acos is ill-conditioned near 0 and half a turn: compare cosines.
    assert math.cos(2 * math.pi * angle / TURN) == pytest.approx(numerator / denominator, abs=1e-14)
    assert abs(arc_cosine(-numerator, denominator) + angle - TURN // 2) <= 2


def test_arc_cosine_of_known_angles() -> None:
    assert [arc_cosine(1, 1), arc_cosine(0, 1), arc_cosine(-1, 1)] == [0, TURN // 4, TURN // 2]
    assert abs(arc_cosine(1, 2) - TURN // 6) <= 1
    for numerator, denominator in ((2, 1), (-2, 1), (0, 0)):
        with pytest.raises(ValueError, match="no angle"):
            arc_cosine(numerator, denominator)


def test_amplitudes_of_the_wiring() -> None:
    # 250 V RMS are 353.6 V peak: 1.591 V at the pin; 60 A peak are 42.426 A RMS: 2.16 V.
    assert Transducers().voltage_amplitude_uv(250_000) == round(250 * math.sqrt(2) * 4_500)
    assert Transducers().current_amplitude_uv(42_426) == round(42.426 * math.sqrt(2) * 36_000)


def test_states() -> None:
    assert mains_state(230_000, 2_300_000, None) == MainsState(230_000, 10_000, 2_300_000, 0)
    assert mains_state(230_000, None, 10_000) == MainsState(230_000, 10_000, 2_300_000, 0)
    assert mains_state(230_000, None, -10_000) == MainsState(230_000, 10_000, -2_300_000, TURN // 2)
    half = mains_state(230_000, 1_150_000, 10_000, 1)
    assert abs(half.lag - TURN // 6) <= 1
    assert mains_state(230_000, 1_150_000, 10_000, -1).lag == TURN - half.lag
    # 3 kW and 4 kvar are 5 kVA.
    assert mains_state(250_000, 3_000_000, None, 4_000_000).current_ma == 20_000
    # Published in steps of 0.1 A, a current may be too small for its power.
    assert mains_state(230_000, 2_300_000, 9_900) == MainsState(230_000, 10_000, 2_300_000, 0)
    assert mains_state(0, 5, 5) == MainsState(0, 0, 0, 0)
    assert mains_state(230_000, 0, None) == MainsState(230_000, 0, 0, 0)


@settings(deadline=None, max_examples=30)
@given(
    voltage_v=st.integers(100, 390),
    current_ma=st.integers(1_000, 49_000),
    power_per_mille=st.integers(-1000, 1000),
    leads=st.booleans(),
    error_ppm=st.integers(-3_000, 3_000),
    begin_ns=st.integers(0, 10 * SECOND_NS),
    first_ms=st.integers(0, 59_000),
)
def test_the_sines_carry_what_the_row_says(
    voltage_v: int,
    current_ma: int,
    power_per_mille: int,
    leads: bool,
    error_ppm: int,
    begin_ns: int,
    first_ms: int,
) -> None:
    power_mw = voltage_v * current_ma * power_per_mille // 1000
    circuit = Circuit(
        power=column("p_w", Quantity.POWER, [0, power_mw]),
        voltage=column("v_v", Quantity.VOLTAGE, [1_000, voltage_v * 1000]),
        current=column("i_a", Quantity.CURRENT, [0, current_ma]),
        reactive=column("q_var", Quantity.REACTIVE, [0, -1 if leads else 1]),
    )
    signal = MainsSignal("sensor 1", circuit, 0, 2 * MINUTE_NS)
    cycle_at = clock(begin_ns, error_ppm)
    segments = signal.segments(cycle_at)
    # 13 points in each of 50 periods of 20 ms of true time, from anywhere in the second row.
    times_ns = MINUTE_NS + first_ms * 1_000_000 + np.arange(50 * 13) * (20_000_000 / 13)
    cycles = np.array([cycle_at(int(t_ns)) for t_ns in times_ns], dtype=np.int64)
    volts = (sampled(segments.voltage, cycles) - 2.5) / 4.5e-3
    amperes = (sampled(segments.current, cycles) - 2.5) / 36e-3
    # A microvolt of amplitude and a cycle of time: parts in 10^4 of apparent power at most.
    apparent_w = voltage_v * current_ma / 1000
    assert math.sqrt(np.mean(volts**2)) == pytest.approx(voltage_v, rel=1e-4)
    assert math.sqrt(np.mean(amperes**2)) == pytest.approx(current_ma / 1000, rel=1e-4)
    assert float(np.mean(volts * amperes)) == pytest.approx(power_mw / 1000, abs=1e-4 * apparent_w)
    assert signal.rms_voltage_mv(MINUTE_NS) == voltage_v * 1000
    assert abs(signal.rms_current_ma(MINUTE_NS) - current_ma) <= 1
    assert signal.power_mw(MINUTE_NS) == power_mw
    # Correlation with a voltage turned back by a quarter tells lag from lead.
    quarter = np.array([cycle_at(int(t_ns) - 5_000_000) for t_ns in times_ns], dtype=np.int64)
    if abs(power_per_mille) < 990 and first_ms > 5:
        late_w = float(np.mean((sampled(segments.voltage, quarter) - 2.5) / 4.5e-3 * amperes))
        assert (late_w < 0) == leads


def test_phase_runs_on_over_rows_and_pins_rest_outside_the_trial() -> None:
    circuit = Circuit(power=column("p_w", Quantity.POWER, [1_000_000, 2_000_000, 500_000]))
    signal = MainsSignal("sensor 1", circuit, MINUTE_NS, 3 * MINUTE_NS)
    segments = signal.segments(clock(2 * SECOND_NS))
    assert [s.from_cycle for s in segments.voltage] == [0, *(32_000_000 + k * 960_000_000 for k in range(4))]
    assert [s.from_cycle for s in segments.current] == [s.from_cycle for s in segments.voltage]
    for pin in (segments.voltage, segments.current):
        assert (pin[0].amplitude_uv, pin[-1].amplitude_uv) == (0, 0)
        assert {s.offset_uv for s in pin} == {2_500_000}
        for before, after in pairwise(pin[1:-1]):
            ran = before.phase + (after.from_cycle - before.from_cycle) * before.phase_step
            assert abs((ran - after.phase + TURN // 2) % TURN - TURN // 2) < TURN // 10**9
    assert [signal.power_mw(k * MINUTE_NS) for k in range(-1, 4)] == [0, 2_000_000, 500_000, 1_000_000, 0]
    # Played in portions, the same stretches come out.
    portions = [signal.segments(clock(), k * MINUTE_NS, (k + 1) * MINUTE_NS).current for k in range(3)]
    assert tuple(s for portion in portions for s in portion) == signal.segments(clock()).current


def test_energy_is_counted_apart_for_import_and_export() -> None:
    circuit = Circuit(power=column("p_w", Quantity.POWER, [6_000_000, -3_000_000]))
    signal = MainsSignal("sensor 1", circuit, 0, 4 * MINUTE_NS)
    assert [signal.import_energy_mwh(k * MINUTE_NS // 2) for k in range(7)] == [
        0,
        50_000,
        100_000,
        100_000,
        100_000,
        150_000,
        200_000,
    ]
    assert signal.export_energy_mwh(10 * MINUTE_NS) == 100_000


def test_beyond_the_transducers_is_refused() -> None:
    strong = Circuit(power=column("load_kw", Quantity.POWER, [1_000_000, 50_000_000]))
    with pytest.raises(
        MainsError, match="sensor 4: column load_kw gives an RMS current of 217 A, beyond the 49 A"
    ):
        MainsSignal("sensor 4", strong, 0, 2 * MINUTE_NS)
    assert MainsSignal("sensor 4", strong, 0, MINUTE_NS).rms_current_ma(0) == 4_348
    high = Circuit(power=strong.power, voltage=column("v_v", Quantity.VOLTAGE, [400_000, 400_000]))
    with pytest.raises(MainsError, match="RMS voltage of 400 V, beyond the 392 V"):
        MainsSignal("sensor 4", high, 0, MINUTE_NS)


def test_uci_sample_plays() -> None:
    uci = load_dataset(SAMPLES / "uci_household_1min.csv")
    circuit = circuits(uci)[0]
    assert [c.name for c in circuit.columns] == ["p_w", "v_cv", "i_da", "q_var"]
    signal = MainsSignal("sensor 0", circuit, 0, uci.span_ns)
    assert signal.rms_voltage_mv(0) == 234_840
    assert signal.rms_current_ma(0) == 18_400
    assert signal.power_mw(0) == 4_216_000
    # The data set's own sum, its four blank minutes held: independent of the playback.
    rows = (SAMPLES / "uci_household_1min.csv").read_text().splitlines()[1:]
    held_w, sum_w = 0, 0
    for row in rows:
        cell = row.split(",")[1]
        held_w = int(cell) if cell else held_w
        sum_w += held_w
    assert signal.import_energy_mwh(uci.span_ns) == sum_w * 1000 // 60
