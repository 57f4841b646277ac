"""Runs a state machine of the ledger in real time: one thread, which takes in what happened and carries out
what follows, in that order.
"""

from __future__ import annotations

import collections
import os
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ledger.effects import (
    BlockStored,
    Effect,
    IssuerFrozen,
    ReadingStored,
    Rejected,
    SendToPeer,
    Spent,
    Transmit,
    WakeAt,
)
from ledger.messages import NodeMessage, PeerDown, PeerUp, Tick
from ledger.service.events import shortened
from ledger.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ledger.service.clock import LedgerClock
    from ledger.service.events import EventLog
    from ledger.service.inbox import Inbox
    from ledger.service.radio import Radio
    from ledger.service.systemd import Supervisor
    from ledger.store import Store

_NS_PER_S: Final = 1_000_000_000
TICK_EVERY_NS: Final = _NS_PER_S
"""A tick comes at least so often, to look after the radio."""
STATUS_EVERY_NS: Final = 10 * _NS_PER_S
MESSAGES_A_TURN: Final = 16
ATTENTIONS_A_TURN: Final = 64


class Links(Protocol):
    """The ways to the peers (:class:`ledger.service.exchange.Exchange`)."""

    counts: collections.Counter[str]
    refusals: dict[str, str]

    def send(self, peer: str, payload: bytes) -> None:
        """Send a message, or lose it."""


@dataclass(frozen=True, slots=True)
class Works:
    """A state machine, with its radio if it has one."""

    handle: Callable[[NodeMessage, int], Sequence[Effect]]
    radio: Radio | None


