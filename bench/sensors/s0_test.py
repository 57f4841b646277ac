import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.sensors.dataset import Column, DatasetError
from bench.sensors.playback import Playback
from bench.sensors.quantity import Quantity
from bench.sensors.s0 import (
    PICOJOULES_PER_KWH,
    S0Error,
    S0Output,
    largest_pulses_per_kwh,
    s0_edges,
    s0_signal,
)

SECOND_NS = 10**9
HOUR_NS = 3_600 * SECOND_NS


class Fixed:
    """A draw that always gives the same share (0 to 1000) of its bound."""

    def __init__(self, per_mille: int) -> None:
        self.per_mille = per_mille

    def below(self, bound: int, index: int) -> int:
        return (bound - 1) * self.per_mille // 1000 + index


def column(quantity: Quantity, steps_ns: list[int], values: list[int]) -> Column:
    starts = np.cumsum([0, *steps_ns[:-1]], dtype=np.int64)
    return Column("load", quantity, starts, np.array(values, dtype=np.int64), sum(steps_ns))


def constant(power_w: int, hours: int = 1) -> Playback:
    return Playback(column(Quantity.POWER, [HOUR_NS], [power_w * 1000]), 0, hours * HOUR_NS)


def test_one_kilowatt_is_a_pulse_each_3600_ms() -> None:
    signal = s0_signal("s0", constant(1000, hours=2), S0Output(1000))
    # The last pulse, due at the very end, is not before the end.
    assert signal.starts_ns.tolist() == [3_600_000_000 * k for k in range(1, 2000)]
    assert s0_edges("s0", constant(1000), S0Output(1000)).tolist()[:4] == [
        3_600_000_000,
        3_640_000_000,
        7_200_000_000,
        7_240_000_000,
    ]
    assert [signal.pulses_until(t) for t in (0, 3_599_999_999, 3_600_000_000, 2 * HOUR_NS)] == [0, 0, 1, 1999]
    assert signal.edges_ns(3_600_000_001, 7_200_000_001).tolist() == [7_200_000_000, 7_240_000_000]
    assert signal.edges_ns(0, 3_600_000_000).tolist() == []


