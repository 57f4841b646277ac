"""The host's side over a real socket, to the real sketch on an emulated chip that is paced to the wall clock.

What it does in virtual time, exactly, is tested beside the sketch (firmware/stimulus).
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.sensors.s0 import S0Output, S0Signal
from bench.sensors.stimulus_frame import LINES, Request, framed
from bench.sensors.stimulus_port import (
    BackgroundStimulus,
    SerialLine,
    StimulusError,
    StimulusPlayer,
    StimulusPort,
)
from bench.sensors.stimulus_schedule import Schedule, ScheduleError
from bench.uno.atmega328p import CLOCK_HZ, Pin, Stop
from bench.uno.build import ARDUINO, PACKAGES, build_stimulus
from bench.uno.workshop.inspection import InspectedAtmega328p

if TYPE_CHECKING:
    from collections.abc import Iterator

NS_PER_S = 1_000_000_000
needs_avr = pytest.mark.skipif(
    shutil.which("avr-gcc") is None or not ARDUINO.is_dir(), reason=f"needs the Debian packages {PACKAGES}"
)


class Board:
    """The stimulus sketch behind a TCP port, never ahead of the wall clock."""

    def __init__(self) -> None:
        self.core = InspectedAtmega328p(build_stimulus().flash)
        self.core.set_pin(Pin.PD3, True)
        self.core.log_pins()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.began_ns = 0

    def __enter__(self) -> Board:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._server.close()

    def falls_ns(self) -> list[int]:
        changes = self.core.take_pin_changes()
        return [
            self.began_ns + change.cycle * NS_PER_S // CLOCK_HZ
            for change in changes
            if change.pin is Pin.PD3 and not change.high
        ]

    def _serve(self) -> None:
        self._server.settimeout(30)
        connection, _ = self._server.accept()
        self.began_ns = time.monotonic_ns()
        with connection:
            while not self._stopped.is_set():
                if select.select([connection], [], [], 0.002)[0]:
                    data = connection.recv(4096)
                    if not data:
                        return
                    self.core.uart_send(data)
                self._follow(connection)

    def _follow(self, connection: socket.socket) -> None:
        now = (time.monotonic_ns() - self.began_ns) * CLOCK_HZ // NS_PER_S
        while self.core.cycle < now:
            if self.core.run(now) is Stop.UART:
                with contextlib.suppress(OSError):
                    connection.sendall(bytes([self.core.uart_byte]))


@pytest.fixture
def board() -> Iterator[Board]:
    with Board() as made:
        yield made


def signal(starts_ms: range, duration_ns: int = 3 * NS_PER_S) -> S0Signal:
    starts_ns = np.array([t * 1_000_000 for t in starts_ms], dtype=np.int64)
    return S0Signal("sensor", S0Output(), duration_ns, starts_ns, 0, ())


@needs_avr
def test_a_thread_plays_a_schedule_on_the_wall_clock(board: Board) -> None:
    line = SerialLine("stimulus", board.url)
    schedule = Schedule.of({0: signal(range(0, 1_500, 75))}, time.monotonic_ns() + 5 * NS_PER_S)
    player = StimulusPlayer(StimulusPort("stimulus", line, time.monotonic_ns), schedule, time.monotonic_ns)
    background = BackgroundStimulus(player, time.monotonic_ns)
    background.start()
    deadline_ns = time.monotonic_ns() + 60 * NS_PER_S
    while not player.is_over and time.monotonic_ns() < deadline_ns:
        time.sleep(0.05)
    record = background.finish()
    line.close()
    told = record.signals[0].starts_ns + schedule.began_ns
    falls = np.array(board.falls_ns())
    assert len(told) + len(record.unplayed) == 20
    assert len(falls) == len(told)
    # The board is never ahead of the wall clock; where this host is slow, it is behind, and seen to be.
    assert (told >= falls - record.uncertainty_ns).all()


@needs_avr
def test_one_that_is_stopped_early_tells_what_it_has_played(board: Board) -> None:
    line = SerialLine("stimulus", board.url)
    schedule = Schedule.of({0: signal(range(0, 60_000, 100))}, time.monotonic_ns() + 4 * NS_PER_S)
    player = StimulusPlayer(StimulusPort("stimulus", line, time.monotonic_ns), schedule, time.monotonic_ns)
    background = BackgroundStimulus(player, time.monotonic_ns)
    background.start()
    deadline_ns = time.monotonic_ns() + 60 * NS_PER_S
    while not len(player.performance().signals[0].starts_ns) and time.monotonic_ns() < deadline_ns:
        time.sleep(0.05)
    record = background.finish()
    line.close()
    played = len(record.signals[0].starts_ns)
    assert 0 < played < 600
    assert {unplayed.reason for unplayed in record.unplayed} <= {
        "given up by a halt",
        "it reached the Uno after its time",
    }
    assert "given up by a halt" in {unplayed.reason for unplayed in record.unplayed}
    assert len(board.falls_ns()) == played


@pytest.fixture
def silent() -> Iterator[tuple[int, str]]:
    """A port at which nobody answers: where the questions arrive, and its path."""
    master, slave = os.openpty()
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_closing_its_line_ends_a_player_although_its_time_stands_still(silent: tuple[int, str]) -> None:
    questions, path = silent
    line = SerialLine("stimulus", path)
    schedule = Schedule.of({0: signal(range(0, 1_500, 75))}, 0)
    player = StimulusPlayer(StimulusPort("stimulus", line, lambda: 0), schedule, lambda: 0)
    background = BackgroundStimulus(player, lambda: 0)
    background.start()
    assert os.read(questions, 1)
    line.close()
    background.stop()
    background.stop()
    assert "stimulus" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(StimulusError, match="was closed while in use"):
        background.finish()
    SerialLine("stimulus", path).close()


def test_whatever_ends_a_player_is_told(silent: tuple[int, str]) -> None:
    def broken_clock() -> int:
        raise OverflowError("the world has ended")

    _, path = silent
    line = SerialLine("stimulus", path)
    player = StimulusPlayer(
        StimulusPort("stimulus", line, broken_clock),
        Schedule.of({0: signal(range(0, 150, 75))}, 0),
        broken_clock,
    )
    background = BackgroundStimulus(player, broken_clock)
    background.start()
    with pytest.raises(OverflowError, match="the world has ended"):
        background.finish()
    line.close()


def test_a_line_is_closed_once_and_used_no_more(silent: tuple[int, str]) -> None:
    _, path = silent
    line = SerialLine("stimulus", path)
    line.close()
    line.close()
    with pytest.raises(StimulusError, match=f"{path} was closed while in use"):
        line.read(0)
    with pytest.raises(StimulusError, match=f"{path} was closed while in use"):
        line.write(b"")


class ScriptedLine:
    """Answers by a script; time passes as it is waited for."""

    def __init__(self, *answers: bytes) -> None:
        self.t_ns = 0
        self._answers = list(answers)

    def now_ns(self) -> int:
        return self.t_ns

    def write(self, data: bytes) -> None:
        self.tag = data[3]

    def read(self, timeout_ns: int) -> bytes:
        self.t_ns += timeout_ns
        return self._answers.pop(0).replace(b"TAG", bytes([self.tag])) if self._answers else b""


@pytest.mark.parametrize(
    ("answers", "message", "retry_helps"),
    [
        ((), "stimulus: does not answer; flash the stimulus sketch", True),
        ((b"hello from my blink\r\n",), "is not the stimulus sketch, but says 'hello from my blink'", False),
        ((b"\xff\x00\xfe",), "does not answer|but says", True),
    ],
)
def test_what_is_not_the_sketch_is_named(answers: tuple[bytes, ...], message: str, retry_helps: bool) -> None:
    line = ScriptedLine(*answers)
    with pytest.raises(StimulusError, match=message) as caught:
        StimulusPort("stimulus", line, line.now_ns).greet()
    if answers != (b"\xff\x00\xfe",):
        assert caught.value.retry_helps is retry_helps


def test_another_protocol_is_named() -> None:
    """The first request of a port has tag 1."""
    line = ScriptedLine(framed(bytes([Request.HELLO | 0x80, 1]) + b"STIM\x02\x0c\x80\x40"))
    with pytest.raises(StimulusError, match="speaks protocol 2 with 12 lines; this bench speaks 1 with 12"):
        StimulusPort("stimulus", line, line.now_ns).greet()


def test_a_board_that_falls_silent_is_named() -> None:
    line = ScriptedLine(framed(bytes([Request.HELLO | 0x80, 1]) + b"STIM\x01\x0c\x80\x40"))
    port = StimulusPort("stimulus", line, line.now_ns)
    port.greet()
    with pytest.raises(StimulusError, match="does not answer any more, 5 times asked") as caught:
        port.synchronise()
    assert caught.value.retry_helps
    assert port.repeats == 5


def test_a_port_that_is_not_there_is_named() -> None:
    with pytest.raises(StimulusError, match="cannot be opened") as caught:
        SerialLine("stimulus", "socket://127.0.0.1:1")
    assert caught.value.retry_helps


def test_a_port_that_is_held_by_another_is_named() -> None:
    master, slave = os.openpty()
    held = SerialLine("stimulus", os.ttyname(slave))
    with pytest.raises(StimulusError, match=r"cannot be opened.*nothing else holds it"):
        SerialLine("stimulus", os.ttyname(slave))
    held.close()
    SerialLine("stimulus", os.ttyname(slave)).close()
    os.close(slave)
    os.close(master)


def test_what_cannot_be_played_is_refused() -> None:
    with pytest.raises(ScheduleError, match=rf"sensor: line {LINES}; a stimulus Uno has 0 to {LINES - 1}"):
        Schedule.of({LINES: signal(range(1))}, 0)
    long = S0Signal("sensor", S0Output(width_ns=300_000_000), NS_PER_S, np.empty(0, np.int64), 0, ())
    with pytest.raises(
        ScheduleError, match="pulses of 300000000 ns; a stimulus Uno plays 262140000 ns at most"
    ):
        Schedule.of({0: long}, 0)


def test_a_schedule_is_in_the_order_of_starts() -> None:
    schedule = Schedule.of({3: signal(range(0, 1000, 100)), 1: signal(range(50, 1000, 100))}, 7)
    pulses = [schedule.pulse(index) for index in range(len(schedule))]
    assert [pulse.start_ns for pulse in pulses] == [7 + t * 1_000_000 for t in range(0, 1000, 50)]
    assert [pulse.line for pulse in pulses] == [3, 1] * 10
    assert schedule.before(7 + 100_000_000) == 2
    assert schedule.ends_ns == 7 + 3 * NS_PER_S + 40_000_000
