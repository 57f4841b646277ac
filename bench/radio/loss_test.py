from itertools import groupby

import pytest

from bench.radio.loss import GilbertLoss, IndependentLoss, LinkLoss
from bench.world.streams import Stream


def losses(link: LinkLoss, count: int) -> list[bool]:
    return [link.takes() for _ in range(count)]


def bursts(taken: list[bool]) -> list[int]:
    return [len(list(run)) for lost, run in groupby(taken) if lost]


def test_gilbert_loss_and_burst_length_are_those_of_the_chain() -> None:
    # The fitted 500 m DR1 link: loss p / (p + r), mean burst 1 / r.
    taken = losses(GilbertLoss(69_000, 428_000).on_link(Stream(1, "link")), 1_000_000)
    assert sum(taken) / len(taken) == pytest.approx(69 / 497, abs=0.003)
    lengths = bursts(taken)
    assert sum(lengths) / len(lengths) == pytest.approx(1 / 0.428, rel=0.01)


def test_outages_bring_bursts_that_the_two_state_chain_cannot() -> None:
    without = losses(GilbertLoss(88_000, 481_000).on_link(Stream(1, "link")), 20_000)
    with_outages = losses(GilbertLoss(88_000, 481_000, 500, 20_000).on_link(Stream(1, "link")), 20_000)
    assert max(bursts(without)) < 29
    assert max(bursts(with_outages)) > 60


def test_independent_loss_has_its_probability() -> None:
    taken = losses(IndependentLoss(100_000).on_link(Stream(2, "link")), 100_000)
    assert sum(taken) / len(taken) == pytest.approx(0.1, abs=0.004)  # four standard deviations


def test_nothing_and_everything() -> None:
    assert not any(losses(IndependentLoss(0).on_link(Stream(3)), 1000))
    assert all(losses(IndependentLoss(1_000_000).on_link(Stream(3)), 1000))


def test_links_lose_different_packets_and_the_same_ones_again() -> None:
    plan = GilbertLoss(200_000, 300_000)
    first, again, other = (losses(plan.on_link(Stream(4, name)), 200) for name in ("a", "a", "b"))
    assert first == again != other


def test_impossible_probabilities_are_named() -> None:
    with pytest.raises(ValueError, match="loss is 1000001 ppm"):
        IndependentLoss(1_000_001)
    with pytest.raises(ValueError, match="good_after_bad_ppm is -1 ppm"):
        GilbertLoss(0, -1)
    with pytest.raises(ValueError, match="together exceed"):
        GilbertLoss(600_000, 1, 600_000)
