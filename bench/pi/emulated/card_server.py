"""Serves a card with a volatile cache to QEMU by NBD, in a process of its own.

QEMU's blklogwrites was weighed for the same purpose. Its log entries carry no mark of their own, so a log
that ends in SIGKILL with one entry still on its way cannot be read beyond it, flushes included; and the log
grows for as long as the machine runs. Here requests are answered one after the other, and what a flush
covers is in the file before the flush is answered.

Protocol: NBD, fixed newstyle, option EXPORT_NAME, simple replies (NetworkBlockDevice/nbd, doc/proto.md).
Commands come as lines on standard input, answers go out as lines of JSON:

- ``traffic``: what was asked of the card so far;
- ``cut SEED``: lose the cache as `CachedCard.cut_power` does, answer, end;
- ``release``: flush, answer, end.

Where the card's file cannot be written, the answer is an ``error``.

When standard input ends, so does the server, and what was not flushed is lost; a card that nobody wants to
keep goes with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import struct
import sys
from dataclasses import asdict
from pathlib import Path

from bench.pi.emulated.card import SECTOR_BYTES, CachedCard

KEEP, DISCARD = "keep", "discard"
"""What becomes of the card when the bench is killed."""

_MAGIC, _OPTION_MAGIC = b"NBDMAGIC", b"IHAVEOPT"
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPTION_EXPORT_NAME, _OPTION_ABORT = 1, 2
_OPTION_REPLY = struct.Struct(">QIII")
_OPTION_REPLY_MAGIC, _UNSUPPORTED, _ACKNOWLEDGED = 0x3E889045565A9, 0x80000001, 1
_HAS_FLAGS, _SEND_FLUSH = 1, 4
_REQUEST = struct.Struct(">IHHQQI")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_INVALID, _IO_ERROR, _NO_SPACE = 22, 5, 28
_LONGEST_REQUEST = 32 << 20
_LONGEST_OPTION = 4096


class ProtocolError(RuntimeError):
    """The peer does not speak NBD as it should."""


class CardFile:
    """The medium: a raw file. Held by one server at a time."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.length = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at an offset."""
        return os.pread(self._descriptor, length, offset)

    def write(self, offset: int, content: bytes) -> None:
        """Put bytes at an offset."""
        left = memoryview(content)
        while left:
            # On a disk that gets full a write is short, and the next one says why.
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written


def _receive(peer: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = peer.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def greet(peer: socket.socket, length: int) -> bool:
    """Agree on the export; False when the peer only wanted to ask."""
    peer.sendall(_MAGIC + _OPTION_MAGIC + struct.pack(">H", _FIXED_NEWSTYLE | _NO_ZEROES))
    (client_flags,) = struct.unpack(">I", _receive(peer, 4))
    while True:
        magic, option, size = struct.unpack(">8sII", _receive(peer, 16))
        if magic != _OPTION_MAGIC or size > _LONGEST_OPTION:
            raise ProtocolError("an option without its magic number")
        _receive(peer, size)
        if option == _OPTION_EXPORT_NAME:
            zeroes = b"" if client_flags & _NO_ZEROES else bytes(124)
            peer.sendall(struct.pack(">QH", length, _HAS_FLAGS | _SEND_FLUSH) + zeroes)
            return True
        answer = _ACKNOWLEDGED if option == _OPTION_ABORT else _UNSUPPORTED
        peer.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, answer, 0))
        if option == _OPTION_ABORT:
            return False


def answer_request(peer: socket.socket, card: CachedCard, length: int) -> bool:
    """Take one request and answer it; False when the peer says good-bye."""
    magic, _flags, kind, handle, offset, size = _REQUEST.unpack(_receive(peer, _REQUEST.size))
    if magic != _REQUEST_MAGIC or size > _LONGEST_REQUEST:
        raise ProtocolError("a request without its magic number, or one that is too long")
    if kind == _DISCONNECT:
        return False
    content = _receive(peer, size) if kind == _WRITE else b""
    fits = offset % SECTOR_BYTES == 0 and size % SECTOR_BYTES == 0 and offset + size <= length
    error, result = 0, b""
    try:
        if kind == _FLUSH:
            card.flush()
        elif not fits or kind not in (_READ, _WRITE):
            error = _INVALID
        elif kind == _READ:
            result = card.read(offset, size)
        else:
            card.write(offset, content)
    except OSError as failure:
        error = _NO_SPACE if failure.errno == _NO_SPACE else _IO_ERROR
    peer.sendall(struct.pack(">IIQ", _REPLY_MAGIC, error, handle) + result)
    return True


class _Server:
    def __init__(self, card_path: Path, socket_path: Path) -> None:
        self._file = CardFile(card_path)
        self._told_to_end = False
        self._card = CachedCard(self._file)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path))
        self._listener.listen(1)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._listener, selectors.EVENT_READ, "listener")
        self._ready.register(sys.stdin.fileno(), selectors.EVENT_READ, "commands")

    def run(self) -> bool:
        """Serve until told to end, or left alone; returns whether told."""
        _say({"bytes": self._file.length})
        while True:
            for key, _ in self._ready.select():
                if key.data == "commands":
                    if not self._obey():
                        return self._told_to_end
                elif key.data == "listener":
                    self._accept()
                else:
                    self._serve(key.data)

    def _obey(self) -> bool:
        line = os.read(sys.stdin.fileno(), 4096).decode()
        word, _, argument = line.strip().partition(" ")
        if word == "traffic":
            _say(asdict(self._card.traffic))
            return True
        self._told_to_end = word in ("cut", "release")
        try:
            if word == "cut":
                _say(self._card.cut_power(int(argument)).as_json())
            elif word == "release":
                self._card.flush()
                _say(asdict(self._card.traffic))
        except OSError as error:
            _say({"error": error.strerror})
        return False

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        try:
            if greet(peer, self._file.length):
                self._ready.register(peer, selectors.EVENT_READ, peer)
                return
        except (EOFError, OSError, ProtocolError):
            pass
        peer.close()

    def _serve(self, peer: socket.socket) -> None:
        try:
            if answer_request(peer, self._card, self._file.length):
                return
        except (EOFError, OSError, ProtocolError):
            pass
        self._ready.unregister(peer)
        peer.close()


def _say(values: dict[str, object]) -> None:
    print(json.dumps(values), flush=True)


def main(card: str, socket_path: str, when_left_alone: str = KEEP) -> int:
    """Entry point: ``python -m bench.pi.emulated.card_server CARD SOCKET [keep|discard]``."""
    try:
        server = _Server(Path(card), Path(socket_path))
    except BlockingIOError:
        _say({"error": "another machine is running from this card"})
        return 1
    except OSError as error:
        _say({"error": f"{error.strerror}: {error.filename or card}"})
        return 1
    if not server.run():
        Path(socket_path).unlink(missing_ok=True)
        if when_left_alone == DISCARD:
            Path(card).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
