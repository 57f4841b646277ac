"""RMS, power and energy on the chip's ADC against the closed form of the waves put on its pins."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import pytest

from bench.sensors.signal import AnalogSegment
from bench.uno.marker import Marker

if TYPE_CHECKING:
    from firmware.conftest import Table, Workbench

TURN = 1 << 64
BIAS_UV = 2_500_000
MICROVOLTS_PER_VOLT, MICROVOLTS_PER_AMPERE = 4_500, 36_000
READING = struct.Struct("<IHHi")


def wave(rms_uv: float, hertz: float, degrees: float = 0, offset_uv: int = 0) -> list[AnalogSegment]:
    return [
        AnalogSegment(
            from_cycle=0,
            offset_uv=BIAS_UV + offset_uv,
            amplitude_uv=round(rms_uv * math.sqrt(2)),
            phase=round(degrees / 360 * TURN) % TURN,
            phase_step=round(hertz / 16_000_000 * TURN),
        )
    ]


def measure(
    workbench: Workbench,
    volt: float,
    ampere: float,
    hertz: float = 50,
    lag_degrees: float = 0,
    offset_uv: int = 0,
    seconds: int = 3,
    channels: int = 1,
) -> Table:
    scale = struct.pack("<HH", MICROVOLTS_PER_VOLT, MICROVOLTS_PER_AMPERE)
    table = workbench.library("mains", bytes([channels]) + scale * 2)
    for channel in range(channels):
        table.core.set_analog(2 * channel, wave(volt * MICROVOLTS_PER_VOLT, hertz, 0, offset_uv))
        current = wave(ampere / (channel + 1) * MICROVOLTS_PER_AMPERE, hertz, -lag_degrees, -offset_uv)
        table.core.set_analog(2 * channel + 1, current)
    table.run_ms(1_000 * seconds + 500, until=lambda: len(table.of(Marker.SNAPSHOT)) == seconds)
    return table


def reading(table: Table, channel: int = 0) -> tuple[int, int, int, int]:
    energy_dwh, voltage_cv, current_ca, power_dw = READING.unpack(
        table.peek("mains_readings", READING.size, READING.size * channel)
    )
    return energy_dwh, voltage_cv, current_ca, power_dw


@pytest.mark.parametrize("hertz", [45, 49.5, 50, 50.2, 55])
@pytest.mark.parametrize(("volt", "ampere"), [(230, 16), (207, 40), (253, 1.5)])
@pytest.mark.parametrize("lag_degrees", [0, 30, 60, 180])
def test_voltage_current_and_power(
    workbench: Workbench, volt: float, ampere: float, hertz: float, lag_degrees: float
) -> None:
    _, voltage_cv, current_ca, power_dw = reading(
        measure(workbench, volt, ampere, hertz, lag_degrees, seconds=2)
    )
    assert voltage_cv / 100 == pytest.approx(volt, rel=1e-3)
    assert current_ca / 100 == pytest.approx(ampere, rel=2e-3, abs=0.02)
    # Relative to the apparent power: a sample's quantisation is the same at any angle.
    power = volt * ampere * math.cos(math.radians(lag_degrees))
    assert power_dw / 10 == pytest.approx(power, abs=2e-3 * volt * ampere + 1)


@pytest.mark.parametrize("offset_uv", [-60_000, 35_000])
def test_the_bias_does_not_matter(workbench: Workbench, offset_uv: int) -> None:
    _, voltage_cv, current_ca, power_dw = reading(measure(workbench, 230, 10, offset_uv=offset_uv))
    assert voltage_cv / 100 == pytest.approx(230, rel=1e-3)
    assert current_ca / 100 == pytest.approx(10, rel=2e-3)
    assert power_dw / 10 == pytest.approx(2300, rel=2e-3)


def test_no_current_is_no_power(workbench: Workbench) -> None:
    _, voltage_cv, current_ca, power_dw = reading(measure(workbench, 230, 0))
    assert voltage_cv / 100 == pytest.approx(230, rel=1e-3)
    assert current_ca <= 2
    assert abs(power_dw) <= 5


def test_no_voltage_is_measured_as_none_and_the_current_still_is(workbench: Workbench) -> None:
    table = measure(workbench, 0, 10)
    _, voltage_cv, current_ca, power_dw = reading(table)
    assert voltage_cv <= 10
    assert current_ca / 100 == pytest.approx(10, rel=1e-2)
    assert abs(power_dw) <= 10


def test_energy_is_power_times_time(workbench: Workbench) -> None:
    """2300 W from the start to the end of the last burst, which began at 59.7 s and took 0.22 s."""
    table = measure(workbench, 230, 10, seconds=60)
    energy_dwh, *_ = reading(table)
    assert energy_dwh == pytest.approx(2300 * 59.92 / 3600 * 10, abs=2)


def test_export_does_not_count_as_import(workbench: Workbench) -> None:
    energy_dwh, _, _, power_dw = reading(measure(workbench, 230, 10, lag_degrees=180, seconds=10))
    assert power_dw / 10 == pytest.approx(-2300, rel=2e-3)
    assert energy_dwh == 0


def test_two_channels_are_measured_apart(workbench: Workbench) -> None:
    table = measure(workbench, 230, 20, channels=2, seconds=5)
    for channel, ampere in ((0, 20), (1, 10)):
        _, voltage_cv, current_ca, power_dw = reading(table, channel)
        assert voltage_cv / 100 == pytest.approx(230, rel=1e-3)
        assert current_ca / 100 == pytest.approx(ampere, rel=2e-3)
        assert power_dw / 10 == pytest.approx(230 * ampere, rel=2e-3)


def test_a_burst_keeps_the_processor_busy_for_a_small_part_of_a_second(workbench: Workbench) -> None:
    table = measure(workbench, 230, 10, seconds=10)
    awake, _ = table.spent()
    assert awake < table.core.cycle * 6 // 100
