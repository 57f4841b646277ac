"""SPI over a serial line: how a gateway reaches a radio chip that is no neighbour of its processor.

Both ends are plain state machines from bytes to bytes; :class:`SpiLinePort` puts the host's end on a real
stream. Packets are those of :mod:`ledger.gateway.framing`, each ``kind u8 | sequence u8 | body``:

=============  =========  ==================================================================================
HELLO          host       body: ``version u8 | session, 8 bytes``. Forget what was before; answered in kind
TRANSFER       host       body: ``count u16 | bytes`` for one selection of the chip. Answer: the bytes read
RESET          host       pulse the reset pin. Answer without a body
LEVEL          host       nothing to do: the answer tells the level of DIO0
ANSWER         chip       body: ``kind u8 | dio0 u8 | ...`` of the request with the same sequence
DIO0           chip       body: ``dio0 u8``. The pin has changed; nobody answers
UNKNOWN        chip       body: ``version u8``. There was no HELLO of this version since the chip's end began
=============  =========  ==================================================================================

Zeros at the end of a transfer's bytes are left out, in both directions: a read sends nothing else after the
address, a write reads nothing else.

One request is under way at a time. An answer that fails to come is asked for by the same packet again; the
chip's end answers a repeated sequence from memory, since reading a FIFO twice is not reading it once. A lost
DIO0 is made good by the next answer, which tells the level as well.
"""

from __future__ import annotations

import enum
import select
from typing import TYPE_CHECKING, Final, Protocol

from ledger.gateway.byte_stream import StreamError
from ledger.gateway.framing import Deframer, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.gateway.byte_stream import ByteStream

VERSION: Final = 1
"""Of what is said on the line; both ends must have the same."""
LINE_BITS_PER_SECOND: Final = 1_000_000
"""Where the line is a real one, at both ends; USB and its kin take no notice."""
MAX_TRANSFER_BYTES: Final = 257
"""An address and the whole FIFO."""
_COUNT_BYTES: Final = 2
_MAX_PACKET_BYTES: Final = 2 + _COUNT_BYTES + MAX_TRANSFER_BYTES
_SESSION_BYTES: Final = 8

REPEAT_AFTER_NS: Final = 500_000_000
TRIES: Final = 6
RECONNECT_AFTER_NS: Final = 2_000_000_000


class Kind(enum.IntEnum):
    """What a packet is; see the module's description."""

    HELLO = 1
    TRANSFER = 2
    RESET = 3
    LEVEL = 4
    ANSWER = 0x81
    DIO0 = 0x82
    UNKNOWN = 0x83


class ChipPins(Protocol):
    """The chip's side of the wires."""

    def select(self) -> None:
        """Chip select goes low."""

    def transfer(self, mosi: int) -> int:
        """One byte over SPI."""

    def deselect(self) -> None:
        """Chip select goes high."""

    def reset(self) -> None:
        """The reset pin is pulsed."""


class ChipEnd:
    """The end of the line at which the chip is. ``damaged`` and ``repeated`` count what the line cost."""

    def __init__(self, chip: ChipPins, dio0: bool = False) -> None:
        self.repeated = 0
        self._chip = chip
        self._dio0 = dio0
        self._greeted = False
        self._last_request = b""
        self._last_answer = b""
        self._deframer = Deframer(_MAX_PACKET_BYTES)

    @property
    def damaged(self) -> int:
        """How many packets came damaged."""
        return self._deframer.damaged

    def receive(self, data: bytes) -> bytes:
        """Carry out the requests that these bytes complete; return what to send."""
        return b"".join(map(self._answer, self._deframer.feed(data)))

    def dio0_changed(self, level: bool) -> bytes:
        """Take the pin's new level, also from within a transfer; return what to send."""
        self._dio0 = level
        return wrap(bytes([Kind.DIO0, 0, level])) if self._greeted else b""

    def _answer(self, request: bytes) -> bytes:
        if len(request) < 2:
            self._deframer.damaged += 1
            return b""
        kind, sequence, body = request[0], request[1], request[2:]
        if kind == Kind.HELLO:
            self._greeted = body[:1] == bytes([VERSION])
        if not self._greeted:
            return wrap(bytes([Kind.UNKNOWN, sequence, VERSION]))
        if request == self._last_request:
            self.repeated += 1
            return self._last_answer
        try:
            read = self._carry_out(kind, body)
        except ValueError:
            self._deframer.damaged += 1
            return b""
        self._last_request = request
        self._last_answer = wrap(bytes([Kind.ANSWER, sequence, kind, self._dio0]) + read)
        return self._last_answer

    def _carry_out(self, kind: int, body: bytes) -> bytes:
        match Kind(kind):
            case Kind.HELLO:
                return body
            case Kind.TRANSFER:
                return self._transfer(int.from_bytes(body[:_COUNT_BYTES], "big"), body[_COUNT_BYTES:])
            case Kind.RESET:
                self._chip.reset()
            case Kind.LEVEL:
                pass
            case _:
                raise ValueError(f"{kind} is no request")
        return b""

    def _transfer(self, count: int, data: bytes) -> bytes:
        if not len(data) <= count <= MAX_TRANSFER_BYTES:
            raise ValueError(f"a transfer of {count} bytes with {len(data)} of them")
        self._chip.select()
        read = bytes(map(self._chip.transfer, data.ljust(count, b"\x00")))
        self._chip.deselect()
        return read.rstrip(b"\x00")


