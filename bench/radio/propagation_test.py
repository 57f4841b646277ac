import math
from statistics import NormalDist, mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.radio.airtime import sensitivity_cdbm
from bench.radio.propagation import (
    BUILT_UP_433,
    OULU_433,
    DistanceLinks,
    FixedLinks,
    PathLoss,
    Position,
    rayleigh_fading_cdb,
)
from bench.world.streams import Stream


@given(st.integers(1_000, 20_000_000))
def test_path_loss_is_the_log_distance_formula(distance_mm: int) -> None:
    exact_cdb = 12307 + 2080 * math.log10(distance_mm / 1e6)
    assert PathLoss(1_000_000, 12307, 208, 0).median_cdb(distance_mm) == pytest.approx(exact_cdb, abs=2)


@pytest.mark.parametrize(("path_loss", "range_m"), [(OULU_433, 3300), (BUILT_UP_433, 180)])
def test_median_range_at_10_dbm_is_the_published_one(path_loss: PathLoss, range_m: int) -> None:
    budget_cdb = 1000 - sensitivity_cdbm(7, 7)
    assert path_loss.median_cdb(range_m * 950) < budget_cdb < path_loss.median_cdb(range_m * 1050)


def test_shadowing_is_frozen_symmetric_and_normal() -> None:
    positions = {f"node-{index}": Position(0, 0) for index in range(2000)}
    positions["gateway"] = Position(1_000_000, 0)
    links = DistanceLinks(Stream(1, "links"), OULU_433, positions)
    draws_cdb = [links.attenuation_cdb(name, "gateway") - 12291 for name in positions if name != "gateway"]
    assert mean(draws_cdb) == pytest.approx(0, abs=4 * 780 / math.sqrt(2000))
    assert stdev(draws_cdb) == pytest.approx(780, rel=0.06)
    expected = NormalDist(0, 780)
    within = sum(abs(draw) < 780 for draw in draws_cdb) / 2000
    assert within == pytest.approx(expected.cdf(780) - expected.cdf(-780), abs=0.04)
    assert links.attenuation_cdb("gateway", "node-7") == links.attenuation_cdb("node-7", "gateway")


def test_fading_is_rayleigh() -> None:
    stream = Stream(2, "fading")
    powers = [10 ** (-rayleigh_fading_cdb(stream.bits(index)) / 1000) for index in range(20_000)]
    assert mean(powers) == pytest.approx(1, abs=0.03)  # an exponential distribution has mean 1 ...
    assert sum(power < 0.01 for power in powers) / 20_000 == pytest.approx(
        0.00995, abs=0.003
    )  # ... and 20 dB margin
    assert sum(power > 2 for power in powers) / 20_000 == pytest.approx(math.exp(-2), abs=0.01)


@given(st.integers(0, 2**64 - 1))
def test_fading_of_any_draw_is_the_exponential_quantile(bits: int) -> None:
    uniform = ((bits >> 32 << 1) + 1) / 2**33
    fading_cdb = rayleigh_fading_cdb(bits)
    if -math.log(uniform) > 0.01:  # deeper fades are coarser, and cost the packet either way
        assert fading_cdb == pytest.approx(-1000 * math.log10(-math.log(uniform)), abs=8)
    else:
        assert fading_cdb > 1900


def test_fading_belongs_to_the_packet_and_the_link() -> None:
    positions = {"a": Position(0, 0), "b": Position(500_000, 0)}
    links = DistanceLinks(Stream(3), OULU_433, positions, rayleigh_fading=True)
    there = [links.fading_cdb("a", "b", number) for number in range(50)]
    assert there == [links.fading_cdb("a", "b", number) for number in range(50)]
    assert there != [links.fading_cdb("b", "a", number) for number in range(50)]
    assert DistanceLinks(Stream(3), OULU_433, positions).fading_cdb("a", "b", 0) == 0


def test_station_without_a_position_is_named() -> None:
    links = DistanceLinks(Stream(3), OULU_433, {"a": Position(0, 0)})
    with pytest.raises(ValueError, match="station b has no position"):
        links.attenuation_cdb("a", "b")


def test_fixed_links_hold_in_both_directions() -> None:
    links = FixedLinks(9000, {("a", "b"): 20_000})
    assert links.attenuation_cdb("a", "b") == links.attenuation_cdb("b", "a") == 20_000
    assert links.attenuation_cdb("a", "c") == 9000
