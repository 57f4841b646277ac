"""Messages to and from peers over gRPC: one bidirectional stream of whole messages per peer.

A gateway calls its peers, a server is called. Peers meet inside a tunnel (WireGuard), which vouches for the
address of each; whoever calls says its name besides, since two nodes may share an address. Messages are the
bytes of :mod:`ledger.sync`, with no encoding around them.

A message may be lost with its connection, or when its peer takes too little: the synchronisation offers
again.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import logging
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import grpc
import grpc.aio

from ledger.messages import FromPeer, NodeMessage, PeerDown, PeerUp
from ledger.sync import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from ledger.service.config import AdmittedPeer, CalledPeer, HostPort, IpAddress

_LOG: Final = logging.getLogger(__name__)

_SERVICE: Final = "dag_ledger.Exchange"
_METHOD: Final = "Messages"
_NAME_KEY: Final = "node-name"
_WELCOME: Final = ("node-admitted", "yes")
"""Metadata that tells a caller at once that it is admitted; a refusal has metadata too, but not this."""

MAX_QUEUED: Final = 64
"""Messages that wait for a peer; of more the oldest go."""
MAX_UNTAKEN: Final = 8
"""Messages of one peer that wait for the state machine; its stream is read no further till then."""
_SLACK_BYTES: Final = 1024
_GRACE_S: Final = 0.5
_PROVEN_S: Final = 1.0
"""A link that held so long was no mistake: after it the pauses start from the shortest again."""


class ExchangeError(RuntimeError):
    """The exchange cannot start; the message names the address and the mend."""


class Post(Protocol):
    """Hands a message to the state machine's thread (:meth:`ledger.service.inbox.Inbox.post`)."""

    def __call__(self, message: NodeMessage, taken: Callable[[], None] | None = None) -> None:
        """``taken`` is called, from that thread, when the message has been dealt with."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the exchange is. A dead link is seen after at most the sum of the two keepalive times."""

    keepalive_every_s: float = 10.0
    keepalive_patience_s: float = 5.0
    connect_s: float = 10.0
    shortest_pause_s: float = 0.5
    longest_pause_s: float = 30.0

    def channel_options(self) -> list[tuple[str, int]]:
        """Both ends' settings of gRPC."""
        every_ms, patience_ms = (int(1000 * s) for s in (self.keepalive_every_s, self.keepalive_patience_s))
        return [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES + _SLACK_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + _SLACK_BYTES),
            ("grpc.keepalive_time_ms", every_ms),
            ("grpc.keepalive_timeout_ms", patience_ms),
            # Measured with grpcio 1.85: without this one a dead link is given a minute all the same.
            ("grpc.http2.ping_timeout_ms", patience_ms),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", every_ms),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", every_ms // 2),
            ("grpc.http2.max_ping_strikes", 0),
        ]


