"""The server, by plain sockets: what PyVISA does with it is tested with the drivers."""

from __future__ import annotations

import socket
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bench.instruments.scpi.instrument import LONGEST_LINE, Identification, ScpiInstrument
from bench.instruments.scpi.server import MOST_CLIENTS, ScpiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.instruments.conftest import Eventually

DEADLINE_S = 30


class Clocked(ScpiInstrument):
    """An instrument that tells how far its time has come."""

    def __init__(self) -> None:
        super().__init__(Identification("M", "CLOCK", "0", "0"))
        self.steps_ns: list[int] = []

    def elapse(self, now_ns: int) -> None:
        self.steps_ns.append(now_ns)


@pytest.fixture
def instrument() -> Clocked:
    return Clocked()


@pytest.fixture
def server(instrument: Clocked) -> Iterator[ScpiServer]:
    with ScpiServer([instrument]) as running:
        yield running


def connect(server: ScpiServer, instrument: ScpiInstrument) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port_of(instrument)), timeout=DEADLINE_S)


def _ask_in_vain(server: ScpiServer, instrument: ScpiInstrument) -> None:
    while True:
        with connect(server, instrument) as connection:
            connection.sendall(b"*OPC?\n")
            assert connection.recv(1) == b""


def _flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"*IDN?;" * 60 + b"\n")


def line_from(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as answers:
        return answers.readline()


def test_lines_may_come_in_pieces_and_several_at_once(server: ScpiServer, instrument: Clocked) -> None:
    with connect(server, instrument) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"*ID")
        connection.sendall(b"N?\r\n*OPC?\n*OP")
        assert answers.readline() == b"M,CLOCK,0,0\n"
        assert answers.readline() == b"1\n"
        connection.sendall(b"C?;*OPC?\n")
        assert answers.readline() == b"1;1\n"


def test_too_long_a_line_is_dropped_to_its_end(server: ScpiServer, instrument: Clocked) -> None:
    with connect(server, instrument) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"*OPC?;" * LONGEST_LINE)
        connection.sendall(b"*OPC?\nSYST:ERR?;ERR?\n")
        assert answers.readline() == b'-363,"Input buffer overrun";0,"No error"\n'


def test_bytes_that_are_no_text_are_an_error(server: ScpiServer, instrument: Clocked) -> None:
    with connect(server, instrument) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"\xff\xfe\x00\n*IDN?\n")
        assert answers.readline() == b"M,CLOCK,0,0\n"
        connection.sendall(b"SYST:ERR?\n")
        assert answers.readline() == b'-101,"Invalid character"\n'


@pytest.mark.usefixtures("server")
def test_time_passes_while_nobody_asks(instrument: Clocked, eventually: Eventually) -> None:
    eventually(lambda: len(instrument.steps_ns) >= 3)
    assert all(earlier < later for earlier, later in pairwise(instrument.steps_ns))


def test_instruments_have_ports_of_their_own() -> None:
    first, second = Clocked(), ScpiInstrument(Identification("M", "OTHER", "0", "0"))
    with ScpiServer([first, second]) as server:
        assert server.resource_of(first) == f"TCPIP::127.0.0.1::{server.port_of(first)}::SOCKET"
        with connect(server, second) as connection:
            connection.sendall(b"*IDN?\n")
            assert line_from(connection) == b"M,OTHER,0,0\n"


def test_clients_beyond_the_limit_are_turned_away_until_one_leaves(
    server: ScpiServer, instrument: Clocked
) -> None:
    clients = [connect(server, instrument) for _ in range(MOST_CLIENTS)]
    for client in clients:
        client.sendall(b"*OPC?\n")
        assert line_from(client) == b"1\n"
    with connect(server, instrument) as refused:
        assert refused.recv(1) == b""
    clients.pop().close()
    while True:
        with connect(server, instrument) as taken:
            try:
                taken.sendall(b"*OPC?\n")
                answer = taken.recv(8)
            except ConnectionError:
                continue
            if answer == b"1\n":
                break
    for client in clients:
        client.close()


def test_a_client_that_reads_nothing_is_dropped_and_the_others_served(
    server: ScpiServer, instrument: Clocked
) -> None:
    with closing(connect(server, instrument)) as deaf, connect(server, instrument) as other:
        with pytest.raises(ConnectionError):
            _flood(deaf)
        other.sendall(b"*OPC?\n")
        assert line_from(other) == b"1\n"


def test_a_defect_of_an_instrument_is_kept_and_ends_the_server(
    instrument: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    defect = ArithmeticError("a board that cannot count")

    def fail(_now_ns: int) -> None:
        raise defect

    monkeypatch.setattr(instrument, "elapse", fail)
    with ScpiServer([instrument]) as server:
        with pytest.raises(ConnectionError):
            _ask_in_vain(server, instrument)
        assert server.failure is defect


def test_closing_ends_the_thread_and_frees_the_port(instrument: Clocked) -> None:
    server = ScpiServer([instrument])
    port = server.port_of(instrument)
    with connect(server, instrument) as connection:
        server.close()
        assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
