"""How nodes bring each other to the same DAG over links that lose, repeat, reorder and break.

Messages are canonical CBOR arrays ``[VERSION, kind, ...]``:

``SUMMARY digest``
    A hash over tips and frozen issuers. Sent now and then; whoever has something else answers ``FRONTIER``.
``FRONTIER wants_answer, low, high, entries``
    The tips of all issuers in ``low..high``, or of single ones when ``low`` is after ``high``; entries are
    ``[issuer, [[seq, hash], ...], fork]``.
``BLOCKS [raw, ...]``
    Blocks that the other seems to lack, parents first. Answered by the ``FRONTIER`` of their issuers, upon
    which the next ones follow. One such message is under way per peer.
``FRAUD [[first, second], ...]``
    Proofs that the other does not know.
``LOCATOR issuer, [hash, ...]``
    Asked for when tips do not tell where two chains part: hashes at growing distances back along the chain.

Every message may be lost. What is sent is worked out anew from what the peer last said it has and what the
store holds now, so a repeated SUMMARY is all that it takes to go on. Nothing here is believed: blocks and
proofs are checked by :mod:`ledger.dag`, and a lie about tips costs at most one message per answer. What a
peer says of an issuer that neither registry nor store has is forgotten at once.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ledger.block import HASH_BYTES, KEY_BYTES, MAX_BLOCK_BYTES, MAX_SEQ, MAX_SIGNED_BYTES
from ledger.effects import NodeEffect, Rejected, SendToPeer
from ledger.encoding import EncodingError, Value, array, decode, encode, integer, octets
from ledger.store import Tip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.dag import Admission, Dag
    from ledger.spending import Spending
    from ledger.store import Store

VERSION = 1
MAX_MESSAGE_BYTES = 64 * 1024
BLOCKS_BYTES = MAX_MESSAGE_BYTES - 1024
"""Raw blocks in one message; the rest of its bytes is for CBOR's heads."""
MAX_BLOCKS = 256
MAX_ENTRIES = 512
MAX_TIPS = 64
MAX_PAGE_TIPS = 700
"""Tips in one FRONTIER: about 80 bytes each with their issuer."""
MAX_PROOFS = 32
MAX_LOCATOR = 128

OFFER_PERIOD_NS = 30_000_000_000
ANSWER_TIMEOUT_NS = 5_000_000_000

_FIRST_KEY = bytes(KEY_BYTES)
_LAST_KEY = b"\xff" * KEY_BYTES


class Kind(enum.IntEnum):
    """What a message is; see the module's description."""

    SUMMARY = 0
    FRONTIER = 1
    BLOCKS = 2
    FRAUD = 3
    LOCATOR = 4


@dataclass
class _Peer:
    """What a peer last said, and what is under way to it. All of it may be wrong: it only guides sending."""

    name: str
    next_offer_ns: int
    heard: bool = False
    tips: dict[bytes, tuple[Tip, ...]] = field(default_factory=dict)
    located: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    forks: dict[bytes, int | None] = field(default_factory=dict)
    answer_due_ns: int | None = None
    last_first: bytes | None = None
    """The first block last sent: to be about to send it again means that the peer did not take it."""


