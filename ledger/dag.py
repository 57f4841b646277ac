"""Which blocks enter the DAG: the rules of validity, the blocks that wait for parents, and forks.

A block enters when its issuer may write, signature and batch hold, and all its parents are there, none of
them from a newer registry epoch. Its age plays no part. A block that only lacks parents waits in a bounded
buffer. When an issuer is found to have signed two blocks with one seq, the proof is kept, and the store voids
what it wrote from there on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ledger.block import Block, BlockError, FraudProof, SignedHeader
from ledger.effects import BlockStored, IssuerFrozen, Operation, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.registry import Registry
    from ledger.spending import Spending
    from ledger.store import Store

MAX_WAITING_BLOCKS = 256
"""How many blocks of one issuer may wait for their parents."""
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""How many bytes of blocks may wait in all."""
MAX_BRANCHES = 64
"""How many branches of one issuer's forked chain are kept, if nobody in good standing built on more."""


@dataclass
class Admission:
    """What became of some blocks."""

    stored: list[BlockStored] = field(default_factory=list)
    frozen: list[IssuerFrozen] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    issuers: set[bytes] = field(default_factory=set)
    """Whose well-formed blocks were among them, known ones included."""
    lacks_parents: bool = False
    """Some of them wait for parents."""

    @property
    def changed(self) -> bool:
        """Whether the DAG has grown or someone was frozen."""
        return bool(self.stored or self.frozen)


class WaitingBlocks:
    """Verified blocks that lack parents, each filed under one parent that it lacks."""

    def __init__(self) -> None:
        self._by_hash: dict[bytes, tuple[Block, bytes]] = {}
        self._by_parent: dict[bytes, set[bytes]] = {}
        self._by_issuer: dict[bytes, dict[bytes, Block]] = {}
        self._bytes = 0

    def __contains__(self, block_hash: bytes) -> bool:
        return block_hash in self._by_hash

    def __len__(self) -> int:
        return len(self._by_hash)

    def awaited(self, block_hash: bytes) -> bool:
        """Tell whether some block waits for this one."""
        return block_hash in self._by_parent

    def add(self, block: Block, lacking: bytes) -> list[Block]:
        """Keep a block until ``lacking`` comes; return the blocks dropped for want of room."""
        self._by_hash[block.hash] = (block, lacking)
        self._by_parent.setdefault(lacking, set()).add(block.hash)
        self._by_issuer.setdefault(block.issuer, {})[block.hash] = block
        self._bytes += len(block.raw)
        dropped = []
        if len(self._by_issuer[block.issuer]) > MAX_WAITING_BLOCKS:
            dropped.append(self._drop_last_of(block.issuer))
        while self._bytes > MAX_WAITING_BYTES:
            # Who has most waiting pays, so that one issuer cannot push out the others.
            dropped.append(self._drop_last_of(max(self._by_issuer, key=self._waiting_bytes)))
        return dropped

    def _waiting_bytes(self, issuer: bytes) -> tuple[int, bytes]:
        return sum(len(block.raw) for block in self._by_issuer[issuer].values()), issuer

    def _drop_last_of(self, issuer: bytes) -> Block:
        last = max(self._by_issuer[issuer].values(), key=lambda block: (block.seq, block.hash))
        self._remove(last)
        return last

    def _remove(self, block: Block) -> None:
        _, lacking = self._by_hash.pop(block.hash)
        self._by_parent[lacking].discard(block.hash)
        if not self._by_parent[lacking]:
            del self._by_parent[lacking]
        del self._by_issuer[block.issuer][block.hash]
        if not self._by_issuer[block.issuer]:
            del self._by_issuer[block.issuer]
        self._bytes -= len(block.raw)

    def release(self, parent: bytes) -> list[Block]:
        """Take out the blocks that waited for this parent, lowest seq first."""
        blocks = [self._by_hash[block_hash][0] for block_hash in self._by_parent.get(parent, ())]
        for block in blocks:
            self._remove(block)
        return sorted(blocks, key=lambda block: (block.seq, block.hash))