class HostEnd:
    """The end of the line at which the driver is.

    ``session`` must differ from that of any host before on the same line. ``rose`` becomes true when DIO0 is
    seen to rise, and is for the owner to clear; ``strays`` counts answers that nobody waited for.
    """

    def __init__(self, session: int) -> None:
        self.rose = False
        self.dio0 = False
        self.strays = 0
        self.version_there: int | None = None
        """Set when the chip's end does not know this host: either it began anew, or is of this version."""
        self._hello = bytes([VERSION]) + (session % (1 << 8 * _SESSION_BYTES)).to_bytes(_SESSION_BYTES, "big")
        self._greeted = False
        self._sequence = 0
        self._count = 0
        self._asked: Kind | None = None
        self._read: bytes | None = None
        self._deframer = Deframer(_MAX_PACKET_BYTES)

    @property
    def damaged(self) -> int:
        """How many packets came damaged."""
        return self._deframer.damaged

    def hello(self) -> bytes:
        """Return what to send to begin with: whatever was half sent before ends with it."""
        self.version_there = None
        return b"\x00" + self._request(Kind.HELLO, self._hello)

    def transfer(self, data: bytes) -> bytes:
        """Return what to send for one selection of the chip. Raises ValueError when it is too long."""
        if len(data) > MAX_TRANSFER_BYTES:
            raise ValueError(f"one transfer has at most {MAX_TRANSFER_BYTES} bytes, not {len(data)}")
        self._count = len(data)
        return self._request(Kind.TRANSFER, len(data).to_bytes(_COUNT_BYTES, "big") + data.rstrip(b"\x00"))

    def reset(self) -> bytes:
        """Return what to send for a pulse of the reset pin."""
        return self._request(Kind.RESET, b"")

    def ask_level(self) -> bytes:
        """Return what to send to hear from the chip's end at all."""
        return self._request(Kind.LEVEL, b"")

    def receive(self, data: bytes) -> None:
        """Take in what has come."""
        for packet in self._deframer.feed(data):
            if len(packet) < 2:
                self._deframer.damaged += 1
            else:
                self._take(packet[0], packet[1], packet[2:])

    def answer(self) -> bytes | None:
        """Return what was read by the last request, once its answer is there."""
        return self._read

    def _request(self, kind: Kind, body: bytes) -> bytes:
        self._sequence = (self._sequence + 1) % 256
        self._asked = kind
        self._read = None
        return wrap(bytes([kind, self._sequence]) + body)

    def _take(self, kind: int, sequence: int, body: bytes) -> None:
        if kind == Kind.DIO0 and len(body) == 1 and self._greeted:
            self._set_level(body[0])
        elif kind == Kind.ANSWER and len(body) >= 2 and self._is_wanted(sequence, body):
            self._read = body[2:].ljust(self._count, b"\x00") if self._asked is Kind.TRANSFER else body[2:]
            self._greeted = True
            self._set_level(body[1])
        elif kind == Kind.UNKNOWN and len(body) == 1 and sequence == self._sequence:
            self.version_there = body[0]
        else:
            self.strays += 1

    def _is_wanted(self, sequence: int, body: bytes) -> bool:
        if self._read is not None or sequence != self._sequence or body[0] != self._asked:
            return False
        if self._asked is Kind.HELLO:
            return body[2:] == self._hello
        return len(body) <= 2 + (self._count if self._asked is Kind.TRANSFER else 0)

    def _set_level(self, level: int) -> None:
        self.rose = self.rose or (level != 0 and not self.dio0)
        self.dio0 = bool(level)


