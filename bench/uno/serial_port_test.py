"""Ports that are missing, forbidden, busy, pulled or silent, and ports that work: real descriptors all."""

import contextlib
import grp
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator

import pytest

from bench.uno.conftest import KEY, Desk, firmware, programmed
from bench.uno.provisioning import Provisioning
from bench.uno.serial_port import (
    BoardSilentError,
    PortBusyError,
    PortForbiddenError,
    PortLostError,
    PortMissingError,
    UnoPort,
    check_port,
)
from bench.world.patience import until

PATIENCE_S = 60
HOLD = """
import os, sys, time
os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
print("held", flush=True)
time.sleep(600)
"""


class FarEnd:
    """The other side of a pty, in a test's hand."""

    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)

    def say(self, text: str) -> None:
        os.write(self.master, text.encode())

    def pull(self) -> None:
        for descriptor in (self.master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def far_end() -> Iterator[FarEnd]:
    end = FarEnd()
    yield end
    end.pull()


def test_a_missing_port_is_named() -> None:
    with pytest.raises(PortMissingError) as caught:
        UnoPort("/dev/ttyACM99", "east/uno-1").open()
    told = str(caught.value)
    assert told.startswith("east/uno-1: there is no port /dev/ttyACM99 (serial ports here: ")
    assert told.endswith("; plug the board in, or correct its port")
    assert not caught.value.retry_helps


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_port_that_nobody_serves_is_named(scheme: str) -> None:
    with pytest.raises(PortMissingError, match="start what serves it there") as caught:
        UnoPort(f"{scheme}://127.0.0.1:9").open()
    assert caught.value.retry_helps


def test_a_url_of_no_known_kind_is_named() -> None:
    with pytest.raises(PortMissingError, match="carrier-pigeon://x cannot be opened"):
        UnoPort("carrier-pigeon://x").open()


def test_a_port_of_another_group_is_forbidden(far_end: FarEnd) -> None:
    """As an ordinary user finds it, in a process that has become one."""
    if os.geteuid() == 0:
        os.chown(far_end.path, -1, grp.getgrnam("dialout").gr_gid)
        os.chmod(far_end.path, 0o660)
    else:
        os.chmod(far_end.path, 0)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65_534)
                os.setuid(65_534)
            check_port("uno", far_end.path)
        except PortForbiddenError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    told = os.read(reader, 1000).decode()
    os.close(reader)
    assert told.startswith(f"uno: this user may not open {far_end.path}; join its group and log in again: ")
    assert "usermod --append --groups dialout " in told


def test_a_busy_port_is_named_with_who_holds_it(far_end: FarEnd) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, far_end.path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(PortBusyError) as caught:
            UnoPort(far_end.path).open()
        holder.send_signal(signal.SIGTERM)
    assert re.search(rf"is in use by python\S* \(process {holder.pid}\); end that first", str(caught.value))
    assert caught.value.retry_helps


def test_this_process_holds_it_only_once(far_end: FarEnd) -> None:
    with UnoPort(far_end.path), pytest.raises(PortBusyError, match="is in use; end what has it open"):
        UnoPort(far_end.path).open()
    with UnoPort(far_end.path):
        pass


def test_lines_are_heard_logged_and_taken_in_turn(far_end: FarEnd) -> None:
    heard: list[str] = []
    with UnoPort(far_end.path, listener=heard.append) as port:
        far_end.say("one\r\ntwo 2\r\n\xff\r\nthree")
        assert port.expect(r"two (\d)", PATIENCE_S)[1] == "2"
        with pytest.raises(BoardSilentError):
            port.expect("one", 0.01)
        far_end.say(" halves\r\n")
        assert port.expect("three", PATIENCE_S).string == "three halves"
    assert heard == ["one", "two 2", "\ufffd\ufffd", "three halves"]
    assert port.log == tuple(heard)


def test_the_log_and_a_line_are_bounded(far_end: FarEnd) -> None:
    with UnoPort(far_end.path) as port:

        def babble() -> None:
            for number in range(1500):
                far_end.say(f"{number}\n")
            far_end.say("x" * 450 + "\n")

        babbler = threading.Thread(target=babble)
        babbler.start()
        port.expect("x{50}$", PATIENCE_S)
        babbler.join()
    assert len(port.log) == 1000
    assert port.log[-3:] == ("x" * 200, "x" * 200, "x" * 50)
    assert port.log[-4] == "1499"


def test_silence_is_told_with_what_was_said(far_end: FarEnd) -> None:
    with UnoPort(far_end.path, "uno-3") as port:
        with pytest.raises(BoardSilentError, match="for a line like 'uno '; it said nothing"):
            port.expect("uno ", 0.05)
        far_end.say("hello\nworld\n")
        until(lambda: len(port.log) == 2, PATIENCE_S)
        with pytest.raises(BoardSilentError, match="it said 'hello', 'world'; see that the board has power"):
            port.expect("uno ", 0.05)


def test_a_port_that_is_unplugged_ends_the_waiting(far_end: FarEnd) -> None:
    with UnoPort(far_end.path, "uno-2") as port:
        pulled = threading.Timer(0.1, far_end.pull)
        pulled.start()
        with pytest.raises(
            PortLostError, match=r"uno-2: .* went away while in use .*; see to its cable"
        ) as caught:
            port.expect("never", PATIENCE_S)
        pulled.join()
        assert caught.value.retry_helps
        assert port.failure is caught.value
        with pytest.raises(PortLostError):
            port.reset()
        with pytest.raises(PortLostError):
            port.send(b"x")


@pytest.mark.parametrize("kind", ["pty", "rfc2217", "socket"])
def test_a_reset_is_a_reset_on_every_kind_of_port(desk: Desk, kind: str) -> None:
    board = desk.running(programmed(firmware(), Provisioning(uno_id=7, key=KEY, interval_s=1)))
    url = board.port if kind == "pty" else board.serve("rfc2217" if kind == "rfc2217" else "socket")
    with UnoPort(url) as port:
        first = port.expect(r"uno 7 collect, epoch (\d+)", PATIENCE_S)
        for number in (1, 2):
            port.reset()
            again = port.expect(r"uno 7 collect, epoch (\d+)", PATIENCE_S)
            assert int(again[1]) == int(first[1]) + number


@pytest.mark.parametrize("kind", ["pty", "rfc2217", "socket"])
def test_a_board_that_is_taken_away_is_noticed_on_every_kind_of_port(desk: Desk, kind: str) -> None:
    board = desk.running()
    url = board.port if kind == "pty" else board.serve("rfc2217" if kind == "rfc2217" else "socket")
    with UnoPort(url) as port:
        until(lambda: board.dtr, PATIENCE_S)
        board.close()
        with pytest.raises(PortLostError):
            port.expect("never", PATIENCE_S)