class Runner:
    """The ring of input and output around a gateway or a server.

    ``build`` makes the state machine on the store, at the start and whenever the clock is set back: all that
    matters is in the store, and appointments with the old time are of no use.
    """

    def __init__(
        self,
        build: Callable[[], Works],
        store: Store,
        links: Links,
        inbox: Inbox,
        clock: LedgerClock,
        events: EventLog,
        supervisor: Supervisor,
    ) -> None:
        self._build = build
        self._store = store
        self._links = links
        self._inbox = inbox
        self._clock = clock
        self._events = events
        self._supervisor = supervisor
        self._peers: set[str] = set()
        self._stopping = False
        self._spent: collections.Counter[str] = collections.Counter()
        self._rejected: collections.Counter[str] = collections.Counter()
        self._stored: collections.Counter[str] = collections.Counter()
        self._radio_fault: str | None = ""
        self._pending_damaged = 0
        self._refusals: dict[str, str] = {}
        # Appointments with the monotonic clock, which is never set.
        self._wake_ns: int | None = None
        self._next_tick_ns = self._next_status_ns = self._next_alive_ns = 0
        self._works = build()

    def stop(self) -> None:
        """Have :meth:`run` return; from a signal handler or any thread."""
        self._stopping = True
        self._inbox.wake()

    def run(self) -> None:
        """Work until :meth:`stop`."""
        began_ns = time.monotonic_ns()
        self._next_status_ns = began_ns + STATUS_EVERY_NS
        self._turn()
        self._supervisor.ready()
        while not self._stopping:
            self._events.flush()
            self._wait()
            self._turn()
        self._supervisor.stopping()
        self._tell_status()
        self._events.flush()
        if self._works.radio is not None:
            self._works.radio.close()

    def _wait(self) -> None:
        due_ns = [self._next_tick_ns, self._next_status_ns]
        due_ns += [] if self._wake_ns is None else [self._wake_ns]
        due_ns += [] if self._supervisor.watchdog_ns is None else [self._next_alive_ns]
        left_ns = max(0, min(due_ns) - time.monotonic_ns())
        waiting = select.poll()
        waiting.register(self._inbox, select.POLLIN)
        radio = self._works.radio
        descriptor = None if radio is None else radio.fileno()
        if descriptor is not None:
            waiting.register(descriptor, select.POLLIN)
        # Rounded up, since a poll that ends early would only be made again.
        waiting.poll(-(-left_ns // 1_000_000))

    def _turn(self) -> None:
        now_ns = self._clock.now_ns()
        if self._clock.take_set_back():
            self._events.tell("clock_set_back")
            self._build_anew(now_ns)
        for delivery in self._inbox.take(MESSAGES_A_TURN):
            self._note_peer(delivery.message)
            self._perform(self._works.handle(delivery.message, self._clock.now_ns()))
            if delivery.taken is not None:
                delivery.taken()
            # A peer's blocks take long to check, and an Uno waits for its acknowledgement only so long.
            self._attend_radio()
        self._keep_appointments()
        self._attend_radio()
        self._tell_refusals()
        self._tell_pending_damaged()

    def _build_anew(self, now_ns: int) -> None:
        self._wake_ns = None
        self._next_tick_ns = 0
        if self._works.radio is not None:
            # Two radios cannot hold one device.
            self._works.radio.close()
        self._works = self._build()
        for peer in sorted(self._peers):
            self._perform(self._works.handle(PeerUp(peer), now_ns))

    def _note_peer(self, message: NodeMessage) -> None:
        match message:
            case PeerUp(peer):
                self._peers.add(peer)
                self._events.tell("peer_up", peer=peer)
            case PeerDown(peer):
                self._peers.discard(peer)
                self._events.tell("peer_down", peer=peer)

    def _keep_appointments(self) -> None:
        monotonic_ns = time.monotonic_ns()
        woken = self._wake_ns is not None and monotonic_ns >= self._wake_ns
        if woken:
            self._wake_ns = None
        if monotonic_ns >= self._next_tick_ns:
            self._next_tick_ns = monotonic_ns + TICK_EVERY_NS
            woken = True
            if self._works.radio is not None:
                self._perform(self._works.radio.keep_alive())
        if woken:
            self._perform(self._works.handle(Tick(), self._clock.now_ns()))
        if monotonic_ns >= self._next_status_ns:
            self._next_status_ns = monotonic_ns + STATUS_EVERY_NS
            self._tell_status()
        if self._supervisor.watchdog_ns is not None and monotonic_ns >= self._next_alive_ns:
            self._next_alive_ns = monotonic_ns + self._supervisor.watchdog_ns // 2
            self._supervisor.alive()

    def _attend_radio(self) -> None:
        """Take what the radio has, also what came in beside the answers to the last transfers."""
        radio = self._works.radio
        if radio is None:
            return
        for _ in range(ATTENTIONS_A_TURN):
            effects = radio.attend(self._clock.now_ns())
            if not effects:
                break
            self._perform(effects)
        else:
            self._inbox.wake()
        if radio.fault != self._radio_fault:
            self._radio_fault = radio.fault
            if radio.fault is None:
                self._events.tell("radio_up")
            else:
                self._events.tell("radio_down", detail=radio.fault)

    def _tell_refusals(self) -> None:
        # Another thread changes them.
        refusals = self._links.refusals.copy()
        for peer, detail in refusals.items():
            if self._refusals.get(peer) != detail:
                self._events.tell("peer_refused", peer=peer, detail=shortened(detail))
        self._refusals = refusals

    def _tell_pending_damaged(self) -> None:
        damaged = self._store.damaged_pending_count()
        if damaged > self._pending_damaged:
            self._events.tell(
                "pending_damaged",
                count=damaged,
                detail="acknowledged readings are damaged and set aside: run `ledger verify` to see which",
            )
        self._pending_damaged = damaged

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendToPeer(peer, payload):
                    self._links.send(peer, payload)
                case Transmit(payload):
                    assert self._works.radio is not None, "only a gateway transmits"
                    self._perform(self._works.radio.transmit(payload, self._clock.now_ns()))
                case WakeAt(t_ns):
                    left_ns = max(0, t_ns - self._clock.now_ns())
                    self._wake_ns = time.monotonic_ns() + left_ns
                case Spent(operation, count):
                    self._spent[operation] += count
                case _:
                    self._tell(effect)

    def _tell(self, effect: Rejected | ReadingStored | BlockStored | IssuerFrozen) -> None:
        match effect:
            case Rejected(reason, detail):
                self._rejected[reason] += 1
                self._events.tell("rejected", reason=reason, detail=shortened(detail))
            case ReadingStored(uno_id, boot_epoch, counter, repeat):
                self._stored["repeats" if repeat else "readings"] += 1
                self._events.tell(
                    "reading_stored", uno_id=uno_id, boot_epoch=boot_epoch, counter=counter, repeat=repeat
                )
            case BlockStored(block_hash, issuer, seq, readings, own):
                self._stored["own_blocks" if own else "peers_blocks"] += 1
                self._events.tell(
                    "block_stored", block=block_hash, issuer=issuer, seq=seq, readings=readings, own=own
                )
            case IssuerFrozen(issuer, seq):
                self._events.tell("issuer_frozen", issuer=issuer, seq=seq)

    def _tell_status(self) -> None:
        radio = self._works.radio
        self._events.tell(
            "status",
            stored=dict(self._stored),
            rejected=dict(self._rejected),
            spent=dict(self._spent),
            **self._store_counts(),
            peers_up=sorted(self._peers),
            exchange=dict(self._links.counts),
            radio=None if radio is None else {"up": radio.fault is None, **radio.counts},
            cpu_ns=time.process_time_ns(),
            rss_bytes=_resident_bytes(),
        )

    def _store_counts(self) -> Mapping[str, int | None]:
        """``blocks`` counts the blocks of all chains; of an issuer that forked, its longest branch.

        ``pending`` leaves out what is damaged.
        """
        try:
            return {
                "pending": self._store.pending_count(),
                "pending_damaged": self._store.damaged_pending_count(),
                "blocks": sum(seq + 1 for seq in self._store.frontier().values()),
            }
        except StoreError:
            return {"pending": None, "pending_damaged": None, "blocks": None}


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
