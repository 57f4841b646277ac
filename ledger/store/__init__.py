"""Where a node keeps its blocks: the interface, and SQLite behind it (:mod:`ledger.store.sqlite`)."""

from ledger.store.interface import ReadingCounts, Store, StoredBlock, StoreError, Tip

__all__ = ["ReadingCounts", "Store", "StoreError", "StoredBlock", "Tip"]