def test_thirds_of_a_nanosecond_do_not_drift() -> None:
    # 7 W at 3 pulses per kWh: one pulse each 3600 s * 1000 / 21, which no number of nanoseconds divides.
    signal = s0_signal("s0", constant(7, hours=10_000), S0Output(3))
    period_ns = Fraction(1000 * HOUR_NS, 21)
    assert signal.starts_ns.tolist() == [-(-k * period_ns // 1) for k in range(1, 210)]


def test_initial_share_brings_the_first_pulse_forward() -> None:
    playback = constant(1000)
    half = s0_signal("s0", playback, S0Output(1000), Fixed(500))
    assert abs(int(half.starts_ns[0]) - 1_800_000_000) <= 1
    assert len(half.starts_ns) == 1000


def test_export_does_not_pulse_and_is_noted() -> None:
    data = column(Quantity.POWER, [HOUR_NS] * 3, [1_500_000, -4_000_000, 500_000])
    signal = s0_signal("sensor 3", Playback(data, 0, 3 * HOUR_NS), S0Output(2))
    # 1.5 kWh, then export, then 0.5 kWh: the half portion waits through the export.
    assert signal.starts_ns.tolist() == [HOUR_NS // 3, 2 * HOUR_NS // 3, HOUR_NS]
    assert signal.notes == ("sensor 3: exports 4000000 mWh, which an import meter does not count",)
    nothing = s0_signal("s", Playback(column(Quantity.POWER, [1], [0]), 0, 100), S0Output())
    assert len(nothing.starts_ns) == 0
    assert nothing.notes == ()


def test_too_high_a_power_names_what_would_work() -> None:
    playback = constant(60_000)
    with pytest.raises(S0Error) as caught:
        s0_signal("sensor 7", playback, S0Output(1000))
    assert str(caught.value) == (
        "sensor 7: column 'load' peaks at 60000 W, where 1000 pulses per kWh come faster than one per 70 ms "
        "(pulse and pause); set pulses_per_kwh to 857 or less, or choose another column"
    )
    assert largest_pulses_per_kwh(playback, S0Output(1000)) == 857
    assert len(s0_signal("sensor 7", playback, S0Output(857)).starts_ns) == 857 * 60 - 1
    with pytest.raises(S0Error, match="no pulse rate is slow enough"):
        s0_signal("sensor 7", constant(100_000_000), S0Output(1))


@pytest.mark.parametrize(
    ("output", "match"),
    [
        ({"pulses_per_kwh": 0}, "1 to 1000000, found 0"),
        ({"width_ns": 29_999_999}, "width: expected at least 30 ms"),
        ({"pause_ns": 1}, "pause: expected at least 30 ms"),
    ],
)
def test_impossible_outputs(output: dict[str, int], match: str) -> None:
    with pytest.raises(S0Error, match=match):
        S0Output(**output)


def test_long_rows_are_exact() -> None:
    # One row of a year: 43.8 million kWh-thousandths would overflow 64 bits if they were not cut.
    year_ns = 365 * 24 * HOUR_NS
    playback = Playback(column(Quantity.ENERGY, [year_ns], [4_380_000_007]), 0, year_ns)
    starts = s0_signal("s", playback, S0Output(1000)).starts_ns
    assert len(starts) == 4_380_000
    for k in (1, 2, 2_999_999, 4_380_000):
        assert int(starts[k - 1]) == -(-k * 1_000_000 * year_ns // (4_380_000_007 * 1000))


@st.composite
def playbacks(draw: st.DrawFn) -> Playback:
    quantity = draw(st.sampled_from([Quantity.POWER, Quantity.ENERGY]))
    rows = draw(st.integers(1, 6))
    steps = draw(st.lists(st.integers(1, 2_000 * SECOND_NS), min_size=rows, max_size=rows))
    limit = 10**8 if quantity is Quantity.POWER else 10**6
    values = draw(st.lists(st.integers(-limit, limit), min_size=rows, max_size=rows))
    data = column(quantity, steps, values)
    offset_ns = draw(st.integers(0, 2 * data.span_ns))
    # So short that a column of tiny steps does not play a million rows.
    duration_ns = draw(st.integers(1, min(4_000 * SECOND_NS, 50 * data.span_ns)))
    return Playback(data, offset_ns, duration_ns)


def imported(playback: Playback, t_ns: int) -> Fraction:
    """Independent account of the import in pJ: rows one by one, in fractions."""
    data = playback.column
    total = Fraction(0)
    position = playback.offset_ns
    end = playback.offset_ns + t_ns
    while position < end:
        row = data.row_at(position)
        lap = position // data.span_ns * data.span_ns
        stop = min(end, lap + int(data.starts_ns[row]) + data.row_ns(row))
        total += max(Fraction(0), Fraction(data.row_energy_pj(row) * (stop - position), data.row_ns(row)))
        position = stop
    return total


@settings(deadline=None)
@given(
    playback=playbacks(),
    share=st.integers(0, 1000),
    width_ms=st.integers(30, 100),
    seed=st.integers(0, 2**32),
)
@example(playback=constant(51_428), share=1000, width_ms=40, seed=0)
def test_pulses_follow_the_energy(playback: Playback, share: int, width_ms: int, seed: int) -> None:
    slow = S0Output(1, width_ms * 1_000_000)
    largest = largest_pulses_per_kwh(playback, slow)
    if largest == 0:
        with pytest.raises(S0Error):
            s0_signal("s", playback, slow)
        return
    output = S0Output(min(largest, 50_000), width_ms * 1_000_000)
    signal = s0_signal("s", playback, output, Fixed(share))
    starts = signal.starts_ns
    assert bool(np.all(np.diff(starts) >= output.spacing_ns))
    edges = signal.edges_ns(0, playback.duration_ns)
    assert bool(np.all(np.diff(edges) > 0))
    assert len(edges) == 2 * len(starts)
    chance = random.Random(seed)
    moments = [0, playback.duration_ns - 1, *(chance.randrange(playback.duration_ns) for _ in range(5))]
    moments += [int(start) + d for start in starts[:2].tolist() + starts[-2:].tolist() for d in (-1, 0)]
    for t_ns in moments:
        pulses = signal.pulses_until(t_ns)
        portions = imported(playback, t_ns) * output.pulses_per_kwh / PICOJOULES_PER_KWH
        assert abs(portions - pulses) <= 1
        # Exact, up to the part of 1 pJ lost per change of row.
        due = portions + Fraction(signal.initial, PICOJOULES_PER_KWH)
        slack = Fraction(len(playback.pieces) * output.pulses_per_kwh, PICOJOULES_PER_KWH)
        assert pulses <= due
        assert due - slack < pulses + 1


@settings(deadline=None)
@given(playback=playbacks(), part=st.integers(1, 10**6))
def test_a_longer_trial_begins_with_the_shorter(playback: Playback, part: int) -> None:
    short_ns = max(1, playback.duration_ns * part // 10**6)
    shorter = Playback(playback.column, playback.offset_ns, short_ns)
    output = S0Output(max(1, min(20_000, largest_pulses_per_kwh(playback, S0Output(1)))))
    if largest_pulses_per_kwh(playback, output) == 0:
        return
    whole = s0_signal("s", playback, output).starts_ns
    begun = s0_signal("s", shorter, output).starts_ns
    assert begun.tolist() == whole[whole < short_ns].tolist()
    for t_ns in (0, short_ns // 2, short_ns):
        assert playback.energy.imported_pj(t_ns) == shorter.energy.imported_pj(t_ns)
        assert abs(playback.energy.imported_pj(t_ns) - imported(playback, t_ns)) <= len(playback.pieces)


def test_data_too_short_for_the_trial_is_refused() -> None:
    with pytest.raises(DatasetError, match="start over 21600000000 times"):
        Playback(column(Quantity.POWER, [500, 500], [1, 2]), 0, 6 * HOUR_NS)