class _Link:
    """One connection with a peer: what waits to be sent, and how much of it was read but not taken."""

    def __init__(self, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = peer
        self.ended = asyncio.Event()
        self.credit = asyncio.Semaphore(MAX_UNTAKEN)
        self._loop = loop
        self._queue: collections.deque[bytes] = collections.deque()
        self._filled = asyncio.Event()

    def queue(self, payload: bytes) -> int:
        """Queue a message; return how many were dropped for it."""
        self._queue.append(payload)
        self._filled.set()
        if len(self._queue) <= MAX_QUEUED:
            return 0
        self._queue.popleft()
        return 1

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, without end."""
        while True:
            while self._queue:
                yield self._queue.popleft()
            self._filled.clear()
            await self._filled.wait()

    def taken(self) -> None:
        """Let one more message be read; from any thread."""
        with contextlib.suppress(RuntimeError):
            # The loop may be closed by now.
            self._loop.call_soon_threadsafe(self.credit.release)


class Exchange:
    """All links of one node, in a thread of their own.

    ``calls`` are the peers to call; ``listen`` and ``admits`` make it one that is called. ``counts`` has
    ``connects``, ``refused`` (calls that nobody took), ``replaced`` (connections), ``strangers``, ``dropped``
    and ``oversized`` (messages), and ``mistakes`` (of this program). ``refusals`` says, of each peer whose
    last call nobody took, why.
    """

    def __init__(
        self,
        name: str,
        post: Post,
        calls: Sequence[CalledPeer] = (),
        listen: HostPort | None = None,
        admits: Sequence[AdmittedPeer] = (),
        timing: Timing | None = None,
    ) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.refusals: dict[str, str] = {}
        self._name = name
        self._post = post
        self._calls = tuple(calls)
        self._listen = listen
        self._admits = {(peer.name, peer.address) for peer in admits}
        self._timing = timing or Timing()
        self._links: dict[str, _Link] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)
        self._server: Any = None
        self._callers: list[asyncio.Task[None]] = []
        self.port: int | None = None
        """Where it listens, once started."""

    def start(self) -> None:
        """Begin to listen and to call. Raises ExchangeError."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except ExchangeError:
            self.stop()
            raise

    def stop(self) -> None:
        """End all links."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def send(self, peer: str, payload: bytes) -> None:
        """Send a message to a peer, or drop it when there is no link; from any thread."""
        self._loop.call_soon_threadsafe(self._queue, peer, payload)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _queue(self, peer: str, payload: bytes) -> None:
        link = self._links.get(peer)
        self.counts["dropped"] += 1 if link is None else link.queue(payload)

    async def _start(self) -> None:
        if self._listen is not None:
            await self._serve(self._listen)
        self._callers = [asyncio.create_task(self._keep_calling(peer)) for peer in self._calls]

    async def _stop(self) -> None:
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        for link in list(self._links.values()):
            link.ended.set()
        if self._server is not None:
            await self._server.stop(_GRACE_S)
        # gRPC has tasks of its own, which complain when their loop ends before them.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, unfinished = await asyncio.wait(others, timeout=_GRACE_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    # Links

    def _link_up(self, peer: str) -> _Link:
        earlier = self._links.get(peer)
        if earlier is not None:
            self.counts["replaced"] += 1
            self._link_down(earlier)
        self.refusals.pop(peer, None)
        link = self._links[peer] = _Link(peer, self._loop)
        self.counts["connects"] += 1
        self._post(PeerUp(peer))
        return link

    def _link_down(self, link: _Link) -> None:
        link.ended.set()
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._post(PeerDown(link.peer))

    async def _receive(self, link: _Link, incoming: AsyncIterator[bytes]) -> None:
        async for payload in incoming:
            await link.credit.acquire()
            if link.ended.is_set():
                return
            self._post(FromPeer(link.peer, payload), link.taken)

    async def _send(self, link: _Link, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        async for payload in link.messages():
            await write(payload)

    async def _converse(
        self,
        link: _Link,
        incoming: AsyncIterator[bytes],
        write: Callable[[bytes], Coroutine[Any, Any, None]],
    ) -> None:
        """Send and receive until either fails, or the link is replaced."""
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._receive(link, incoming)),
            asyncio.create_task(self._send(link, write)),
            asyncio.create_task(link.ended.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            self._link_down(link)
        for outcome in outcomes:
            self._judge(outcome)

    def _judge(self, outcome: object) -> None:
        """Count what ended a link; what is no failure of a link is a mistake of this program, and logged."""
        if isinstance(outcome, grpc.RpcError):
            self.counts["oversized"] += outcome.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        elif isinstance(outcome, BaseException) and not isinstance(
            outcome, asyncio.CancelledError | asyncio.InvalidStateError | grpc.aio.BaseError
        ):
            self.counts["mistakes"] += 1
            _LOG.error("a link ended by a mistake of this program", exc_info=outcome)

    # Being called

    async def _serve(self, address: HostPort) -> None:
        handler = grpc.method_handlers_generic_handler(
            _SERVICE, {_METHOD: grpc.stream_stream_rpc_method_handler(self._on_call)}
        )
        options = [*self._timing.channel_options(), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((handler,))
        try:
            self.port = self._server.add_insecure_port(str(address))
        except RuntimeError:
            self.port = 0
        if not self.port:
            self._server = None
            raise ExchangeError(
                f"cannot listen on {address}: check that the address is this host's (is the tunnel up?)"
                " and that no other program has the port"
            )
        await self._server.start()

    async def _on_call(self, incoming: AsyncIterator[bytes], context: Any) -> None:
        peer = self._admitted(context)
        if peer is None:
            self.counts["strangers"] += 1
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this node does not know you")
            return
        await context.send_initial_metadata((_WELCOME,))
        await self._converse(self._link_up(peer), incoming, context.write)

    def _admitted(self, context: Any) -> str | None:
        """The name that a caller gives, if that peer may call from that address."""
        address = _address_of(context.peer())
        for key, value in context.invocation_metadata() or ():
            if key == _NAME_KEY and isinstance(value, str) and (value, address) in self._admits:
                return value
        return None

    # Calling

    async def _keep_calling(self, peer: CalledPeer) -> None:
        # Seeded by the two names: nodes that lost the same peer together do not all come back together.
        chance = random.Random(f"{self._name} calls {peer.name}")
        pause_s = self._timing.shortest_pause_s
        while True:
            if await self._call(peer) > _PROVEN_S:
                pause_s = self._timing.shortest_pause_s
            await asyncio.sleep(pause_s * chance.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, self._timing.longest_pause_s)

    async def _call(self, peer: CalledPeer) -> float:
        """Call a peer once, and talk until the link ends; return the seconds for which there was a link."""
        # A pool of its own: otherwise gRPC's own back-off would come on top of this one.
        options = [*self._timing.channel_options(), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(str(peer.address), options=options) as channel:
            method = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")
            call = method(metadata=((_NAME_KEY, self._name),))
            refusal = await self._refusal(call)
            if refusal is not None:
                call.cancel()
                self.counts["refused"] += 1
                self.refusals[peer.name] = f"{peer.address}: {refusal}"
                return 0.0
            began_s = self._loop.time()
            await self._converse(self._link_up(peer.name), _incoming(call), call.write)
            call.cancel()
            return self._loop.time() - began_s

    async def _refusal(self, call: Any) -> str | None:
        """Why nobody takes a call, with the mend; None once it is taken."""
        try:
            async with asyncio.timeout(self._timing.connect_s):
                await call.wait_for_connection()
                if _WELCOME in [tuple(entry) for entry in await call.initial_metadata()]:
                    return None
                code, cause = await call.code(), await call.details()
        except grpc.RpcError as error:
            code, cause = error.code(), error.details()
        except TimeoutError:
            code, cause = None, f"no answer within {self._timing.connect_s:g} s"
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return f"{cause}; have it admit the name {self._name} from this host's address"
        cause = cause or "it does not answer as a ledger does"
        return f"{cause}; check the address, the tunnel, and that a server of the ledger runs there"


async def _incoming(call: Any) -> AsyncIterator[bytes]:
    while (payload := await call.read()) is not grpc.aio.EOF:
        yield payload


def _address_of(peer: str) -> IpAddress | None:
    """The address in gRPC's name of a connection: ``ipv4:198.18.0.7:40001``, ``ipv6:%5B::1%5D:40001``."""
    _, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