class Sync:
    """The exchange with all peers of a node."""

    def __init__(self, dag: Dag, store: Store, spending: Spending) -> None:
        self._dag = dag
        self._store = store
        self._spending = spending
        self._peers: dict[str, _Peer] = {}

    @property
    def wake_ns(self) -> int | None:
        """When :meth:`tick` has something to do, if nothing else happens."""
        due = [peer.next_offer_ns for peer in self._peers.values()]
        due += [peer.answer_due_ns for peer in self._peers.values() if peer.answer_due_ns is not None]
        return min(due, default=None)

    @property
    def peers(self) -> list[str]:
        """The peers whose links are up."""
        return sorted(self._peers)

    def peer_up(self, name: str, now_ns: int) -> list[NodeEffect]:
        """Start the exchange with a peer."""
        self._peers[name] = _Peer(name, now_ns + OFFER_PERIOD_NS)
        return self._frontier(self._peers[name], wants_answer=True)

    def peer_down(self, name: str) -> None:
        """Forget what is known of a peer."""
        self._peers.pop(name, None)

    def tick(self, now_ns: int) -> list[NodeEffect]:
        """Offer again to whom it is time to, or who owes an answer."""
        effects: list[NodeEffect] = []
        for peer in self._peers.values():
            overdue = peer.answer_due_ns is not None and now_ns >= peer.answer_due_ns
            if overdue:
                peer.answer_due_ns = None
            if overdue or now_ns >= peer.next_offer_ns:
                peer.next_offer_ns = now_ns + OFFER_PERIOD_NS
                peer.last_first = None
                effects.append(self._send(peer, Kind.SUMMARY, self._digest()))
        return effects

    def spread(self, admission: Admission | None, now_ns: int, source: str | None = None) -> list[NodeEffect]:
        """Send what is new to the peers that lack it; ``source`` is who it came from."""
        effects: list[NodeEffect] = []
        for peer in list(self._peers.values()):
            if peer.name != source:
                for frozen in admission.frozen if admission else ():
                    effects += self._send_fraud(peer, [frozen.issuer])
                if peer.heard:
                    effects += self._push(peer, now_ns)
        return effects

    # Receiving

    def receive(self, name: str, payload: bytes, now_ns: int) -> list[NodeEffect]:
        """Handle one message of a peer."""
        peer = self._peers.get(name)
        effects: list[NodeEffect] = []
        if peer is None:
            effects += self.peer_up(name, now_ns)
            peer = self._peers[name]
        try:
            kind, body = _open(payload)
            match kind:
                case Kind.SUMMARY:
                    effects += self._on_summary(peer, body)
                case Kind.FRONTIER:
                    effects += self._on_frontier(peer, body, now_ns)
                case Kind.BLOCKS:
                    effects += self._on_blocks(peer, body, now_ns)
                case Kind.FRAUD:
                    effects += self._on_fraud(peer, body, now_ns)
                case Kind.LOCATOR:
                    effects += self._on_locator(peer, body, now_ns)
        except EncodingError as error:
            effects.append(Rejected("malformed_message", f"from {name}: {error}"))
        return effects

    def _on_summary(self, peer: _Peer, body: list[Value]) -> list[NodeEffect]:
        (digest,) = array(body, "summary", 1)
        if octets(digest, "digest", HASH_BYTES, HASH_BYTES) == self._digest():
            return []
        return self._frontier(peer, wants_answer=True)

    def _on_frontier(self, peer: _Peer, body: list[Value], now_ns: int) -> list[NodeEffect]:
        wants_answer, low_value, high_value, entries = array(body, "frontier", 4)
        low = octets(low_value, "low", KEY_BYTES, KEY_BYTES)
        high = octets(high_value, "high", KEY_BYTES, KEY_BYTES)
        tips, forks = _entries_from(entries)
        for issuer in tips.keys() - self._known(tips):
            del tips[issuer], forks[issuer]
        for issuer in [issuer for issuer in peer.tips if low <= issuer <= high]:
            peer.tips.pop(issuer)
            peer.forks.pop(issuer, None)
        peer.tips.update(tips)
        peer.forks.update(forks)
        peer.answer_due_ns = None
        effects: list[NodeEffect] = []
        if integer(wants_answer, "wants_answer", 0, 1):
            effects += self._frontier(peer, wants_answer=False)
        mine = self._store.frozen()
        untold = [
            issuer
            for issuer, fork in mine.items()
            if (issuer in tips or low <= issuer <= high) and _later(peer.forks.get(issuer), fork)
        ]
        effects += self._send_fraud(peer, untold)
        effects += self._locate(peer, tips)
        # Of several pages only the last leads on to blocks: till then absence from a page says nothing.
        last_page = low <= high == _LAST_KEY
        peer.heard |= last_page
        if peer.heard and (last_page or low > high):
            effects += self._push(peer, now_ns)
        return effects

    def _on_blocks(self, peer: _Peer, body: list[Value], now_ns: int) -> list[NodeEffect]:
        (raws_value,) = array(body, "blocks message", 1)
        raws = [
            octets(raw, "block", 1, MAX_BLOCK_BYTES)
            for raw in array(raws_value, "blocks", at_most=MAX_BLOCKS)
        ]
        admission = self._dag.admit(raws)
        effects: list[NodeEffect] = [*admission.rejected, *admission.stored, *admission.frozen]
        for block in admission.stored:
            # Whoever sent a block has it: what it said before is out of date.
            known = peer.tips.get(block.issuer, ())
            if not known or known[-1].seq < block.seq:
                peer.tips[block.issuer] = (*known[1 - MAX_TIPS :], Tip(block.seq, block.block_hash))
        if admission.lacks_parents:
            effects += self._frontier(peer, wants_answer=False)
        elif admission.issuers:
            effects += self._frontier(peer, wants_answer=False, issuers=admission.issuers)
        if admission.changed:
            effects += self.spread(admission, now_ns, source=peer.name)
        return effects

    def _on_fraud(self, peer: _Peer, body: list[Value], now_ns: int) -> list[NodeEffect]:
        (proofs_value,) = array(body, "fraud message", 1)
        proofs = []
        for pair in array(proofs_value, "proofs", at_most=MAX_PROOFS):
            first, second = array(pair, "proof", 2)
            proofs.append(
                (
                    octets(first, "signed header", 1, MAX_SIGNED_BYTES),
                    octets(second, "signed header", 1, MAX_SIGNED_BYTES),
                )
            )
        admission = self._dag.admit_proofs(proofs)
        effects: list[NodeEffect] = [*admission.rejected, *admission.frozen]
        if admission.changed:
            effects += self.spread(admission, now_ns, source=peer.name)
        return effects

    def _on_locator(self, peer: _Peer, body: list[Value], now_ns: int) -> list[NodeEffect]:
        issuer_value, hashes_value = array(body, "locator", 2)
        issuer = octets(issuer_value, "issuer", KEY_BYTES, KEY_BYTES)
        hashes = [
            octets(block_hash, "hash", HASH_BYTES, HASH_BYTES)
            for block_hash in array(hashes_value, "hashes", at_most=MAX_LOCATOR)
        ]
        if not self._known([issuer]):
            return []
        places = {block_hash: self._store.place(block_hash) for block_hash in hashes}
        peer.located[issuer] = tuple(h for h, place in places.items() if place and place[0] == issuer)
        return self._push(peer, now_ns)

    def _known(self, issuers: Iterable[bytes]) -> set[bytes]:
        """Return those that the registry or the store has: of others nothing is kept."""
        known = {issuer for issuer in issuers if issuer in self._dag.registry.issuers}
        rest = {issuer for issuer in issuers if issuer not in known}
        if rest:
            known |= rest & (self._store.tips().keys() | self._store.frozen().keys())
        return known

    # Sending

    def _send(self, peer: _Peer, kind: Kind, *body: Value) -> SendToPeer:
        return SendToPeer(peer.name, encode([VERSION, int(kind), *body]))

    def _digest(self) -> bytes:
        state: list[Value] = [
            [[issuer, [tip.hash for tip in tips]] for issuer, tips in sorted(self._store.tips().items())],
            [[issuer, fork] for issuer, fork in sorted(self._store.frozen().items())],
        ]
        raw = encode(state)
        self._spending.charge_blake2b(len(raw))
        return hashlib.blake2b(raw, digest_size=HASH_BYTES).digest()

    def _frontier(
        self, peer: _Peer, *, wants_answer: bool, issuers: Iterable[bytes] | None = None
    ) -> list[NodeEffect]:
        tips = self._store.tips()
        frozen = self._store.frozen()
        chosen = sorted(tips.keys() | frozen.keys() if issuers is None else issuers)
        pages: list[list[bytes]] = [[]]
        tip_count = 0
        for issuer in chosen:
            tip_count += len(tips.get(issuer, ())[-MAX_TIPS:]) + 1
            if len(pages[-1]) == MAX_ENTRIES or tip_count > MAX_PAGE_TIPS:
                pages.append([])
                tip_count = len(tips.get(issuer, ())[-MAX_TIPS:]) + 1
            pages[-1].append(issuer)
        effects: list[NodeEffect] = []
        low = _FIRST_KEY
        for page in pages:
            last = page is pages[-1]
            high = _LAST_KEY if last else page[-1]
            entries: list[Value] = [
                [issuer, [[t.seq, t.hash] for t in tips.get(issuer, ())[-MAX_TIPS:]], frozen.get(issuer)]
                for issuer in page
            ]
            bounds = (low, high) if issuers is None else (_LAST_KEY, _FIRST_KEY)
            effects.append(self._send(peer, Kind.FRONTIER, int(wants_answer and last), *bounds, entries))
            low = _after(high)
        return effects

    def _send_fraud(self, peer: _Peer, issuers: list[bytes]) -> list[NodeEffect]:
        proofs = [self._store.fraud_proof(issuer) for issuer in issuers[:MAX_PROOFS]]
        pairs: list[Value] = [[proof.first.raw, proof.second.raw] for proof in proofs if proof]
        return [self._send(peer, Kind.FRAUD, pairs)] if pairs else []

    def _locate(self, peer: _Peer, tips: dict[bytes, tuple[Tip, ...]]) -> list[NodeEffect]:
        """Ask for what lies behind tips that are unknown here although not simply ahead."""
        mine = self._store.tips()
        frozen = self._store.frozen()
        effects: list[NodeEffect] = []
        for issuer, theirs in tips.items():
            if issuer not in mine:
                continue
            unknown = [tip for tip in theirs if not self._store.has_block(tip.hash)]
            if unknown and (issuer in frozen or unknown[0].seq <= mine[issuer][-1].seq):
                hashes: list[Value] = [*self._locator(issuer, mine[issuer])]
                effects.append(self._send(peer, Kind.LOCATOR, issuer, hashes))
        return effects

    def _locator(self, issuer: bytes, tips: list[Tip]) -> list[bytes]:
        hashes = [tip.hash for tip in tips[-MAX_TIPS:]]
        seq, step = tips[-1].seq, 1
        while seq > 0 and len(hashes) < MAX_LOCATOR - 1:
            seq = max(0, seq - step)
            step *= 2
            hashes += self._store.blocks_at(issuer, seq)[:1]
        return hashes

    def _push(self, peer: _Peer, now_ns: int) -> list[NodeEffect]:
        """Send the next blocks that the peer lacks, unless its answer to earlier ones is still to come."""
        if peer.answer_due_ns is not None and now_ns < peer.answer_due_ns:
            return []
        starts: dict[bytes, int] = {}
        skip: set[bytes] = set()
        for issuer, tips in self._store.tips().items():
            start, behind = self._lacks_after(peer, issuer, tips[-1].seq)
            starts[issuer] = start
            skip |= behind
        blocks = self._store.blocks_after(starts, BLOCKS_BYTES, skip)[:MAX_BLOCKS]
        if not blocks:
            return []
        if blocks[0].hash == peer.last_first:
            # It was sent before and not taken: wait for the next offer instead of going round and round.
            return []
        peer.last_first = blocks[0].hash
        peer.answer_due_ns = now_ns + ANSWER_TIMEOUT_NS
        return [self._send(peer, Kind.BLOCKS, [block.raw for block in blocks])]

    def _lacks_after(self, peer: _Peer, issuer: bytes, top_seq: int) -> tuple[int, set[bytes]]:
        """Return the seq after which the peer lacks blocks of an issuer, and those after it that it has."""
        theirs = peer.tips.get(issuer, ())
        known = {tip.hash: tip.seq for tip in theirs if self._store.has_block(tip.hash)}
        for block_hash in peer.located.get(issuer, ()):
            place = self._store.place(block_hash)
            if place is not None:
                known[block_hash] = place[1]
        if theirs and not known and issuer not in peer.located:
            # Ahead of us, or on another branch: its answer or its locator will tell.
            return top_seq, set()
        highest = max(known.values(), default=-1)
        fork = self._store.frozen().get(issuer)
        if fork is None:
            return highest, set()
        return min(highest, fork - 1), self._store.behind(known, issuer, fork)


