"""Counting the costed operations of one ``handle`` call."""

from __future__ import annotations

from ledger.effects import Operation, Spent

BLAKE2B_BLOCK_BYTES = 128


class Spending:
    """Collects what was paid for, until :meth:`effects` takes it away as one ``Spent`` per operation."""

    def __init__(self) -> None:
        self._counts: dict[Operation, int] = {}

    def charge(self, operation: Operation, count: int = 1) -> None:
        """Add to the count of an operation, in its unit (see :class:`ledger.effects.Operation`)."""
        if count:
            self._counts[operation] = self._counts.get(operation, 0) + count

    def charge_blake2b(self, length_bytes: int, calls: int = 1) -> None:
        """Add hash calls on inputs of this length each."""
        self.charge(Operation.BLAKE2B, calls * max(1, -(-length_bytes // BLAKE2B_BLOCK_BYTES)))

    def effects(self) -> list[Spent]:
        """Return what has been collected, and start again from nothing."""
        spent = [Spent(operation, count) for operation, count in self._counts.items()]
        self._counts.clear()
        return spent
