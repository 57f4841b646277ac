from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from ledger.merkle import includes, inclusion_proof, root

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def rfc_9162_root(leaves: list[bytes]) -> bytes:
    """The recursive definition of RFC 9162, section 2.1.1, word by word."""
    if not leaves:
        return blake2b(b"")
    if len(leaves) == 1:
        return blake2b(b"\x00" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return blake2b(b"\x01" + rfc_9162_root(leaves[:split]) + rfc_9162_root(leaves[split:]))


def rfc_9162_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """The recursive definition of RFC 9162, section 2.1.3.1, word by word."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*rfc_9162_path(index, leaves[:split]), rfc_9162_root(leaves[split:])]
    return [*rfc_9162_path(index - split, leaves[split:]), rfc_9162_root(leaves[:split])]


# The leaves are those of the reference vectors of RFC 6962 implementations, on which BLAKE2b-256 is put here.
VECTOR_LEAVES = [
    b"",
    b"\x00",
    b"\x10",
    b" !",
    b"01",
    b"@ABC",
    b"PQRSTUVW",
    b"`abcdefghijklmno",
]
VECTOR_ROOTS: dict[int, str] = {
    0: "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
    1: "03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314",
}


def test_golden_roots() -> None:
    # BLAKE2b-256 of nothing and of one zero byte, as `b2sum -l 256` gives them.
    for count, expected in VECTOR_ROOTS.items():
        assert root(VECTOR_LEAVES[:count]).hex() == expected


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_root_is_that_of_rfc_9162(leaves: list[bytes]) -> None:
    assert root(leaves) == rfc_9162_root(leaves)


@given(LEAVES, st.data())
def test_proofs_are_those_of_rfc_9162_and_hold(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = inclusion_proof(leaves, index)
    assert path == rfc_9162_path(index, leaves)
    assert includes(root(leaves), leaves[index], index, len(leaves), path)


@given(LEAVES, st.data())
def test_no_proof_holds_for_anything_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = inclusion_proof(leaves, index)
    top = root(leaves)
    count = len(leaves)
    assert not includes(top, leaves[index] + b"x", index, count, path)
    assert not includes(top, leaves[index], index, count, [*path, bytes(32)])
    assert not includes(top, leaves[index], count, count, path)
    if path:
        assert not includes(top, leaves[index], index, count, path[:-1])
        wrong = data.draw(st.integers(0, len(path) - 1))
        assert not includes(top, leaves[index], index, count, [*path[:wrong], bytes(32), *path[wrong + 1 :]])


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    leaves = [b"a", b"b", b"c", b"d"]
    inner = blake2b(b"\x00a") + blake2b(b"\x00b")
    assert root([inner, blake2b(b"\x00c") + blake2b(b"\x00d")]) != root(leaves)
