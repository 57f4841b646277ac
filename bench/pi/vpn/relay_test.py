import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from bench.pi.uplink import UplinkPlan
from bench.pi.vpn.impairment import Fate, PathPlan
from bench.pi.vpn.message_test import KEY, OTHER, data, initiation, response
from bench.pi.vpn.relay import Address, PathAccount, Relay, RelayPlan
from bench.rig.infrastructure import InfrastructureError
from bench.world.patience import until
from bench.world.streams import Stream

NS_PER_S = 1_000_000_000
PATIENCE_S = 30


def _socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    opened.bind(("127.0.0.1", 0))
    opened.settimeout(PATIENCE_S)
    return opened


def _waiting(receiver: socket.socket) -> list[bytes]:
    """All that has arrived, without waiting."""
    found = []
    receiver.setblocking(False)
    try:
        while True:
            found.append(receiver.recv(65_536))
    except BlockingIOError:
        return found
    finally:
        receiver.settimeout(PATIENCE_S)


class Between:
    """Two ends on loopback with a relay between them."""

    def __init__(self, stack: ExitStack, plan: RelayPlan, seed: int = 1, zero_ns: int | None = None) -> None:
        self.initiator, self.responder = stack.enter_context(_socket()), stack.enter_context(_socket())
        self.relay = stack.enter_context(
            Relay(
                "east",
                ("127.0.0.1", 0),
                self.responder.getsockname(),
                KEY,
                plan,
                Stream(seed, "way"),
                zero_ns,
            )
        )

    def send_up(self, datagram: bytes, sender: socket.socket | None = None) -> None:
        (sender or self.initiator).sendto(datagram, self.relay.endpoint)

    def shake_hands(self) -> Address:
        """Introduce the ends to each other; return where the responder sees the initiator."""
        self.send_up(initiation(KEY))
        seen: Address
        datagram, seen = self.responder.recvfrom(2048)
        assert datagram == initiation(KEY)
        self.responder.sendto(response(b"resp", b"init"), seen)
        assert self.initiator.recv(2048) == response(b"resp", b"init")
        return seen

    def has_received(self, datagrams: int) -> bool:
        return self.relay.account().up.received == datagrams

    def settled(self, up: int = 0, down: int = 0) -> bool:
        account = self.relay.account()
        return (
            account.up.received >= up
            and account.down.received >= down
            and account.up.under_way == account.down.under_way == 0
        )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _is_whole(account: PathAccount) -> bool:
    parts = (
        account.passed,
        account.lost,
        account.cut,
        account.overrun,
        account.under_way,
        account.undelivered,
    )
    return account.received == sum(parts)


def test_datagrams_pass_both_ways_in_order(stack: ExitStack) -> None:
    between = Between(stack, RelayPlan())
    seen = between.shake_hands()
    sent = [data(b"resp", 40 + number) for number in range(200)]
    for datagram in sent:
        between.send_up(datagram)
        assert between.responder.recv(2048) == datagram
        between.responder.sendto(datagram, seen)
        assert between.initiator.recv(2048) == datagram
    account = between.relay.account()
    assert account.up.passed == account.down.passed == account.up.received == 201
    assert account.up.received_octets == 148 + sum(map(len, sent))
    assert account.refused_by_system == account.roamings == 0


def test_strangers_are_dropped_and_counted(stack: ExitStack) -> None:
    between = Between(stack, RelayPlan())
    stranger = stack.enter_context(_socket())
    noise = [b"", b"hello", initiation(OTHER), data(b"resp"), response(b"a   ", b"b   "), bytes(65_507)]
    for datagram in noise:
        between.send_up(datagram, stranger)
    until(lambda: between.relay.account().up.strangers == len(noise), PATIENCE_S)
    seen = between.shake_hands()
    between.send_up(data(b"nope"), stranger)
    stranger.sendto(data(b"init"), seen)
    until(lambda: between.relay.account().up.strangers == len(noise) + 1, PATIENCE_S)
    until(lambda: between.relay.account().down.strangers == 1, PATIENCE_S)
    between.send_up(data(b"resp", 64))
    assert between.responder.recv(2048) == data(b"resp", 64)
    assert _waiting(between.responder) == _waiting(between.initiator) == _waiting(stranger) == []
    account = between.relay.account()
    assert (account.up.received, account.down.received) == (2, 1)


def test_the_initiator_may_roam(stack: ExitStack) -> None:
    between = Between(stack, RelayPlan())
    seen = between.shake_hands()
    elsewhere = stack.enter_context(_socket())
    between.send_up(data(b"resp", 48), elsewhere)
    assert between.responder.recv(2048) == data(b"resp", 48)
    between.responder.sendto(data(b"init", 80), seen)
    assert elsewhere.recv(2048) == data(b"init", 80)
    assert between.relay.account().roamings == 1
    assert _waiting(between.initiator) == []


def _fates(stack: ExitStack, seed: int, count: int) -> tuple[list[Fate], list[bytes]]:
    way = PathPlan(UplinkPlan(1_000_000, jitter_ns=3_000_000, loss_ppm=300_000))
    between = Between(stack, RelayPlan(up=way), seed)
    between.send_up(initiation(KEY))
    for number in range(count):
        between.send_up(number.to_bytes(4, "big"))
        until(partial(between.has_received, number + 2), PATIENCE_S)
    until(between.settled, PATIENCE_S)
    account = between.relay.account()
    assert _is_whole(account.up)
    up, down = between.relay.log()
    assert down == []
    verdicts = sorted(up, key=lambda verdict: verdict.index)
    assert all(1_000_000 <= v.arrival_ns - v.sent_ns <= 4_000_000 for v in verdicts)
    return [verdict.fate for verdict in verdicts], sorted(_waiting(between.responder))


