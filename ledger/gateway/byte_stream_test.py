"""Streams over real devices: pseudo-terminals, sockets, and a port that speaks RFC 2217."""

from __future__ import annotations

import os
import re
import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import serial
from serial.rfc2217 import PortManager

from ledger.gateway.byte_stream import ByteStream, StreamError, open_stream

if TYPE_CHECKING:
    from pathlib import Path


def read_exactly(stream: ByteStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        assert select.select([stream.fileno()], [], [], 30)[0]
        data += stream.read()
    return data


def read_from(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(descriptor, 100)
    return data


def carries_both_ways(stream: ByteStream, far: socket.socket) -> None:
    far.sendall(b"in")
    assert read_exactly(stream, 2) == b"in"
    stream.write(b"out")
    assert far.recv(10) == b"out"


def test_a_terminal_by_its_path() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    stream = open_stream(path, 115_200)
    assert stream.read() == b""
    os.write(master, b"\x00\x03\x11\x13\xff in")
    assert read_exactly(stream, 8) == b"\x00\x03\x11\x13\xff in"
    stream.write(b"\x00\x0a\x0d\x04 out")
    assert read_from(master, 8) == b"\x00\x0a\x0d\x04 out"
    os.close(master)
    select.select([stream.fileno()], [], [], 30)
    with pytest.raises(StreamError, match=rf"^{path}: "):
        stream.read()
    stream.close()
    stream.close()
    os.close(slave)


def test_a_terminal_is_nobody_elses_meanwhile() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    stream = open_stream(path, 115_200)
    with pytest.raises(StreamError, match=rf"^{path}: .*; another program holds it"):
        open_stream(path, 115_200)
    stream.close()
    open_stream(path, 115_200).close()
    for descriptor in (master, slave):
        os.close(descriptor)


def test_a_character_device_that_is_no_terminal() -> None:
    stream = open_stream("/dev/null", 115_200)
    stream.write(b"gone")
    with pytest.raises(StreamError, match="/dev/null: the other end closed it"):
        stream.read()
    stream.close()


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "radio"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        stream = open_stream(str(path), 0)
        far = listener.accept()[0]
    carries_both_ways(stream, far)
    far.close()
    stream.close()
    with pytest.raises(StreamError, match=f"^{path}: Connection refused; start the program"):
        open_stream(str(path), 0)


def test_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = open_stream(f"socket://127.0.0.1:{listener.getsockname()[1]}", 0)
        far = listener.accept()[0]
    carries_both_ways(stream, far)
    stream.close()
    assert far.recv(10) == b""
    far.close()


def test_a_reader_that_sleeps_is_an_error_not_a_wait_for_ever() -> None:
    near, far = socket.socketpair()
    stream = ByteStream("line", near.detach())
    with pytest.raises(StreamError, match="line: nobody reads at the other end"):
        stream.write(bytes(10_000_000))
    stream.close()
    far.close()


def test_a_device_that_takes_nothing_and_has_hung_up_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a virtio port does while no host is connected to it."""

    def takes_nothing(descriptor: int, data: object) -> int:
        raise BlockingIOError(descriptor, data)

    near, far = socket.socketpair()
    stream = ByteStream("virtio port", near.detach())
    far.close()
    monkeypatch.setattr(os, "write", takes_nothing)
    with pytest.raises(StreamError, match="virtio port: nobody reads"):
        stream.write(b"hello")
    stream.close()


def test_a_port_behind_the_network_by_rfc_2217() -> None:
    """pyserial's own server side, in front of a port that gives back what it is given."""
    port = serial.serial_for_url("loop://", 115_200, timeout=0.05)
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        connection = listener.accept()[0]
        connection.settimeout(0.05)

        class Connection:
            def write(self, data: bytes) -> None:
                connection.sendall(data)

        manager = PortManager(port, Connection())  # type: ignore[arg-type]  # any port and writer will do
        while not ended.is_set():
            try:
                data = connection.recv(1000)
                if not data:
                    break
                port.write(b"".join(manager.filter(data)))
            except TimeoutError:
                pass
            sent = port.read(1000)
            if sent:
                connection.sendall(b"".join(manager.escape(sent)))
        connection.close()

    serving = threading.Thread(target=serve)
    serving.start()
    stream = open_stream(f"rfc2217://127.0.0.1:{listener.getsockname()[1]}", 57_600)
    for data in (b"\xff\x00 there and back", bytes(range(256))):
        stream.write(data)
        assert read_exactly(stream, len(data)) == data
    assert port.baudrate == 57_600
    stream.close()
    ended.set()
    serving.join()
    listener.close()
    port.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("/dev/ttyNONE7", "No such file or directory; check the path and that the device is plugged in"),
        ("socket://127.0.0.1:1", "Connection refused; start the program that serves this port"),
        ("socket://127.0.0.1", "an address like socket://HOST:PORT is wanted"),
        ("socket://127.0.0.1:x", "check the address"),
        ("rfc2217://127.0.0.1:1", "127.0.0.1"),
        ("/", "is no device"),
    ],
)
def test_what_cannot_be_opened_is_named_with_the_mend(address: str, message: str) -> None:
    with pytest.raises(StreamError, match=rf"^{re.escape(address)}: .*{re.escape(message)}"):
        open_stream(address, 9600)


def test_a_host_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_arguments: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(
        StreamError, match=r"^socket://nowhere\.invalid:1: Name or service not known; check the host's name"
    ):
        open_stream("socket://nowhere.invalid:1", 9600)


def test_a_plain_file_is_no_device(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    with pytest.raises(StreamError, match="is no device; give /dev/"):
        open_stream(str(file), 9600)
