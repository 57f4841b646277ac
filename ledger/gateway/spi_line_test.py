"""Both ends of the line: against each other over a line that spoils bytes, and over real streams."""

from __future__ import annotations

import os
import select
import socket
import threading
import tty
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.gateway import spi_line
from ledger.gateway.byte_stream import ByteStream, StreamError, open_stream
from ledger.gateway.framing import Deframer, wrap
from ledger.gateway.spi_line import MAX_TRANSFER_BYTES, VERSION, ChipEnd, HostEnd, Kind, SpiLinePort
from ledger.gateway.sx1278 import Mode, RadioSettings, Sx1278
from ledger.gateway.sx1278_test import RegisterChip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random


class CountingChip:
    """Answers each byte with how many it has been given: a byte carried out twice or not at all is seen."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.selections: list[bytes] = []
        self.resets = 0

    def select(self) -> None:
        self.selections.append(b"")

    def transfer(self, mosi: int) -> int:
        self.seen.append(mosi)
        self.selections[-1] += bytes([mosi])
        return len(self.seen) % 256

    def deselect(self) -> None:
        pass

    def reset(self) -> None:
        self.resets += 1


def greeted(session: int = 7) -> tuple[HostEnd, ChipEnd, CountingChip]:
    chip = CountingChip()
    host, end = HostEnd(session), ChipEnd(chip)
    host.receive(end.receive(host.hello()))
    assert host.answer() is not None
    return host, end, chip


def test_a_transfer_selects_the_chip_once() -> None:
    host, end, chip = greeted()
    for data in (b"\x42\x00", b"\x00" * MAX_TRANSFER_BYTES, b"x", b"\x01" * MAX_TRANSFER_BYTES):
        before = len(chip.seen)
        host.receive(end.receive(host.transfer(data)))
        assert chip.selections[-1] == data
        assert host.answer() == bytes((before + n) % 256 for n in range(1, len(data) + 1))
    assert len(chip.selections) == 4


def test_a_transfer_over_the_limit_is_refused() -> None:
    host, _, _ = greeted()
    with pytest.raises(ValueError, match="at most 257 bytes, not 258"):
        host.transfer(bytes(258))


def test_a_repeated_request_does_not_touch_the_chip_again() -> None:
    host, end, chip = greeted()
    request = host.transfer(b"abc")
    answers = [end.receive(request) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert chip.selections == [b"abc"]
    assert end.repeated == 2
    for answer in answers:
        host.receive(answer)
    assert host.strays == 2
    reset = host.reset()
    end.receive(reset + reset)
    assert chip.resets == 1


def test_dio0_is_told_on_each_change_and_with_each_answer() -> None:
    host, end, _ = greeted()
    host.receive(end.dio0_changed(True))
    assert (host.rose, host.dio0) == (True, True)
    host.rose = False
    host.receive(end.dio0_changed(False))
    end.dio0_changed(True)  # lost on the line
    assert not host.rose
    host.receive(end.receive(host.ask_level()))
    assert host.rose


def test_before_hello_nothing_is_carried_out_and_the_host_is_told() -> None:
    chip = CountingChip()
    end, host = ChipEnd(chip), HostEnd(1)
    assert end.dio0_changed(True) == b""
    host.receive(end.receive(host.transfer(b"abc")))
    assert host.version_there == VERSION
    assert chip.selections == []
    host.receive(end.receive(host.hello()))
    assert host.version_there is None
    assert host.rose


def test_hello_starts_clean_amid_what_an_earlier_host_left() -> None:
    _, end, chip = greeted(1)
    earlier = HostEnd(2)
    left = end.receive(earlier.hello() + earlier.transfer(b"left"))
    later = HostEnd(3)
    half_a_request = earlier.transfer(b"half")[:4]
    answer = end.receive(half_a_request + later.hello())
    later.receive(left[3:] + answer)
    assert later.answer() is not None
    later.receive(end.receive(later.transfer(b"next")))
    assert later.answer() is not None
    assert chip.selections == [b"left", b"next"]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x02",
        b"\x09\x05",
        b"\x81\x02\x02\x00",
        b"\xff" * 200,
        # Transfers of fewer bytes than they bring, and of more than there may be.
        b"\x02\x05\x00\x01ab",
        b"\x02\x05\x01\x02a",
    ],
)
def test_a_sound_packet_that_means_nothing_is_counted(packet: bytes) -> None:
    host, end, chip = greeted()
    assert end.receive(wrap(packet)) == b""
    host.receive(wrap(packet))
    assert chip.selections == []
    assert end.damaged + host.damaged + host.strays > 0


@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12),
    st.lists(st.sampled_from(["pass", "lose", "spoil", "double", "zero"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_over_a_bad_line_each_transfer_is_carried_out_exactly_once(
    transfers: list[bytes], fates: list[str], randomness: Random
) -> None:
    """As long as the host repeats what was not answered, and the line passes something in the end."""
    fate = iter(fates)

    def line(data: bytes) -> bytes:
        if not data:
            return data
        spoilt = bytearray(data)
        match next(fate, "pass"):
            case "lose":
                return b""
            case "spoil":
                spoilt[randomness.randrange(len(data))] ^= 1 << randomness.randrange(8)
            case "zero":
                spoilt.insert(randomness.randrange(len(data)), 0)
            case "double":
                return data + data
        return bytes(spoilt)

    chip = CountingChip()
    host, end = HostEnd(5), ChipEnd(chip)

    def ask(request: bytes) -> bytes:
        for _ in range(len(fates) + 1):
            host.receive(line(end.receive(line(request))))
            answer = host.answer()
            if answer is not None:
                return answer
        raise AssertionError("the line passes everything in the end")

    ask(host.hello())
    read = [ask(host.transfer(data)) for data in transfers]
    assert chip.selections == transfers
    numbers = count(1)
    assert read == [bytes(next(numbers) % 256 for _ in data) for data in transfers]


class RegisterPins(RegisterChip):
    """The register file, byte by byte."""

    def __init__(self) -> None:
        super().__init__()
        self.resets = 0
        self._sent = b""

    def select(self) -> None:
        self._sent = b""

    def shift(self, mosi: int) -> int:
        first = not self._sent
        if first:
            self._sent = bytes([mosi])
            return 0
        answer = super().transfer(self._sent + bytes([mosi]))[1]
        if self._sent[0] & 0x7F:
            self._sent = bytes([self._sent[0] + 1])
        return answer

    def deselect(self) -> None:
        pass

    def reset(self) -> None:
        self.resets += 1


class Pins:
    """The register file as the chip's end wants it."""

    def __init__(self, chip: RegisterPins) -> None:
        self.select, self.transfer, self.deselect, self.reset = (
            chip.select,
            chip.shift,
            chip.deselect,
            chip.reset,
        )


