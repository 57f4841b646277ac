from bench.pi.uplink import Uplink, UplinkEnd, UplinkPlan
from bench.world.simulation import NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace


def _play(
    plan: UplinkPlan, seed: int, messages: int
) -> tuple[list[tuple[int, bytes]], list[tuple[int, str]], UplinkEnd]:
    simulation, trace = Simulation(), Trace()
    arrived, news = list[tuple[int, bytes]](), list[tuple[int, str]]()
    uplink = Uplink("uplink", plan, Stream(seed, "uplink"), simulation, trace)
    pi = UplinkEnd(lambda _payload: None, lambda: None, lambda: None)
    server = UplinkEnd(
        lambda payload: arrived.append((simulation.now_ns, payload)),
        lambda: news.append((simulation.now_ns, "up")),
        lambda: news.append((simulation.now_ns, "down")),
    )
    uplink.attach("pi", pi)
    uplink.attach("server", server)
    uplink.open()
    for number in range(messages):
        simulation.at(number * NS_PER_S, "pi", lambda n=number: uplink.send("pi", bytes([n])))  # type: ignore[misc]
    simulation.run(1000 * NS_PER_S)
    return arrived, news, pi


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
    assert news == [(0, "up"), (2 * NS_PER_S + 1, "down"), (4 * NS_PER_S, "up")]
