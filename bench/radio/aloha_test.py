"""The medium against published and independently computed figures for ALOHA (radio reference, section 7).

The capture rows of LoRaSim's experiments 0 and 4 are not here: they are of receivers that deliver a
stronger late packet, which one demodulator does not.
"""

import math
from collections import Counter
from functools import partial

import pytest

from bench.radio.aloha import SF12, AlohaTrial, Calendar, Ear, NoTrace, disk_attenuations_cdb
from bench.radio.interference import InterferenceRule
from bench.radio.medium import Medium
from bench.radio.modulation import Packet
from bench.radio.propagation import FixedLinks
from bench.radio.reception import Outcome, ReceptionRule
from bench.radio.transmission import Station
from bench.world.streams import Stream

PAIRWISE = ReceptionRule(interference=InterferenceRule(sums_power=False))
NO_CAPTURE = ReceptionRule(
    clean_from_symbol=0, interference=InterferenceRule(same_slope_cdb=20_000, sums_power=False)
)


def delivered_share(outcomes: Counter[Outcome]) -> float:
    return outcomes[Outcome.DELIVERED] / outcomes.total()


@pytest.mark.parametrize(("nodes", "published"), [(64, 0.8660), (100, 0.7987), (200, 0.6392), (500, 0.3415)])
def test_single_lock_delivers_what_a_compiled_probe_found(nodes: int, published: float) -> None:
    outcomes: Counter[Outcome] = Counter()
    for seed in range(30):
        outcomes += AlohaTrial(disk_attenuations_cdb(nodes, seed), 1600, seed, rule=PAIRWISE).run()
    assert delivered_share(outcomes) == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize(
    ("coding_rate", "nodes", "published"),
    [(4, 31, 0.9024), (4, 500, 0.1812)],
)
def test_without_capture_it_is_lorasims_simple_model(coding_rate: int, nodes: int, published: float) -> None:
    packet = Packet(bytes(20), coding_rate=coding_rate)
    outcomes = AlohaTrial((9000,) * nodes, 200_000, 1, packet=packet, rule=NO_CAPTURE).run()
    assert delivered_share(outcomes) == pytest.approx(published, abs=0.004)


def poisson_throughput(load: float, packets: int, slotted: bool) -> float:
    """Delivered airtime share when packets come from an endless population."""
    calendar = Calendar()
    medium = Medium(Stream(5, "medium"), NoTrace(), calendar, FixedLinks(9000), rule=NO_CAPTURE)
    gateway = medium.attach("gateway", Ear(), keeps_account=True)
    medium.listen(gateway, SF12)
    packet = Packet(bytes(20))
    airtime_ns = packet.airtime_ns(SF12)
    senders = [medium.attach(f"node-{index}", Ear()) for index in range(97)]
    draws = Stream(6, "arrivals")

    def send(sender: Station) -> None:
        medium.transmit(sender, SF12, packet, 1000)

    moment = 0.0
    for number in range(packets):
        moment -= math.log((draws.bits(number) + 1) / 2**64) / load
        start_ns = math.ceil(moment) * airtime_ns if slotted else round(moment * airtime_ns)
        sender = senders[number % len(senders)]
        calendar.at(start_ns, sender.name, partial(send, sender))
    calendar.advance(10 * packets)
    assert medium.outcomes.total() == packets
    return medium.outcomes["gateway", Outcome.DELIVERED] * airtime_ns / calendar.now_ns


def test_pure_aloha_peaks_at_one_over_two_e() -> None:
    assert poisson_throughput(0.5, 60_000, slotted=False) == pytest.approx(0.1839, abs=0.002)


def test_slotted_aloha_peaks_at_one_over_e() -> None:
    assert poisson_throughput(1.0, 60_000, slotted=True) == pytest.approx(0.3679, abs=0.003)


def test_adding_up_interferers_loses_more_than_meeting_them_alone() -> None:
    attenuations_cdb = disk_attenuations_cdb(500, 1)
    alone = AlohaTrial(attenuations_cdb, 10_000, 1, rule=PAIRWISE).run()
    summed = AlohaTrial(attenuations_cdb, 10_000, 1, rule=ReceptionRule()).run()
    assert 0.002 < delivered_share(alone) - delivered_share(summed) < 0.02