def test_loss_is_seeded_repeatable_and_what_was_not_lost_arrives(stack: ExitStack) -> None:
    count = 120
    fates, arrived = _fates(stack, 5, count)
    assert (fates, arrived) == _fates(stack, 5, count)
    assert fates != _fates(stack, 6, count)[0]
    assert len(fates) == count + 1
    whole = [initiation(KEY), *(number.to_bytes(4, "big") for number in range(count))]
    kept = [datagram for datagram, fate in zip(whole, fates, strict=True) if fate is Fate.PASSED]
    assert arrived == sorted(kept)
    assert 0 < fates.count(Fate.LOST) < count


def test_delay_is_kept_to_at_least(stack: ExitStack) -> None:
    way = PathPlan(UplinkPlan(40_000_000))
    between = Between(stack, RelayPlan(way, way))
    begin_ns = time.monotonic_ns()
    between.shake_hands()
    assert time.monotonic_ns() - begin_ns >= 80_000_000
    account = between.relay.account()
    assert account.up.delayed_ns == account.down.delayed_ns == 40_000_000
    assert account.up.latest_ns >= 0


def test_an_outage_of_the_plan_is_felt_in_what_is_sent_during_it_and_only_then(stack: ExitStack) -> None:
    # Zero lies so that the first outage is now and for long, the second in the far past of the plan's end.
    hour_ns = 3600 * NS_PER_S
    way = PathPlan(UplinkPlan(0, outages=((0, 10), (hour_ns, 2 * hour_ns))))
    now = time.monotonic_ns()
    between = Between(stack, RelayPlan(up=way), zero_ns=now - hour_ns - 60 * NS_PER_S)
    for _ in range(5):
        between.send_up(initiation(KEY))
    until(lambda: between.settled(up=5), PATIENCE_S)
    account = between.relay.account()
    assert account.up.cut == 5
    assert account.up.outage_hits == (0, 5)
    assert _waiting(between.responder) == []
    later = Between(stack, RelayPlan(up=way), zero_ns=now - 3 * hour_ns)
    later.shake_hands()
    assert later.relay.account().up.outage_hits == (0, 0)


def test_a_cut_on_demand_takes_what_is_under_way_and_lasts_until_mended(stack: ExitStack) -> None:
    slow = PathPlan(UplinkPlan(3600 * NS_PER_S))
    between = Between(stack, RelayPlan(down=slow))
    between.send_up(initiation(KEY))
    _, seen = between.responder.recvfrom(2048)
    for _ in range(3):
        between.responder.sendto(data(b"init"), seen)
    until(lambda: between.relay.account().down.under_way == 3, PATIENCE_S)
    between.relay.cut()
    between.relay.cut()
    assert between.relay.is_cut
    assert between.relay.account().down.cut == 3
    for _ in range(4):
        between.send_up(data(b"resp"))
    until(lambda: between.relay.account().up.cut == 4, PATIENCE_S)
    between.relay.mend()
    assert not between.relay.is_cut
    between.send_up(data(b"resp"))
    assert between.responder.recv(2048) == data(b"resp")
    account = between.relay.account()
    (cut,) = account.demand_cuts
    assert cut.datagrams == 7
    assert cut.to_ns is not None
    assert cut.from_ns < cut.to_ns
    assert _is_whole(account.up)
    assert _is_whole(account.down)
    assert _waiting(between.responder) == []


def test_a_flood_overruns_what_may_be_under_way(stack: ExitStack) -> None:
    way = PathPlan(UplinkPlan(delay_ns=NS_PER_S), queue_octets=10_000)
    between = Between(stack, RelayPlan(up=way))
    between.send_up(initiation(KEY))
    for _ in range(60):
        between.send_up(bytes(1000))
    until(lambda: between.settled(up=61), PATIENCE_S)
    account = between.relay.account().up
    assert account.overrun > 0
    assert account.passed >= 10
    assert len(_waiting(between.responder)) == account.passed


def test_closing_accounts_for_what_is_under_way_and_frees_the_port(stack: ExitStack) -> None:
    between = Between(stack, RelayPlan(up=PathPlan(UplinkPlan(3600 * NS_PER_S))))
    for _ in range(3):
        between.send_up(initiation(KEY))
    until(lambda: between.relay.account().up.under_way == 3, PATIENCE_S)
    endpoint = between.relay.endpoint
    between.relay.close()
    between.relay.close()
    account = between.relay.account()
    assert account.up.undelivered == 3
    assert _is_whole(account.up)
    with _socket_at(endpoint):
        pass


def _socket_at(address: Address) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(address)
    return opened


def test_an_address_in_use_or_not_ours_is_told_with_its_mend() -> None:
    with _socket() as taken:
        host, port = taken.getsockname()
        with pytest.raises(InfrastructureError) as caught:
            Relay("east", (host, port), ("127.0.0.1", 9), KEY, RelayPlan(), Stream(1))
    assert str(caught.value) == (
        f"relay east: cannot listen on {host}:{port}: Address already in use; "
        "end what listens there, or give the relay another port (0 takes any free one)"
    )
    with pytest.raises(InfrastructureError, match="give an address that this host has"):
        Relay("east", ("192.0.2.1", 0), ("127.0.0.1", 9), KEY, RelayPlan(), Stream(1))


def test_a_responder_that_is_not_there_does_not_end_the_relay(stack: ExitStack) -> None:
    between = Between(stack, RelayPlan())
    between.responder.close()
    for _ in range(5):
        between.send_up(initiation(KEY))
    until(lambda: between.settled(up=5), PATIENCE_S)
    assert between.relay.account().up.passed == 5
