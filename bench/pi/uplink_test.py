from functools import partial

from bench.pi.uplink import UplinkEnd, UplinkPlan
from bench.world.island import Conductor, Island, LocalHost
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream
from bench.world.trace import Trace


def _play(
    plan: UplinkPlan, seed: int, messages: int
) -> tuple[list[tuple[int, bytes]], list[tuple[int, bool]], UplinkEnd]:
    pi, server = Island("pi"), Island("server")
    arrived, news = list[tuple[int, bytes]](), list[tuple[int, bool]]()
    stream = Stream(seed, "uplink")
    here = UplinkEnd("uplink", plan, stream, pi, "server")
    there = UplinkEnd("uplink", plan, stream, server, "pi")
    there.attach(
        lambda payload: arrived.append((server.simulation.now_ns, payload)),
        lambda up: news.append((server.simulation.now_ns, up)),
    )
    here.open()
    there.open()
    for number in range(messages):
        pi.simulation.at(number * NS_PER_S, "pi", partial(here.send, bytes([number])))
    Conductor([LocalHost([pi, server])], plan.delay_ns, Trace()).play(1000 * NS_PER_S)
    return arrived, news, here


def test_delay_is_exact_and_order_is_kept_under_jitter() -> None:
    arrived, _, _ = _play(UplinkPlan(delay_ns=250), 1, 5)
    assert arrived == [(n * NS_PER_S + 250, bytes([n])) for n in range(5)]
    arrived, _, _ = _play(UplinkPlan(delay_ns=5, jitter_ns=20 * NS_PER_S), 1, 100)
    assert [payload[0] for _, payload in arrived] == list(range(100))
    assert all(t_ns >= payload[0] * NS_PER_S + 5 for t_ns, payload in arrived)


def test_loss_is_seeded_and_counted() -> None:
    plan = UplinkPlan(delay_ns=1, loss_ppm=300_000)
    first, _, end = _play(plan, 5, 200)
    assert first == _play(plan, 5, 200)[0] != _play(plan, 6, 200)[0]
    assert len(first) + end.lost_messages == 200
    assert 100 < len(first) < 180


def test_an_outage_cuts_what_is_under_way_and_is_announced() -> None:
    plan = UplinkPlan(delay_ns=NS_PER_S // 2, outages=((2 * NS_PER_S + 1, 4 * NS_PER_S),))
    arrived, news, _ = _play(plan, 1, 6)
    assert [payload[0] for _, payload in arrived] == [0, 1, 4, 5]
    assert news == [(0, True), (2 * NS_PER_S + 1, False), (4 * NS_PER_S, True)]
