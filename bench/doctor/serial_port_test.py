from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import serial
from serial.rfc2217 import PortManager

from bench.doctor import serial_port
from bench.doctor.finding import Finding, State
from bench.doctor.serial_port import far_finding, is_serial, near_finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65_534
_HOLD = (
    "import sys, serial; port = serial.Serial(sys.argv[1], exclusive={}); print('open', flush=True); input()"
)


@pytest.fixture
def port() -> Iterator[str]:
    """A pty, as the board behind it is seen by the host."""
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    yield path
    os.close(master)


def look(port: str) -> Finding:
    return near_finding(port)


@contextmanager
def held(port: str, *, exclusive: bool) -> Iterator[int]:
    """Another process that has the port open, by its id."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD.format(exclusive), port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        try:
            yield process.pid
        finally:
            process.kill()


def as_user(user: int, ask: Callable[[], Finding]) -> tuple[str, str]:
    """State and text of what another user finds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            finding = ask()
            os.write(writer, f"{finding.found}\n{finding.mend}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        found, _, mend = told.read().partition("\n")
    os.waitpid(child, 0)
    return found, mend


def test_a_port_that_is_there_and_free(port: str) -> None:
    assert look(port) == Finding(port, State.PRESENT, "free")


def test_looking_at_a_port_does_not_open_it(port: str) -> None:
    opened: list[str] = []
    watching = True

    # Audit hooks stay for good, so this one must know when it is over.
    def hook(event: str, given: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.append(str(given[0]))

    sys.addaudithook(hook)
    look(port)
    watching = False
    assert "/proc/locks" in opened
    assert port not in opened


def test_a_name_of_a_port_is_followed(port: str, tmp_path: Path) -> None:
    name = tmp_path / "usb-Arduino-if00"
    name.symlink_to(port)
    assert look(str(name)) == Finding(str(name), State.PRESENT, f"free ({port})")
    with held(port, exclusive=False) as pid:
        assert f"(process {pid})" in look(str(name)).found


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_busy_port_names_its_holder_once(port: str, exclusive: bool) -> None:
    with held(port, exclusive=exclusive) as pid:
        found = look(port)
    assert found.state is State.MISSING
    assert f"(process {pid})" in found.found
    assert found.found.count("process") == 1
    assert look(port).state is State.PRESENT


def test_a_lock_is_seen_where_open_files_are_not(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "check_port", lambda *_: None)
    with held(port, exclusive=True) as pid:
        assert look(port).found.startswith("locked by ")
        assert f"(process {pid})" in look(port).found
    with held(port, exclusive=False):
        assert look(port).state is State.PRESENT


def test_a_lock_file_counts_while_its_process_lives(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_port, "_LOCK_FILES", tmp_path)
    lock = tmp_path / f"LCK..{Path(port).name}"
    lock.write_text(f"{os.getpid():10d}\n")
    assert f"(process {os.getpid()})" in look(port).found
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    lock.write_text(f"{gone.pid:10d}\n")
    assert look(port).state is State.PRESENT
    lock.write_text("no number")
    assert look(port).state is State.PRESENT


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_told_the_group_to_join(port: str) -> None:
    os.chmod(port, 0o660)
    os.chown(port, 0, 20)  # dialout of Debian
    found, mend = as_user(NOBODY, lambda: look(port))
    assert found == f"this user may not open {port}"
    assert "dialout" in mend
    assert "log in again" in mend
    os.chmod(port, 0o666)
    assert as_user(NOBODY, lambda: look(port))[0] == "free"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/ptmx", "/etc/passwd", "/dev"])
def test_what_is_no_serial_port_is_told(path: str) -> None:
    assert look(path).found == "there, but no serial port"


def test_the_kernel_knows_serial_ports_by_their_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers = tmp_path / "drivers"
    drivers.write_text(
        "/dev/tty             /dev/tty        5       0 system:/dev/tty\n"
        "acm                  /dev/ttyACM   166 0-255 serial\n"
        "ttyprintk            /dev/ttyprintk   5       3 console\n"
        "unknown              /dev/tty        4 1-63 console\n"
    )
    monkeypatch.setattr(serial_port, "_DRIVERS", drivers)
    assert is_serial(os.makedev(166, 0))
    assert is_serial(os.makedev(166, 255))
    assert not is_serial(os.makedev(166, 256))
    assert not is_serial(os.makedev(4, 3))
    assert not is_serial(os.makedev(5, 0))
    assert not is_serial(os.makedev(1, 3))


def test_a_port_that_is_not_there_and_one_that_cannot_be() -> None:
    found = look("/dev/ttyACM4095")
    assert found.state is State.MISSING
    assert found.found.startswith("not there; this machine has ")
    assert look("loop://").found == "no port that a board can be at"


# Ports of other machines


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of one connection on the loopback, by its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(30)
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def export(connection: socket.socket) -> None:
    """What an exporter does: pyserial's own side of RFC 2217 that has the port."""

    class Line:
        def write(self, data: bytes) -> None:
            connection.sendall(data)

    with serial.serial_for_url("loop://") as board:
        manager: Any = PortManager(board, Line())  # type: ignore[arg-type]  # any writer will do
        while data := connection.recv(256):
            list(manager.filter(data))


def drain(connection: socket.socket) -> None:
    while connection.recv(256):
        pass


def test_a_port_behind_an_exporter_answers() -> None:
    with served(export) as number:
        found = far_finding(f"rfc2217://127.0.0.1:{number}")
    assert (found.state, found.found) == (State.PRESENT, "answers, speaks RFC 2217")


def test_a_plain_socket_answers_and_has_no_more_to_show() -> None:
    with served(drain) as number:
        assert far_finding(f"socket://127.0.0.1:{number}").found == "answers"


def test_what_does_not_speak_rfc_2217_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "_REPLY_WITHIN_S", 0.3)
    with served(drain) as number:
        found = far_finding(f"rfc2217://127.0.0.1:{number}")
    assert found.found == "answers, but does not speak RFC 2217"
    assert f"socket://127.0.0.1:{number}" in found.mend


def test_an_exporter_that_refuses_is_quoted() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"Port already in use\r\n")
        connection.shutdown(socket.SHUT_WR)
        drain(connection)

    with served(refuse) as number:
        found = far_finding(f"rfc2217://127.0.0.1:{number}")
    assert found.found == "answers and hangs up: Port already in use"


@pytest.mark.parametrize("scheme", ["rfc2217", "socket"])
def test_a_dead_port_and_one_without_a_number(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
    dead = far_finding(f"{scheme}://127.0.0.1:{number}")
    assert dead.found == f"127.0.0.1:{number} refuses: the host is there, but nothing listens"
    assert "exporter" in dead.mend
    for wrong in (f"{scheme}://127.0.0.1", f"{scheme}://127.0.0.1:70000", f"{scheme}://:7"):
        assert far_finding(wrong).found == "no host and port in it"


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = far_finding("rfc2217://exporter.example:4001")
    assert found.found == "the name exporter.example does not resolve (Name or service not known)"
