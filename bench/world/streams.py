"""Counter-based random streams: a draw depends on who draws what and on its index, not on the order."""

import hashlib

PPM = 1_000_000


class Stream:
    """A keyed sequence of 64-bit draws, addressed by index.

    The key is BLAKE2b over the seed and the names, a draw is BLAKE2b over the index under that key
    (RFC 7693), so two streams with different names are independent and any draw can be repeated alone.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int, *names: str | int) -> None:
        self._key = _derive(seed.to_bytes(16, "big", signed=True), names)

    def child(self, *names: str | int) -> "Stream":
        """A stream of its own below this one."""
        descendant = Stream.__new__(Stream)
        descendant._key = _derive(self._key, names)
        return descendant

    def octets(self, index: int, count: int) -> bytes:
        """`count` (at most 64) bytes at `index`."""
        return hashlib.blake2b(index.to_bytes(8, "big"), key=self._key, digest_size=count).digest()

    def bits(self, index: int) -> int:
        """A 64-bit integer at `index`."""
        return int.from_bytes(self.octets(index, 8), "big")

    def below(self, bound: int, index: int) -> int:
        """An integer in [0, bound) at `index`; the bias is below bound / 2**64."""
        if bound <= 0:
            raise ValueError(f"bound must be positive, found {bound}")
        return self.bits(index) * bound >> 64

    def happens(self, probability_ppm: int, index: int) -> bool:
        """Whether an event of this probability (parts per million) happens at `index`."""
        return self.below(PPM, index) < probability_ppm


def _derive(key: bytes, names: tuple[str | int, ...]) -> bytes:
    digest = hashlib.blake2b(key=key, digest_size=32, person=b"bench stream")
    for name in names:
        encoded = name.encode() if isinstance(name, str) else b"#%d" % name
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()
