import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sensors.stimulus_frame import (
    FrameFormatError,
    FrameReader,
    QueuedPulse,
    Refusal,
    Request,
    State,
    Times,
    answer_body,
    cobs_decoded,
    cobs_encoded,
    framed,
    play_body,
    read_greeting,
    read_state,
    read_times,
    request,
)

contents = st.binary(min_size=1, max_size=280) | st.lists(st.sampled_from([0, 1, 255]), min_size=1).map(bytes)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        # Cheshire and Baker 1999, and the usual corners: zeros alone, runs of 254 and 255 bytes.
        ("4500002c4c79000040064f37", "024501042c4c79010540064f37"),
        ("00", "0101"),
        ("0000", "010101"),
        ("11002233", "0211032233"),
    ],
)
def test_cobs_as_published(data: str, code: str) -> None:
    assert cobs_encoded(bytes.fromhex(data)) == bytes.fromhex(code)


@given(st.binary(max_size=600) | st.integers(250, 260).map(lambda count: b"\x07" * count))
def test_cobs_comes_back_and_has_no_zero(data: bytes) -> None:
    code = cobs_encoded(data)
    assert 0 not in code
    assert cobs_decoded(code) == data


@given(
    st.lists(contents, max_size=5), st.lists(st.integers(1, 40), min_size=1), st.text("ab \r\n", max_size=50)
)
def test_frames_are_found_however_they_arrive(sent: list[bytes], cuts: list[int], text: str) -> None:
    stream = text.encode() + b"".join(framed(content) for content in sent if len(content) < 250)
    reader, found, at = FrameReader(), [], 0
    while at < len(stream):
        for cut in cuts:
            found += reader.feed(stream[at : at + cut])
            at += cut
    assert found == [content for content in sent if len(content) < 250]


@given(contents.filter(lambda content: len(content) < 200), st.data())
def test_a_damaged_byte_never_makes_another_frame(content: bytes, data: st.DataObject) -> None:
    frame = bytearray(framed(content))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert all(found == content for found in FrameReader().feed(bytes(frame)))


def test_text_is_kept_for_whoever_asks_what_is_there() -> None:
    reader = FrameReader()
    assert reader.feed(b"uno 17 collect, epoch 2\r\n" + framed(b"x")) == [b"x"]
    assert reader.text == "uno 17 collect, epoch 2"
    reader.feed(b"\xfe" * 1000)
    assert len(reader.text) <= 300


def test_messages_as_the_sketch_reads_and_writes_them() -> None:
    body = play_body(1, 0x0403_0201, 0x1_0002, (QueuedPulse(0x1_0807_0605, 0x0A09, 11),))
    assert body == bytes.fromhex("0100 01020304 0200 05060708 090a 0b")
    assert request(Request.PLAY, 7, b"x") == b"\x03\x07x"
    assert answer_body(b"\x83\x07y", Request.PLAY, 7) == b"y"
    assert answer_body(b"\x83\x08y", Request.PLAY, 7) is None
    assert answer_body(b"\x82\x07y", Request.PLAY, 7) is None
    assert read_times(bytes.fromhex("0100000002000000")) == Times(1, 2)
    state = read_state(bytes.fromhex("0403 01000000 0200 0300 0400 0500 ffff"))
    assert state == State(Refusal.GAP, 3, 1, 2, 3, 4, (5, 0xFFFF))


def test_answers_that_cannot_be_are_named() -> None:
    with pytest.raises(FrameFormatError, match="a greeting of 8 bytes without the stimulus sketch's mark"):
        read_greeting(b"METR\1\1\1\1")
    with pytest.raises(FrameFormatError, match="times in 7 bytes instead of 8"):
        read_times(bytes(7))
    with pytest.raises(FrameFormatError, match="a state in 13 bytes"):
        read_state(bytes(13))
