"""A relay of UDP datagrams between two WireGuard peers that delays, loses and cuts on purpose.

It is the endpoint that the initiator (a Pi) is configured with, and for the responder (the server) the
address where the initiator seems to be. It runs on a thread of its own and keeps time by the wall clock. What
it was told to do and what it did is accounted for, datagram by datagram.
"""

import asyncio
import errno
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from bench.pi.uplink import UplinkPlan
from bench.pi.vpn.impairment import Fate, Path, PathPlan, Verdict
from bench.pi.vpn.keys import PublicKey
from bench.pi.vpn.message import Admission
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError
from bench.world.streams import Stream

Address = tuple[str, int]
Answer = TypeVar("Answer")

_NS_PER_S = 1_000_000_000
_LOG_LENGTH = 20_000
_RECEIVE_BUFFER_OCTETS = 4 * 1024 * 1024
_NICENESS = -10
"""Asked of the host for the relay's thread, as for the world's: it needs little, but on time."""
_MAX_DATAGRAM_OCTETS = 65_536
_BURST = 64
_ANSWER_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class RelayPlan:
    """How both directions behave: `up` from the initiator to the responder, `down` back."""

    up: PathPlan = field(default_factory=PathPlan)
    down: PathPlan = field(default_factory=PathPlan)

    @classmethod
    def both_ways(cls, uplink: UplinkPlan) -> Self:
        """The same in both directions, as the virtual uplink has it."""
        path = PathPlan(uplink)
        return cls(path, path)


@dataclass(frozen=True, slots=True)
class DemandCut:
    """A cut on demand: from and to in ns after the zero (`to_ns` None while it lasts), and what it hit."""

    from_ns: int
    to_ns: int | None
    datagrams: int


@dataclass(frozen=True, slots=True)
class PathAccount:
    """What came of the datagrams of one direction.

    `received` equals `passed + lost + cut + overrun + under_way + undelivered`; `undelivered` is what was
    under way when the relay closed. `outage_hits` has the number of datagrams that each outage of the plan
    cut: an outage with none has not been felt. `latest_ns` is by how much a delivery came later than decided,
    at worst.
    """

    received: int
    received_octets: int
    passed: int
    lost: int
    cut: int
    overrun: int
    under_way: int
    undelivered: int
    strangers: int
    delayed_ns: int
    """Sum over what passed: from reception to delivery as decided."""
    latest_ns: int
    outage_hits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RelayAccount:
    """What the relay did, both directions."""

    up: PathAccount
    down: PathAccount
    demand_cuts: tuple[DemandCut, ...]
    roamings: int
    """How often the initiator's address changed after it was first known."""
    refused_by_system: int
    """Datagrams that the operating system would not send: no route, buffer full."""


