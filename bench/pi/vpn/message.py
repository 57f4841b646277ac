"""What can be told of WireGuard's messages from outside: their kinds, and who may have sent them.

Formats after J. A. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel" (NDSS 2017), section 5.4.
Numbers are little-endian; the first octet is the kind, three zero octets follow.

- initiation, 148 octets: the sender's session index at 4; at 116 ``mac1``, a keyed BLAKE2s-128 over what
  precedes it, whose key is BLAKE2s-256 of ``mac1----`` and the responder's public key
- response, 92 octets: the sender's session index at 4, the receiver's at 8
- cookie reply, 64 octets, and data, from 32 octets: the receiver's session index at 4
"""

import hashlib
import hmac
from collections import deque

from bench.pi.vpn.keys import PublicKey

INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
INITIATION_OCTETS, RESPONSE_OCTETS, COOKIE_OCTETS, DATA_MIN_OCTETS = 148, 92, 64, 32

_MAC1_AT = 116
_MAC_OCTETS = 16
_REMEMBERED_SESSIONS = 8
"""WireGuard keeps three sessions with a peer: previous, current and next; answers may still be under way."""


def kind(datagram: bytes) -> int | None:
    """Which of WireGuard's messages this is by its head and length, or None if it is none."""
    octets = len(datagram)
    match datagram[:4]:
        case b"\1\0\0\0" if octets == INITIATION_OCTETS:
            return INITIATION
        case b"\2\0\0\0" if octets == RESPONSE_OCTETS:
            return RESPONSE
        case b"\3\0\0\0" if octets == COOKIE_OCTETS:
            return COOKIE
        case b"\4\0\0\0" if octets >= DATA_MIN_OCTETS:
            return DATA
    return None


class Admission:
    """Tells the initiator, wherever it sends from, from strangers.

    Believed is who shows what only the peer knows: an initiation made for the responder's public key, or a
    session index that the responder has handed out. This keeps strays out of a bench's way; it is no
    protection against who listens, which WireGuard itself gives.
    """

    def __init__(self, responder: PublicKey) -> None:
        self._mac1_key = hashlib.blake2s(b"mac1----" + responder.octets).digest()
        self._sessions: deque[bytes] = deque(maxlen=_REMEMBERED_SESSIONS)

    def learn(self, datagram: bytes) -> None:
        """Take note of what the responder sends."""
        if kind(datagram) in (INITIATION, RESPONSE) and (session := datagram[4:8]) not in self._sessions:
            self._sessions.append(session)

    def admits(self, datagram: bytes) -> bool:
        """Whether whoever sent this is the initiator."""
        match kind(datagram):
            case 1:  # initiation
                mac1 = hashlib.blake2s(datagram[:_MAC1_AT], key=self._mac1_key, digest_size=_MAC_OCTETS)
                return hmac.compare_digest(mac1.digest(), datagram[_MAC1_AT : _MAC1_AT + _MAC_OCTETS])
            case 2:  # response
                return datagram[8:12] in self._sessions
            case 3 | 4:  # cookie reply, data
                return datagram[4:8] in self._sessions
        return False