def _unknown(version: int) -> str:
    if version == VERSION:
        return "the chip's end began anew"
    return (
        f"the chip's end speaks version {version}, this one {VERSION}; install the same release at both ends"
    )


class SpiLinePort:
    """The radio's wires (:class:`ledger.gateway.port.RadioPort`) over a byte stream.

    ``open_stream`` is called at the start and whenever the line has to be taken up again; ``clock_ns`` is any
    clock that does not jump. While nobody answers, transfers read zeros and cost no waiting.
    """

    def __init__(
        self, open_stream: Callable[[], ByteStream], clock_ns: Callable[[], int], session: int
    ) -> None:
        self._open_stream = open_stream
        self._clock_ns = clock_ns
        self._session = session
        self._end = HostEnd(session)
        self._stream: ByteStream | None = None
        self._readable = select.poll()
        self._next_try_ns = clock_ns()
        self._fault: str | None = "the line was not taken up yet"
        self.repeats = 0
        """How many requests were sent again."""

    @property
    def fault(self) -> str | None:
        """Why the line does not carry, None while it does."""
        return self._fault

    @property
    def damaged(self) -> int:
        """How many packets came damaged since the line was taken up."""
        return self._end.damaged

    def fileno(self) -> int | None:
        """The stream's file descriptor while the line carries."""
        return None if self._stream is None else self._stream.fileno()

    def transfer(self, data: bytes) -> bytes:
        """One selection of the chip; zeros where nobody answers. Raises ValueError when it is too long."""
        if not data or not self._is_up():
            return bytes(len(data))
        answer = self._ask(self._end.transfer(data), TRIES)
        return bytes(len(data)) if answer is None else answer

    def take_rise(self) -> bool:
        """Whether DIO0 has risen since the last call."""
        if self._stream is not None:
            try:
                self._end.receive(self._stream.read())
            except StreamError as error:
                self._lose(str(error))
        rose, self._end.rose = self._end.rose, False
        return rose

    def reset(self) -> None:
        """Pulse the chip's reset pin."""
        if self._is_up():
            self._ask(self._end.reset(), TRIES)

    def keep_alive(self) -> None:
        """Ask whether the chip's end is there still; learn of a level whose change was lost."""
        if self._is_up():
            self._ask(self._end.ask_level(), TRIES)

    def close(self) -> None:
        """Let go of the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _is_up(self) -> bool:
        if self._stream is None and self._clock_ns() >= self._next_try_ns:
            self._take_up()
        return self._stream is not None

    def _take_up(self) -> None:
        self._next_try_ns = self._clock_ns() + RECONNECT_AFTER_NS
        self._session += 1
        self._end = HostEnd(self._session)
        try:
            self._stream = self._open_stream()
        except StreamError as error:
            self._fault = str(error)
            return
        self._readable = select.poll()
        self._readable.register(self._stream.fileno(), select.POLLIN)
        if self._ask(self._end.hello(), 1) is not None:
            self._fault = None

    def _ask(self, request: bytes, tries: int) -> bytes | None:
        """Send a request until it is answered. Loses the line when it is not."""
        assert self._stream is not None, "the line is up"
        try:
            for attempt in range(tries):
                self.repeats += attempt > 0
                self._stream.write(request)
                answer = self._wait(self._stream)
                if answer is not None:
                    return answer
                if self._end.version_there is not None:
                    self._lose(f"{self._stream.name}: {_unknown(self._end.version_there)}")
                    return None
            self._lose(f"{self._stream.name}: nobody answers; check that the chip's end of the line runs")
        except StreamError as error:
            self._lose(str(error))
        return None

    def _wait(self, stream: ByteStream) -> bytes | None:
        until_ns = self._clock_ns() + REPEAT_AFTER_NS
        while self._end.answer() is None and self._end.version_there is None:
            left_ns = until_ns - self._clock_ns()
            if left_ns <= 0:
                break
            if self._readable.poll(-(-left_ns // 1_000_000)):
                self._end.receive(stream.read())
        return self._end.answer()

    def _lose(self, why: str) -> None:
        self._fault = why
        self._next_try_ns = self._clock_ns() + RECONNECT_AFTER_NS
        self.close()