def _after(key: bytes) -> bytes:
    if key == _LAST_KEY:
        return key
    return (int.from_bytes(key, "big") + 1).to_bytes(KEY_BYTES, "big")


def _later(theirs: int | None, mine: int) -> bool:
    return theirs is None or mine < theirs


def _open(payload: bytes) -> tuple[Kind, list[Value]]:
    message = array(decode(payload, MAX_MESSAGE_BYTES), "message")
    if len(message) < 2:
        raise EncodingError("a message must have a version and a kind")
    version = integer(message[0], "version", 0, 255)
    if version != VERSION:
        raise EncodingError(f"message version {version} is not known here (this program knows {VERSION})")
    return Kind(integer(message[1], "kind", min(Kind), max(Kind))), message[2:]


def _entries_from(value: Value) -> tuple[dict[bytes, tuple[Tip, ...]], dict[bytes, int | None]]:
    tips: dict[bytes, tuple[Tip, ...]] = {}
    forks: dict[bytes, int | None] = {}
    for entry in array(value, "entries", at_most=MAX_ENTRIES):
        issuer_value, tips_value, fork = array(entry, "entry", 3)
        issuer = octets(issuer_value, "issuer", KEY_BYTES, KEY_BYTES)
        forks[issuer] = None if fork is None else integer(fork, "fork", 0, MAX_SEQ)
        tips[issuer] = tuple(sorted(_tip_from(tip) for tip in array(tips_value, "tips", at_most=MAX_TIPS)))
    return tips, forks


def _tip_from(value: Value) -> Tip:
    seq, block_hash = array(value, "tip", 2)
    return Tip(integer(seq, "seq", 0, MAX_SEQ), octets(block_hash, "hash", HASH_BYTES, HASH_BYTES))