class Relay(Closable):
    """A relay on a thread of its own, from construction to `close`.

    `listen` is where the initiator sends to (port 0: any free one), `responder` where its peer is, and
    `responder_key` the peer's public key, by which the initiator is told from strangers. `zero_ns` is the
    time on `time.monotonic_ns` that the plan's outages count from; now, if None.
    """

    def __init__(
        self,
        name: str,
        listen: Address,
        responder: Address,
        responder_key: PublicKey,
        plan: RelayPlan,
        stream: Stream,
        zero_ns: int | None = None,
    ) -> None:
        self.name = name
        self._zero_ns = time.monotonic_ns() if zero_ns is None else zero_ns
        self._admission = Admission(responder_key)
        self._responder = responder
        self._initiator: Address | None = None
        self._roamings = 0
        self._refused = 0
        self._cuts: list[DemandCut] = []
        self._closed = False
        self._front = _bound(name, listen)
        try:
            self._back = _bound(name, ("0.0.0.0", 0))
        except BaseException:
            self._front.close()
            raise
        self.endpoint: Address = self._front.getsockname()
        """Where the relay listens for the initiator."""
        self._loop = asyncio.new_event_loop()
        self._up = _Direction(plan.up, stream.child("up"), self)
        self._down = _Direction(plan.down, stream.child("down"), self)
        self._thread = threading.Thread(target=self._run, name=f"relay {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the relay; what is under way is not delivered. The account stays readable."""
        if self._closed:
            return
        self._ask(self._close_in_loop)
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_TIMEOUT_S)
        self._front.close()
        self._back.close()
        self._loop.close()

    def cut(self) -> None:
        """Cut the way: nothing passes, and what is under way is gone."""
        self._ask(self._cut_in_loop)

    def mend(self) -> None:
        """End a cut on demand."""
        self._ask(self._mend_in_loop)

    def begin(self, plan: RelayPlan, stream: Stream, zero_ns: int) -> RelayAccount:
        """Begin anew, as for another trial: a new plan, stream and zero, and all counts from 0.

        A cut on demand is mended, what is under way is dropped. Returns the account of what was before.
        """

        def turn() -> RelayAccount:
            self._mend_in_loop()
            self._up.drop_under_way(None)
            self._down.drop_under_way(None)
            account = self._account_in_loop()
            self._zero_ns = zero_ns
            self._cuts, self._roamings, self._refused = [], 0, 0
            self._up = _Direction(plan.up, stream.child("up"), self)
            self._down = _Direction(plan.down, stream.child("down"), self)
            return account

        return self._ask(turn)

    @property
    def is_cut(self) -> bool:
        """Whether a cut on demand lasts."""
        cuts = self._cuts
        return bool(cuts) and cuts[-1].to_ns is None

    def account(self) -> RelayAccount:
        """What happened up to now."""
        return self._ask(self._account_in_loop)

    def log(self) -> tuple[list[Verdict], list[Verdict]]:
        """The latest decisions, up and down (at most 20,000 each), in the order of becoming final."""
        return self._ask(lambda: (list(self._up.log), list(self._down.log)))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Have the relay's own thread answer, so that nothing moves meanwhile."""
        if self._closed:
            return question()
        promise: Future[Answer] = Future()

        def answer() -> None:
            try:
                promise.set_result(question())
            except BaseException as error:
                promise.set_exception(error)

        self._loop.call_soon_threadsafe(answer)
        return promise.result(_ANSWER_TIMEOUT_S)

    def _run(self) -> None:
        with suppress(OSError):  # an ordinary user is not given it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(self._front, self._front_readable)
        self._loop.add_reader(self._back, self._back_readable)
        self._loop.run_forever()

    def now_ns(self) -> int:
        """Time since the zero."""
        return time.monotonic_ns() - self._zero_ns

    def deliver_at(self, t_ns: int, deliver: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `deliver` at this time after the zero."""
        # The loop's clock is time.monotonic, in seconds.
        return self._loop.call_at((self._zero_ns + t_ns) / _NS_PER_S, deliver)

    def _front_readable(self) -> None:
        for datagram, sender in _arrived(self._front):
            if sender != self._initiator:
                if not self._admission.admits(datagram):
                    self._up.strangers += 1
                    continue
                self._roamings += self._initiator is not None
                self._initiator = sender
            self._up.take(datagram, self._to_responder)

    def _back_readable(self) -> None:
        for datagram, sender in _arrived(self._back):
            if sender != self._responder:
                self._down.strangers += 1
                continue
            self._admission.learn(datagram)
            self._down.take(datagram, self._to_initiator)

    def _to_responder(self, datagram: bytes) -> None:
        self._send(self._back, datagram, self._responder)

    def _to_initiator(self, datagram: bytes) -> None:
        if self._initiator is None:
            # A responder that speaks before the initiator has shown where it is reaches nobody.
            self._refused += 1
            return
        self._send(self._front, datagram, self._initiator)

    def _send(self, sender: socket.socket, datagram: bytes, receiver: Address) -> None:
        try:
            sender.sendto(datagram, receiver)
        except OSError:
            self._refused += 1

    def _cut_in_loop(self) -> None:
        if self.is_cut:
            return
        hit = self._up.drop_under_way(Fate.CUT) + self._down.drop_under_way(Fate.CUT)
        self._cuts.append(DemandCut(self.now_ns(), None, hit))

    def _mend_in_loop(self) -> None:
        if self.is_cut:
            last = self._cuts[-1]
            self._cuts[-1] = DemandCut(last.from_ns, self.now_ns(), last.datagrams)

    def count_cut(self) -> None:
        """Note that the cut on demand that lasts has hit a datagram."""
        last = self._cuts[-1]
        self._cuts[-1] = DemandCut(last.from_ns, None, last.datagrams + 1)

    def _account_in_loop(self) -> RelayAccount:
        return RelayAccount(
            up=self._up.account(),
            down=self._down.account(),
            demand_cuts=tuple(self._cuts),
            roamings=self._roamings,
            refused_by_system=self._refused,
        )

    def _close_in_loop(self) -> None:
        self._loop.remove_reader(self._front)
        self._loop.remove_reader(self._back)
        self._up.drop_under_way(None)
        self._down.drop_under_way(None)


class _Direction:
    """One direction of a relay: decides, waits, delivers and accounts. Lives on the relay's thread."""

    def __init__(self, plan: PathPlan, stream: Stream, relay: Relay) -> None:
        self.log: deque[Verdict] = deque(maxlen=_LOG_LENGTH)
        self.strangers = 0
        self._relay = relay
        self._path = Path(plan, stream)
        self._under_way: dict[int, tuple[Verdict, asyncio.TimerHandle]] = {}
        self._waiting_octets = 0
        self._fates: Counter[Fate] = Counter()
        self._received = 0
        self._received_octets = 0
        self._undelivered = 0
        self._delayed_ns = 0
        self._latest_ns = 0
        self._outage_hits = [0] * len(plan.uplink.outages)

    def take(self, datagram: bytes, deliver: Callable[[bytes], None]) -> None:
        """Decide on a datagram that has just arrived, and do it."""
        self._received += 1
        self._received_octets += len(datagram)
        verdict = self._path.judge(len(datagram), self._relay.now_ns(), self._waiting_octets)
        if verdict.fate is Fate.PASSED and self._relay.is_cut:
            self._relay.count_cut()
            verdict = replace(verdict, fate=Fate.CUT)
        if verdict.outage is not None:
            self._outage_hits[verdict.outage] += 1
        if verdict.fate is not Fate.PASSED:
            self._settle(verdict)
            return

        def arrive() -> None:
            del self._under_way[verdict.index]
            self._waiting_octets -= verdict.octets
            self._latest_ns = max(self._latest_ns, self._relay.now_ns() - verdict.arrival_ns)
            self._delayed_ns += verdict.arrival_ns - verdict.sent_ns
            self._settle(verdict)
            deliver(datagram)

        if verdict.arrival_ns <= verdict.sent_ns:
            self._settle(verdict)
            deliver(datagram)
            return
        self._waiting_octets += verdict.octets
        self._under_way[verdict.index] = verdict, self._relay.deliver_at(verdict.arrival_ns, arrive)

    def drop_under_way(self, fate: Fate | None) -> int:
        """Take back all that is under way, to `fate` or, if None, to be undelivered; return how many."""
        dropped = len(self._under_way)
        for verdict, appointment in self._under_way.values():
            appointment.cancel()
            if fate is None:
                self._undelivered += 1
            else:
                self._settle(replace(verdict, fate=fate))
        self._under_way.clear()
        self._waiting_octets = 0
        return dropped

    def account(self) -> PathAccount:
        """What came of all datagrams."""
        return PathAccount(
            received=self._received,
            received_octets=self._received_octets,
            passed=self._fates[Fate.PASSED],
            lost=self._fates[Fate.LOST],
            cut=self._fates[Fate.CUT],
            overrun=self._fates[Fate.OVERRUN],
            under_way=len(self._under_way),
            undelivered=self._undelivered,
            strangers=self.strangers,
            delayed_ns=self._delayed_ns,
            latest_ns=self._latest_ns,
            outage_hits=tuple(self._outage_hits),
        )

    def _settle(self, verdict: Verdict) -> None:
        self._fates[verdict.fate] += 1
        self.log.append(verdict)


def _bound(name: str, address: Address) -> socket.socket:
    seat = f"relay {name}"
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
        opened.bind(address)
    except OSError as error:
        opened.close()
        host, port = address
        if error.errno == errno.EADDRINUSE:
            mend = "end what listens there, or give the relay another port (0 takes any free one)"
        else:
            mend = "give an address that this host has"
        raise InfrastructureError(
            seat, f"cannot listen on {host}:{port}: {error.strerror}", mend, retry_helps=True
        ) from None
    return opened


def _arrived(receiver: socket.socket) -> Iterator[tuple[bytes, Address]]:
    """What waits in a socket, at most so much that timers are not kept waiting."""
    for _ in range(_BURST):
        try:
            yield receiver.recvfrom(_MAX_DATAGRAM_OCTETS)
        except OSError:
            return