class Serving:
    """A thread at the far end of a stream, with a chip behind it."""

    def __init__(self, descriptor: int) -> None:
        self.chip = RegisterPins()
        self.end = ChipEnd(Pins(self.chip))
        self.mute = False
        self._descriptor = descriptor
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._descriptor, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            try:
                data = os.read(self._descriptor, 4096)
            except OSError:
                return
            if not data:
                return
            answer = self.end.receive(data)
            if answer and not self.mute:
                os.write(self._descriptor, answer)

    def raise_dio0(self) -> None:
        os.write(self._descriptor, self.end.dio0_changed(True))

    def stop(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._stop_read, self._stop_write):
            os.close(descriptor)


class SteppingClock:
    """Time passes only by being looked at, and fast: what would wait seconds waits none."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.step_ns = 1_000_000

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


@pytest.fixture
def pair() -> Iterator[tuple[Serving, Callable[[], ByteStream]]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    serving = Serving(master)
    path = os.ttyname(slave)
    yield serving, lambda: open_stream(path, 115_200)
    serving.stop()
    os.close(master)
    os.close(slave)


def test_the_driver_runs_over_a_pseudo_terminal(pair: tuple[Serving, Callable[[], ByteStream]]) -> None:
    serving, opener = pair
    port = SpiLinePort(opener, SteppingClock(), 1)
    port.reset()
    driver = Sx1278(port, RadioSettings())
    driver.configure()
    driver.start_receiving()
    assert driver.is_receiving()
    assert serving.chip.registers[0x01] == Mode.RECEIVE_CONTINUOUS
    assert serving.chip.resets == 1
    assert (port.fault, port.repeats, port.damaged) == (None, 0, 0)
    payload = bytes(range(200))
    serving.chip.packet_arrives(payload)
    serving.raise_dio0()
    descriptor = port.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 30)[0]
    assert port.take_rise()
    assert not port.take_rise()
    assert driver.read_packet(driver.interrupts()).payload == payload
    port.close()


def test_a_line_that_falls_silent_reads_zeros_and_is_taken_up_again(
    pair: tuple[Serving, Callable[[], ByteStream]],
) -> None:
    serving, opener = pair
    clock = SteppingClock()
    port = SpiLinePort(opener, clock, 1)
    assert port.transfer(b"\x42\x00") == b"\x00\x12"
    serving.mute = True
    clock.step_ns = spi_line.REPEAT_AFTER_NS
    assert port.transfer(b"\x42\x00") == b"\x00\x00"
    assert port.repeats == spi_line.TRIES - 1
    assert "nobody answers" in (port.fault or "")
    assert port.fileno() is None
    clock.step_ns = 1
    assert port.transfer(b"\x42\x00") == b"\x00\x00"
    serving.mute = False
    clock.now_ns += spi_line.RECONNECT_AFTER_NS
    clock.step_ns = 1_000_000
    assert port.transfer(b"\x42\x00") == b"\x00\x12"
    assert port.fault is None
    port.close()


def test_a_chip_end_that_began_anew_is_greeted_again(
    pair: tuple[Serving, Callable[[], ByteStream]],
) -> None:
    serving, opener = pair
    clock = SteppingClock()
    port = SpiLinePort(opener, clock, 1)
    assert port.transfer(b"\x42\x00") == b"\x00\x12"
    serving.end = ChipEnd(Pins(serving.chip))
    assert port.transfer(b"\x42\x00") == b"\x00\x00"
    assert "began anew" in (port.fault or "")
    clock.now_ns += spi_line.RECONNECT_AFTER_NS
    port.keep_alive()
    assert port.fault is None
    assert port.transfer(b"\x42\x00") == b"\x00\x12"
    port.close()


class LaterChipEnd(ChipEnd):
    """Of a release whose line is another."""

    def receive(self, data: bytes) -> bytes:
        return b"".join(wrap(bytes([Kind.UNKNOWN, packet[1], 9])) for packet in Deframer(300).feed(data))


def test_a_chip_end_of_another_release_is_named(pair: tuple[Serving, Callable[[], ByteStream]]) -> None:
    serving, opener = pair
    serving.end = LaterChipEnd(Pins(serving.chip))
    port = SpiLinePort(opener, SteppingClock(), 1)
    assert port.transfer(b"\x42\x00") == b"\x00\x00"
    assert (port.fault or "").endswith(
        "the chip's end speaks version 9, this one 1; install the same release at both ends"
    )
    port.close()


def test_a_host_of_another_release_is_not_listened_to() -> None:
    chip = CountingChip()
    end = ChipEnd(chip)
    hello = wrap(bytes([Kind.HELLO, 1, VERSION + 1]) + bytes(8))
    transfer = wrap(bytes([Kind.TRANSFER, 2, 0, 1, 7]))
    assert end.receive(hello + transfer) == b"".join(
        wrap(bytes([Kind.UNKNOWN, sequence, VERSION])) for sequence in (1, 2)
    )
    assert chip.selections == []


def test_a_device_that_is_missing_at_the_start_is_named() -> None:
    port = SpiLinePort(lambda: open_stream("/dev/ttyNONE7", 115_200), SteppingClock(), 1)
    assert port.transfer(b"\x42\x00") == b"\x00\x00"
    assert port.fault == (
        "/dev/ttyNONE7: No such file or directory; check the path and that the device is plugged in"
    )
    port.keep_alive()
    port.reset()
    assert not port.take_rise()
    port.close()


def test_over_a_socket_the_end_of_the_stream_is_seen() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"socket://127.0.0.1:{listener.getsockname()[1]}"
    port = SpiLinePort(lambda: open_stream(address, 0), SteppingClock(), 1)
    accepted: list[socket.socket] = []
    accepting = threading.Thread(target=lambda: accepted.append(listener.accept()[0]))
    accepting.start()
    stream = open_stream(address, 0)
    accepting.join()
    listener.close()
    accepted[0].close()
    select.select([stream.fileno()], [], [], 30)
    with pytest.raises(StreamError, match="the other end closed it"):
        stream.read()
    stream.close()
    assert port.transfer(b"ab") == b"\x00\x00"
    assert "Connection refused" in (port.fault or "")


def test_kinds_of_host_and_chip_are_apart() -> None:
    assert {kind for kind in Kind if kind < 0x80} == {Kind.HELLO, Kind.TRANSFER, Kind.RESET, Kind.LEVEL}