class _Batch:
    """The blocks and proofs of one transaction in the making, seen together with what is stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.blocks: dict[bytes, Block] = {}
        self._at: dict[tuple[bytes, int], SignedHeader] = {}
        self.proofs: list[FraudProof] = []
        self.frozen = store.frozen()

    def knows(self, block_hash: bytes) -> bool:
        return block_hash in self.blocks or self._store.has_block(block_hash)

    def block(self, block_hash: bytes) -> Block | None:
        return self.blocks.get(block_hash) or self._store.block(block_hash)

    def place(self, block_hash: bytes) -> tuple[bytes, int] | None:
        block = self.blocks.get(block_hash)
        return self._store.place(block_hash) if block is None else (block.issuer, block.seq)

    def add(self, block: Block) -> None:
        self.blocks[block.hash] = block
        self._at.setdefault((block.issuer, block.seq), block.signed)

    def branches(self, issuer: bytes) -> int:
        """Return how many branches an issuer's chain has."""
        tips = {tip.hash for tip in self._store.tips().get(issuer, ())}
        for block in self.blocks.values():
            if block.issuer == issuer:
                tips.discard(block.header.prev)
                tips.add(block.hash)
        return len(tips)

    def rival(self, signed: SignedHeader) -> SignedHeader | None:
        """Return another header at the same place of the same issuer's chain."""
        header = signed.header
        rival = self._at.get((header.issuer, header.seq))
        if rival is not None and rival.hash != signed.hash:
            return rival
        for block_hash in self._store.blocks_at(header.issuer, header.seq):
            block = self._store.block(block_hash)
            if block is not None and block_hash != signed.hash:
                return block.signed
        return None

    def freeze(self, proof: FraudProof) -> bool:
        """Take a proof if it shows a lower fork than is known."""
        if self.frozen.get(proof.issuer, proof.seq + 1) <= proof.seq:
            return False
        self.frozen[proof.issuer] = proof.seq
        self.proofs.append(proof)
        return True


