import hashlib

from hypothesis import given
from hypothesis import strategies as st

from bench.pi.vpn.keys import PublicKey
from bench.pi.vpn.message import COOKIE, DATA, INITIATION, RESPONSE, Admission, kind

KEY = PublicKey(bytes(range(32)))
OTHER = PublicKey(bytes(range(1, 33)))


def initiation(responder: PublicKey, session: bytes = b"init", filling: bytes = b"\5") -> bytes:
    head = b"\1\0\0\0" + session + filling * 108
    key = hashlib.blake2s(b"mac1----" + responder.octets).digest()
    return head + hashlib.blake2s(head, key=key, digest_size=16).digest() + bytes(16)


def response(session: bytes, receiver: bytes) -> bytes:
    return b"\2\0\0\0" + session + receiver + bytes(80)


def data(receiver: bytes, length: int = 32) -> bytes:
    return b"\4\0\0\0" + receiver + bytes(length - 8)


def test_kinds_are_told_by_head_and_length() -> None:
    assert kind(initiation(KEY)) == INITIATION
    assert kind(response(b"resp", b"init")) == RESPONSE
    assert kind(b"\3\0\0\0" + bytes(60)) == COOKIE
    assert kind(data(b"resp")) == kind(data(b"resp", 1452)) == DATA
    for wrong in (b"", b"\1", initiation(KEY)[:-1], b"\5\0\0\0" + bytes(144), b"\1\0\0\1" + bytes(144)):
        assert kind(wrong) is None


def test_an_initiation_for_this_responder_is_believed_and_for_another_not() -> None:
    admission = Admission(KEY)
    assert admission.admits(initiation(KEY))
    assert not admission.admits(initiation(OTHER))


@given(st.integers(0, 148 * 8 - 129))
def test_a_changed_initiation_is_a_strangers(bit: int) -> None:
    changed = bytearray(initiation(KEY))
    changed[bit // 8] ^= 1 << bit % 8
    # From octet 132 on stands mac2, which mac1 does not cover.
    assert not Admission(KEY).admits(bytes(changed))


def test_data_is_believed_by_a_session_that_the_responder_handed_out() -> None:
    admission = Admission(KEY)
    assert not admission.admits(data(b"resp"))
    admission.learn(response(b"resp", b"init"))
    assert admission.admits(data(b"resp"))
    assert not admission.admits(data(b"init"))
    admission.learn(initiation(OTHER, session=b"next"))
    assert admission.admits(response(b"mine", b"next"))
    assert admission.admits(b"\3\0\0\0" + b"next" + bytes(56))
    for number in range(8):
        admission.learn(response(bytes([number] * 4), b"init"))
    assert not admission.admits(data(b"resp"))


@given(st.binary(max_size=200))
def test_noise_is_no_friend(noise: bytes) -> None:
    admission = Admission(KEY)
    admission.learn(noise)
    assert not admission.admits(noise)
