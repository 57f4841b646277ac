"""Merkle tree of RFC 9162, section 2.1, with BLAKE2b-256 as its hash.

Leaves and inner nodes are hashed with different prefixes, so that no inner node passes for a leaf.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.blake2b(b"", digest_size=HASH_BYTES).digest()

_LEAF = b"\x00"
_NODE = b"\x01"


def _leaf_hash(leaf: bytes) -> bytes:
    return hashlib.blake2b(_LEAF + leaf, digest_size=HASH_BYTES).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.blake2b(_NODE + left + right, digest_size=HASH_BYTES).digest()


def _level_up(level: list[bytes]) -> list[bytes]:
    # An odd last node moves up unchanged: the same tree as RFC 9162's split at the largest power of two.
    paired = [_node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return paired + level[-1:] if len(level) % 2 else paired


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over the leaves; of no leaves, the hash of nothing."""
    if not leaves:
        return EMPTY_ROOT
    level = [_leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _level_up(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the sibling hashes from the leaf at ``index`` up to the root (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    path = []
    level = [_leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_up(level)
        index //= 2
    return path


def includes(expected_root: bytes, leaf: bytes, index: int, leaf_count: int, path: Sequence[bytes]) -> bool:
    """Tell whether ``path`` proves ``leaf`` to be number ``index`` of ``leaf_count`` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < leaf_count:
        return False
    node, last = index, leaf_count - 1
    digest = _leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            return False
        if node % 2 or node == last:
            digest = _node_hash(sibling, digest)
            while node % 2 == 0 and node:
                node //= 2
                last //= 2
        else:
            digest = _node_hash(digest, sibling)
        node //= 2
        last //= 2
    return last == 0 and digest == expected_root
