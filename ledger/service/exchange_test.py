"""Real gRPC over loopback, between exchanges of one process and through a proxy that can misbehave."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from ledger.messages import FromPeer, NodeMessage, PeerDown, PeerUp
from ledger.service import exchange as exchange_module
from ledger.service.config import AdmittedPeer, CalledPeer, HostPort
from ledger.service.exchange import Exchange, ExchangeError, Timing, _address_of
from ledger.service.process_pair import until
from ledger.service.proxy import Proxy
from ledger.sync import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCAL = ipaddress.ip_address("127.0.0.1")
DEADLINE_S = 60.0
QUICK = Timing(
    keepalive_every_s=1.0,
    keepalive_patience_s=1.0,
    connect_s=5.0,
    shortest_pause_s=0.05,
    longest_pause_s=0.2,
)


class Received:
    """What an exchange has posted, to be waited for."""

    def __init__(self, *, takes: bool = True) -> None:
        self.messages: list[NodeMessage] = []
        self.takes = takes
        self._changed = threading.Condition()

    def post(self, message: NodeMessage, taken: Callable[[], None] | None = None) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if taken is not None and self.takes:
            taken()

    def wait_for(self, condition: Callable[[list[NodeMessage]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.messages), DEADLINE_S), self.messages[-5:]

    def wait_for_message(self, message: NodeMessage, times: int = 1) -> None:
        self.wait_for(lambda messages: messages.count(message) >= times)


@contextmanager
def running(*exchanges: Exchange) -> Iterator[None]:
    with ExitStack() as stack:
        for exchange in exchanges:
            exchange.start()
            stack.callback(exchange.stop)
        yield


def server(received: Received, *admitted: str, port: int | None = None) -> Exchange:
    return Exchange(
        "server",
        received.post,
        listen=HostPort("127.0.0.1", _free_port() if port is None else port),
        admits=[AdmittedPeer(name, LOCAL) for name in admitted],
        timing=QUICK,
    )


def caller(name: str, received: Received, port: int | None) -> Exchange:
    assert port is not None
    return Exchange(
        name, received.post, calls=[CalledPeer("server", HostPort("127.0.0.1", port))], timing=QUICK
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_messages_go_both_ways_whole_and_in_order() -> None:
    there, here = Received(), Received()
    serving = server(there, "east")
    with running(serving):
        calling = caller("east", here, serving.port)
        with running(calling):
            here.wait_for_message(PeerUp("server"))
            there.wait_for_message(PeerUp("east"))
            sent = [bytes([n]) * n for n in range(50)] + [bytes(MAX_MESSAGE_BYTES)]
            for payload in sent:
                calling.send("server", payload)
                serving.send("east", payload)
            there.wait_for_message(FromPeer("east", sent[-1]))
            here.wait_for_message(FromPeer("server", sent[-1]))
            assert [m.payload for m in there.messages if isinstance(m, FromPeer)] == sent
            assert [m.payload for m in here.messages if isinstance(m, FromPeer)] == sent
        there.wait_for_message(PeerDown("east"))


@pytest.mark.parametrize(("claimed", "admitted"), [("west", "east"), ("east", None)])
def test_a_stranger_is_refused_and_counted(claimed: str, admitted: str | None) -> None:
    there, here = Received(), Received()
    serving = server(there, *filter(None, [admitted]))
    with running(serving):
        calling = caller(claimed, here, serving.port)
        with running(calling):
            until(lambda: serving.counts["strangers"] >= 2)
    assert there.messages == here.messages == []


def test_why_a_call_is_not_taken_is_kept_until_one_is() -> None:
    there, here = Received(), Received()
    port = _free_port()
    calling = caller("east", here, port)
    with running(calling):
        until(lambda: calling.refusals)
        assert calling.refusals["server"].startswith(f"127.0.0.1:{port}: ")
        assert "Connection refused" in calling.refusals["server"]
        with running(server(there, "east", port=port)):
            here.wait_for_message(PeerUp("server"))
            assert calling.refusals == {}


def test_a_caller_that_is_not_admitted_hears_it_and_one_that_nobody_answers_says_so() -> None:
    serving = server(Received(), "west")
    with running(serving), running(calling := caller("east", Received(), serving.port)):
        until(lambda: calling.refusals)
        assert calling.refusals["server"] == (
            f"127.0.0.1:{serving.port}: this node does not know you; have it admit the name east from this"
            " host's address"
        )
    impatient = replace(QUICK, connect_s=0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = HostPort("127.0.0.1", mute.getsockname()[1])
        calling = Exchange("east", Received().post, calls=[CalledPeer("server", address)], timing=impatient)
        with running(calling):
            until(lambda: calling.refusals)
            assert calling.refusals["server"].startswith(f"{address}: no answer within 0.3 s; check ")


def test_a_host_that_nobody_knows_is_named() -> None:
    address = HostPort("nowhere.invalid", 7400)
    calling = Exchange("east", Received().post, calls=[CalledPeer("server", address)], timing=QUICK)
    with running(calling):
        until(lambda: calling.refusals)
        assert calling.refusals["server"].startswith("nowhere.invalid:7400: ")
        assert "; check the address, the tunnel" in calling.refusals["server"]


def test_a_known_name_from_another_address_is_a_stranger() -> None:
    there, here = Received(), Received()
    serving = Exchange(
        "server",
        there.post,
        listen=HostPort("127.0.0.1", _free_port()),
        admits=[AdmittedPeer("east", ipaddress.ip_address("198.18.0.7"))],
        timing=QUICK,
    )
    with running(serving), running(caller("east", here, serving.port)):
        until(lambda: serving.counts["strangers"] >= 1)
    assert there.messages == here.messages == []


def test_a_second_connection_of_a_peer_replaces_the_first() -> None:
    there, first, second = Received(), Received(), Received()
    serving = server(there, "east")
    with running(serving), running(caller("east", first, serving.port)):
        there.wait_for_message(PeerUp("east"))
        with running(caller("east", second, serving.port)):
            second.wait_for_message(PeerUp("server"))
            first.wait_for_message(PeerDown("server"))
            until(lambda: serving.counts["replaced"] >= 1)
    assert there.messages[:3] == [PeerUp("east"), PeerDown("east"), PeerUp("east")]


def test_a_peer_that_comes_back_is_called_again() -> None:
    here = Received()
    port = _free_port()
    calling = caller("east", here, port)
    with running(calling):
        for times in (1, 2):
            there = Received()
            with running(server(there, "east", port=port)):
                here.wait_for_message(PeerUp("server"), times)
                calling.send("server", b"after start %d" % times)
                there.wait_for_message(FromPeer("east", b"after start %d" % times))
            here.wait_for_message(PeerDown("server"), times)


def test_a_dead_link_is_seen_at_both_ends_and_mended() -> None:
    """Nothing closes the connection: bytes just do not arrive any more, as behind a cut cable."""
    there, here = Received(), Received()
    serving = server(there, "east")
    with running(serving):
        assert serving.port is not None
        with Proxy(serving.port) as proxy, running(calling := caller("east", here, proxy.port)):
            here.wait_for_message(PeerUp("server"))
            proxy.hold()
            here.wait_for_message(PeerDown("server"))
            there.wait_for_message(PeerDown("east"))
            proxy.let_pass()
            here.wait_for_message(PeerUp("server"), 2)
            calling.send("server", b"again")
            there.wait_for_message(FromPeer("east", b"again"))


def test_a_message_over_the_limit_ends_the_link_and_nothing_more() -> None:
    there, here = Received(), Received()
    serving = server(there, "east")
    with running(serving):
        calling = caller("east", here, serving.port)
        with running(calling):
            here.wait_for_message(PeerUp("server"))
            calling.send("server", bytes(MAX_MESSAGE_BYTES + 2048))
            here.wait_for_message(PeerUp("server"), 2)
            calling.send("server", b"fits")
            there.wait_for_message(FromPeer("east", b"fits"))
    assert not any(len(m.payload) > MAX_MESSAGE_BYTES for m in there.messages if isinstance(m, FromPeer))


def test_a_sender_without_limits_meets_the_receivers() -> None:
    """Another program in the place of the gateway's."""
    there = Received()
    serving = server(there, "east")

    async def flood(port: int) -> grpc.StatusCode:
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            method = channel.stream_stream("/dag_ledger.Exchange/Messages")
            call: Any = method(metadata=(("node-name", "east"),))
            await call.write(bytes(10 * MAX_MESSAGE_BYTES))
            return await call.code()

    with running(serving):
        assert serving.port is not None
        code = asyncio.run(flood(serving.port))
        there.wait_for_message(PeerDown("east"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not any(isinstance(message, FromPeer) for message in there.messages)


def test_what_waits_for_a_peer_is_bounded_and_the_oldest_go() -> None:
    """The receiver takes nothing, so neither credit nor flow control lets more than a part through."""
    there, here = Received(takes=False), Received()
    serving = server(there, "east")
    with running(serving):
        calling = caller("east", here, serving.port)
        with running(calling):
            here.wait_for_message(PeerUp("server"))
            count = 400
            for number in range(count):
                calling.send("server", number.to_bytes(2, "big") * (MAX_MESSAGE_BYTES // 2))
            until(lambda: calling.counts["dropped"] > count // 2)
            arrived = [m for m in there.messages if isinstance(m, FromPeer)]
            assert len(arrived) <= exchange_module.MAX_UNTAKEN
    assert calling.counts["dropped"] <= count


def test_without_a_link_messages_are_dropped_and_counted() -> None:
    calling = caller("east", Received(), _free_port())
    with running(calling):
        calling.send("server", b"x")
        calling.send("nobody", b"x")
        until(lambda: calling.counts["dropped"] == 2)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        serving = Exchange("server", Received().post, listen=HostPort("127.0.0.1", port))
        with pytest.raises(ExchangeError, match=rf"cannot listen on 127\.0\.0\.1:{port}: check that"):
            serving.start()
    elsewhere = Exchange("server", Received().post, listen=HostPort("198.18.255.1", 7400))
    with pytest.raises(ExchangeError, match=r"198\.18\.255\.1:7400"):
        elsewhere.start()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:198.18.0.7:40001", "198.18.0.7"),
        ("ipv6:%5Bfd00::7%5D:40001", "fd00::7"),
        ("ipv6:[fd00::7]:40001", "fd00::7"),
        ("ipv6:%5B::ffff:198.18.0.7%5D:40001", "198.18.0.7"),
    ],
)
def test_grpcs_names_of_connections(peer: str, address: str) -> None:
    assert _address_of(peer) == ipaddress.ip_address(address)
    assert _address_of("unix:/run/x") is None
    assert _address_of("") is None