class Dag:
    """Admits blocks and fraud proofs into a store."""

    def __init__(self, registry: Registry, store: Store, spending: Spending) -> None:
        self.registry = registry
        self._store = store
        self._spending = spending
        self._waiting = WaitingBlocks()

    @property
    def waiting_count(self) -> int:
        """How many blocks wait for parents."""
        return len(self._waiting)

    def admit(self, raws: Iterable[bytes]) -> Admission:
        """Check blocks and store those that hold, all in one transaction.

        Raises StoreError; nothing has entered then, and the same blocks may be offered again.
        """
        admission = Admission()
        batch = _Batch(self._store)
        for raw in raws:
            block = self._well_formed(raw, admission)
            if block is None:
                continue
            admission.issuers.add(block.issuer)
            if batch.knows(block.hash) or block.hash in self._waiting:
                continue
            refusal = self._refusal(block)
            if refusal is not None:
                admission.rejected.append(refusal)
                continue
            self._place(block, batch, admission)
        self._commit(batch, admission)
        return admission

    def _well_formed(self, raw: bytes, admission: Admission) -> Block | None:
        self._spending.charge(Operation.BLOCK_DECODE, len(raw))
        try:
            block = Block.decode(raw)
        except BlockError as error:
            admission.rejected.append(Rejected("malformed_block", str(error)))
            return None
        self._spending.charge_blake2b(len(block.signed.raw))
        return block

    def _refusal(self, block: Block) -> Rejected | None:
        """Check what a block shows by itself, cheapest first."""
        stranger = self._stranger(block.signed)
        if stranger is not None:
            return stranger
        self._spending.charge(Operation.ED25519_VERIFY)
        if not block.signed.signature_holds(self.registry.network):
            return Rejected("bad_signature", f"{self._name(block.signed)}: the signature is not the issuer's")
        for leaf in block.leaves:
            self._spending.charge_blake2b(len(leaf) + 1)
        self._spending.charge_blake2b(65, max(0, len(block.leaves) - 1))
        try:
            block.check_batch()
        except BlockError as error:
            return Rejected("bad_batch", f"{self._name(block.signed)}: {error}")
        return None

    def _stranger(self, signed: SignedHeader) -> Rejected | None:
        header = signed.header
        if header.registry_epoch > self.registry.epoch:
            return Rejected(
                "registry_ahead",
                f"{self._name(signed)}: sealed under registry epoch {header.registry_epoch}, this node has"
                f" {self.registry.epoch}: bring it the newer registry file",
            )
        if not self.registry.may_issue(header.issuer, header.registry_epoch):
            return Rejected("stranger", f"{self._name(signed)}: its issuer is not in the registry")
        return None

    def _name(self, signed: SignedHeader) -> str:
        header = signed.header
        return f"block {signed.hash.hex()[:12]} of {self.registry.issuer_name(header.issuer)} at {header.seq}"

    def _place(self, block: Block, batch: _Batch, admission: Admission) -> None:
        ready = [block]
        while ready:
            candidate = ready.pop()
            lacking = next((p for p in candidate.header.parents if not batch.knows(p)), None)
            refusal = self._parents_refusal(candidate, batch)
            if refusal is None:
                refusal = self._fork_refusal(candidate, batch, admission)
            if refusal is not None:
                admission.rejected.append(refusal)
            elif lacking is not None:
                admission.lacks_parents = True
                for dropped in self._waiting.add(candidate, lacking):
                    admission.rejected.append(
                        Rejected("waiting_full", f"{self._name(dropped.signed)}: too many wait for parents")
                    )
            else:
                batch.add(candidate)
                ready.extend(reversed(self._waiting.release(candidate.hash)))

    def _parents_refusal(self, block: Block, batch: _Batch) -> Rejected | None:
        if block.seq > 0 and batch.place(block.header.prev) not in (None, (block.issuer, block.seq - 1)):
            return Rejected(
                "broken_chain", f"{self._name(block.signed)}: prev is not its issuer's block before"
            )
        for head in block.header.heads:
            place = batch.place(head)
            if place is not None and place[0] == block.issuer:
                return Rejected("own_head", f"{self._name(block.signed)}: a head is its issuer's own block")
        return self._epoch_refusal(block, batch)

    def _epoch_refusal(self, block: Block, batch: _Batch) -> Rejected | None:
        epoch = block.header.registry_epoch
        if epoch == self.registry.epoch:
            # Nothing newer has entered: there is no need to read the parents.
            return None
        parents = filter(None, map(batch.block, block.header.parents))
        newest = max((parent.header.registry_epoch for parent in parents), default=epoch)
        if newest <= epoch:
            return None
        return Rejected(
            "backdated",
            f"{self._name(block.signed)}: sealed under registry epoch {epoch}, but builds on a block of epoch"
            f" {newest}",
        )

    def _fork_refusal(self, block: Block, batch: _Batch, admission: Admission) -> Rejected | None:
        rival = batch.rival(block.signed)
        if rival is None:
            return None
        if batch.freeze(FraudProof.of(block.signed, rival)):
            admission.frozen.append(IssuerFrozen(block.issuer, block.seq))
        branches = batch.branches(block.issuer)
        if branches >= MAX_BRANCHES and not self._waiting.awaited(block.hash):
            return Rejected("too_many_branches", f"{self._name(block.signed)}: {branches} branches are kept")
        return None

    def admit_proofs(self, proofs: Sequence[tuple[bytes, bytes]]) -> Admission:
        """Check fraud proofs, each given as its two signed headers; store those that tell something new."""
        admission = Admission()
        batch = _Batch(self._store)
        for first, second in proofs:
            try:
                proof = FraudProof.decode(first, second)
            except BlockError as error:
                admission.rejected.append(Rejected("malformed_proof", str(error)))
                continue
            if batch.frozen.get(proof.issuer, proof.seq + 1) <= proof.seq:
                continue
            refusal = self._stranger(proof.first) or self._stranger(proof.second)
            if refusal is not None:
                admission.rejected.append(refusal)
                continue
            self._spending.charge(Operation.ED25519_VERIFY, 2)
            if not proof.holds(self.registry.network):
                admission.rejected.append(
                    Rejected("bad_proof", f"{self._name(proof.first)}: a signature is not the issuer's")
                )
            elif batch.freeze(proof):
                admission.frozen.append(IssuerFrozen(proof.issuer, proof.seq))
        self._commit(batch, admission)
        return admission

    def _commit(self, batch: _Batch, admission: Admission) -> None:
        if not batch.blocks and not batch.proofs:
            return
        self._store.put_blocks(list(batch.blocks.values()), batch.proofs)
        self._spending.charge(Operation.COMMIT)
        admission.stored = [
            BlockStored(block.hash, block.issuer, block.seq, len(block.leaves), own=False)
            for block in batch.blocks.values()
        ]
