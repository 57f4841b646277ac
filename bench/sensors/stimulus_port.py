"""The stimulus Uno from the host's side: a second board that plays pulses into a metering Uno's pins.

The host sends pulses ahead of time and learns what became of each. What was played, and when, is the truth
that the oracle holds registers against, so that nothing rests on the host having kept time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import serial

from bench.rig.infrastructure import InfrastructureError
from bench.sensors.stimulus_clock import (
    ClockContradictionError,
    ClockEstimate,
    RoundTrip,
    estimate_clock,
)
from bench.sensors.stimulus_frame import (
    LATEST_TICKS,
    LINES,
    NS_PER_TICK,
    PROTOCOL_VERSION,
    PULSES_PER_REQUEST,
    FrameFormatError,
    FrameReader,
    Greeting,
    Outcome,
    QueuedPulse,
    Refusal,
    Request,
    State,
    answer_body,
    framed,
    play_body,
    read_greeting,
    read_state,
    read_times,
    request,
)
from bench.sensors.stimulus_schedule import Performance, Schedule, Unplayed, performance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Answer = TypeVar("_Answer")

_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000

_ANSWER_WITHIN_NS: Final = 400 * _NS_PER_MS
_TRIES: Final = 5
_GREETING_WITHIN_NS: Final = 8 * _NS_PER_S
"""A board that is reset by the opening of its port spends up to 2 s in its boot loader."""

_ROUND_TRIPS_KEPT: Final = 32
_FIRST_ROUND_TRIPS: Final = 16
_FIRST_SPACING_NS: Final = 100 * _NS_PER_MS
_SYNC_EVERY_NS: Final = 2 * _NS_PER_S
LOOKAHEAD_NS: Final = 2 * _NS_PER_S
"""How far ahead pulses are sent."""
_FULL_QUEUE_AGAIN_NS: Final = 100 * _NS_PER_MS
_NOTHING_MORE_NS: Final = 3600 * _NS_PER_S
_RESTART_NS: Final = 1 * _NS_PER_S
"""A clock cannot be this far from its estimate unless it began anew."""

_FLASH_IT = (
    "flash the stimulus sketch (firmware/stimulus/README.md) or give the port of the board that has it"
)

_REASONS: Final = {
    Outcome.HALTED: "given up by a halt",
    Outcome.OVERLAP: "its line was still low",
    Outcome.MISSED: "it reached the Uno after its time",
}


class StimulusError(InfrastructureError):
    """The stimulus Uno cannot be used, or failed while it played."""


class Line(Protocol):
    """A serial line."""

    def write(self, data: bytes) -> None:
        """Put bytes on it. Raises StimulusError."""

    def read(self, timeout_ns: int) -> bytes:
        """What has come; waits for the first byte this long at most. Raises StimulusError."""


class SerialLine:
    """A port that pyserial opens: a device, ``socket://``, ``rfc2217://``.

    It may be closed while another thread uses it, which then gets a StimulusError.
    """

    def __init__(self, seat: str, url: str) -> None:
        """Open it; a device of this host exclusively. Raises StimulusError."""
        self._seat, self._url = seat, url
        self._in_use = Lock()
        self._is_closed = False
        try:
            self._port = serial.serial_for_url(url, baudrate=115_200, timeout=0, do_not_open=True)
            if "://" not in url:
                self._port.exclusive = True
            self._port.open()
        except (serial.SerialException, OSError, ValueError) as error:
            raise StimulusError(
                seat,
                f"{url} cannot be opened: {error}",
                "check the cable, the port in the rig file, and that nothing else holds it",
                retry_helps=True,
            ) from None

    def write(self, data: bytes) -> None:
        """Put bytes on it."""
        with self._use() as port:
            port.write(data)

    def read(self, timeout_ns: int) -> bytes:
        """What has come; waits for the first byte this long at most."""
        with self._use() as port:
            port.timeout = timeout_ns / _NS_PER_S
            first: bytes = port.read(1)
            if not first:
                return b""
            port.timeout = 0
            rest: bytes = port.read(4096)
            return first + rest

    def close(self) -> None:
        """Give the port back, when a read that is under way has ended."""
        self._is_closed = True
        with self._in_use, contextlib.suppress(serial.SerialException, OSError):  # lost already
            self._port.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[serial.Serial]:
        """The port, open meanwhile."""
        with self._in_use:
            if self._is_closed:
                raise StimulusError(
                    self._seat,
                    f"{self._url} was closed while in use",
                    "play the trial again",
                    retry_helps=True,
                )
            try:
                yield self._port
            except (serial.SerialException, OSError) as error:
                raise self._lost(error) from None

    def _lost(self, error: Exception) -> StimulusError:
        return StimulusError(
            self._seat, f"{self._url} was lost: {error}", "check the cable and power", retry_helps=True
        )


class StimulusPort:
    """Questions to the stimulus Uno and its answers.

    `now_ns` is the world's time. Damaged and lost frames are repeated; `repeats` counts them.
    """

    def __init__(self, seat: str, line: Line, now_ns: Callable[[], int]) -> None:
        self.seat = seat
        self.repeats = 0
        self._line = line
        self._now_ns = now_ns
        self._reader = FrameReader()
        self._tag = 0
        self._trips: deque[RoundTrip] = deque(maxlen=_ROUND_TRIPS_KEPT)
        self._clock: ClockEstimate | None = None

    @property
    def clock(self) -> ClockEstimate:
        """The Uno's clock by the latest `synchronise`, for some time ahead."""
        assert self._clock is not None, "ask for the time first"
        return self._clock

    def past_clock(self) -> ClockEstimate:
        """The same for what lies before that, and so is known better. Takes two calls of `synchronise`."""
        return estimate_clock(tuple(self._trips), NS_PER_TICK, 0)

    def greet(self) -> Greeting:
        """Wait for the sketch and begin anew with it. Raises StimulusError when it is not there."""
        deadline_ns = self._now_ns() + _GREETING_WITHIN_NS
        while self._now_ns() < deadline_ns:
            body = self._asked(Request.HELLO, b"")
            if body is not None:
                return self._welcomed(body)
        heard = self._reader.text
        raise StimulusError(
            self.seat,
            f"is not the stimulus sketch, but says {heard.splitlines()[-1]!r}"
            if heard
            else "does not answer",
            _FLASH_IT,
            retry_helps=not heard,
        )

    def _welcomed(self, body: bytes) -> Greeting:
        try:
            greeting = read_greeting(body)
        except FrameFormatError as error:
            raise StimulusError(
                self.seat, f"is not the stimulus sketch, but sends {error}", _FLASH_IT
            ) from None
        if (greeting.version, greeting.lines) != (PROTOCOL_VERSION, LINES):
            raise StimulusError(
                self.seat,
                f"speaks protocol {greeting.version} with {greeting.lines} lines; this bench speaks "
                f"{PROTOCOL_VERSION} with {LINES}",
                "flash the stimulus sketch of this bench",
            )
        self._trips.clear()
        self._clock = None
        return greeting

    def synchronise(self) -> None:
        """Ask for the time once, and estimate the clock anew. Raises StimulusError."""
        for _ in range(_TRIES):
            asked_ns = self._now_ns()
            body = self._asked(Request.SYNC, b"")
            heard_ns = self._now_ns()
            if body is not None:
                break
        else:
            raise self._silent()
        times = self._understood(read_times, body)
        # The first answer begins the count, whatever the Uno's own says.
        received = self.whole_tick(times.received, asked_ns) if self._clock else times.received
        answered = received + (times.answered - times.received) % 2**32
        self._trips.append(RoundTrip(asked_ns, received, answered, heard_ns))
        try:
            self._clock = estimate_clock(tuple(self._trips), NS_PER_TICK, 2 * LOOKAHEAD_NS)
        except ClockContradictionError as error:
            raise StimulusError(
                self.seat, f"its clock cannot be: {error}", "replace the board, or its oscillator"
            ) from None

    def whole_tick(self, low: int, near_ns: int) -> int:
        """The tick behind its low 32 bits, near a world time. Raises StimulusError when it is not near."""
        expected = self.clock.tick_at(near_ns)
        tick = expected + (low - expected + 2**31) % 2**32 - 2**31
        if abs(tick - expected) * NS_PER_TICK > _RESTART_NS:
            raise self.restarted()
        return tick

    def play(
        self, acknowledged: int, horizon_tick: int, first: int, pulses: tuple[QueuedPulse, ...]
    ) -> State:
        """Hand over pulses, the first of which has this number. Raises StimulusError."""
        return self._state(Request.PLAY, play_body(acknowledged, horizon_tick, first, pulses))

    def halt(self) -> State:
        """Let go of all lines and give up what has not begun. Raises StimulusError."""
        return self._state(Request.HALT, b"")

    def restarted(self) -> StimulusError:
        """The error of a board that began anew while it played."""
        return StimulusError(
            self.seat,
            "began anew while it played: pulses that it held are lost",
            "check its power and that nothing else opens its port",
            retry_helps=True,
        )

    def _state(self, kind: Request, body: bytes) -> State:
        for _ in range(_TRIES):
            answer = self._asked(kind, body)
            if answer is not None:
                return self._understood(read_state, answer)
        raise self._silent()

    def _asked(self, kind: Request, body: bytes) -> bytes | None:
        """One try; None when no answer came in time."""
        self._tag = (self._tag + 1) % 256
        deadline_ns = self._now_ns() + _ANSWER_WITHIN_NS
        self._line.write(framed(request(kind, self._tag, body)))
        while (left_ns := deadline_ns - self._now_ns()) > 0:
            for content in self._reader.feed(self._line.read(left_ns)):
                answer = answer_body(content, kind, self._tag)
                if answer is not None:
                    return answer
        self.repeats += 1
        return None

    def _understood(self, read: Callable[[bytes], _Answer], body: bytes) -> _Answer:
        try:
            return read(body)
        except FrameFormatError as error:
            raise StimulusError(self.seat, f"sends {error}", _FLASH_IT) from None

    def _silent(self) -> StimulusError:
        return StimulusError(
            self.seat,
            f"does not answer any more, {_TRIES} times asked",
            "check its cable and power",
            retry_helps=True,
        )


class StimulusPlayer:
    """Plays one schedule on one stimulus Uno, and keeps the record of what was really played.

    It waits for nothing by itself: `advance` does what is due and tells when it wants to be called again.
    """

    def __init__(self, port: StimulusPort, schedule: Schedule, now_ns: Callable[[], int]) -> None:
        self._port = port
        self._schedule = schedule
        self._now_ns = now_ns
        self._capacity = 0
        self._trips_made = 0
        self._sync_due_ns = 0
        self._sent = 0
        self._known = 0
        self._ticks: deque[int] = deque()
        self._begun: deque[tuple[int, int]] = deque()  # (line, tick) of pulses whose time is not reckoned yet
        self._latest_tick = 0
        self._played: list[tuple[int, int]] = []
        self._unplayed: list[Unplayed] = []
        self._latest_ticks = 0
        self._underruns = 0
        self._uncertainty_ns = 0

    @property
    def is_over(self) -> bool:
        """The outcome of every pulse is known, and the last one has ended."""
        known = self._known == len(self._schedule) and not self._begun
        return known and self._now_ns() >= self._schedule.ends_ns

    def performance(self) -> Performance:
        """What is known by now."""
        return performance(
            self._schedule,
            self._played,
            self._unplayed,
            self._latest_ticks,
            self._underruns,
            self._uncertainty_ns,
        )

    def advance(self) -> int | None:
        """Do what is due; gives the world time of the next call, None when all is over.

        The first calls greet the Uno and find its clock, which takes 2 s, and 2 s more where opening the port
        has reset the board: begin that much before the first pulse. Raises StimulusError.
        """
        if not self._capacity:
            self._capacity = self._port.greet().capacity
        now_ns = self._now_ns()
        if now_ns >= self._sync_due_ns:
            self._synchronise()
            first = self._trips_made < _FIRST_ROUND_TRIPS
            self._sync_due_ns = now_ns + (_FIRST_SPACING_NS if first else _SYNC_EVERY_NS)
        if self._trips_made < _FIRST_ROUND_TRIPS:
            return self._sync_due_ns
        self._feed()
        if self.is_over:
            return None
        again_ns = LOOKAHEAD_NS // 4 if self._room else _FULL_QUEUE_AGAIN_NS
        return min(self._sync_due_ns, self._now_ns() + again_ns)

    def give_up(self) -> None:
        """Let go of all lines; what has begun by now stays in the record. Raises StimulusError."""
        if self._capacity:
            self._port.halt()
            while self._known < self._sent:
                self._exchange(0, self._now_ns())
            if self._begun:
                self._synchronise()

    def _synchronise(self) -> None:
        self._port.synchronise()
        self._trips_made += 1
        if not self._begun:
            return
        clock = self._port.past_clock()
        while self._begun and self._begun[0][1] <= clock.last_tick:
            line, tick = self._begun.popleft()
            self._played.append((line, clock.ns_at(tick)))
            # A tick from before all that is still known of the clock: a host that was away for a minute.
            error_ns = clock.error_ns_at(max(tick, clock.first_tick)) + NS_PER_TICK
            self._uncertainty_ns = max(self._uncertainty_ns, error_ns)

    @property
    def _room(self) -> int:
        return self._capacity - (self._sent - self._known)

    def _feed(self) -> None:
        horizon_ns = self._now_ns() + LOOKAHEAD_NS
        ready = self._schedule.before(horizon_ns)
        while True:
            count = min(ready - self._sent, self._room, PULSES_PER_REQUEST)
            self._exchange(count, self._told_until_ns(self._sent + count, horizon_ns))
            if self._sent == ready or not self._room:
                return

    def _told_until_ns(self, sent: int, horizon_ns: int) -> int:
        """World time before which there is nothing but the first `sent` pulses."""
        if sent == len(self._schedule):
            return horizon_ns + _NOTHING_MORE_NS
        return min(horizon_ns, self._schedule.pulse(sent).start_ns)

    def _exchange(self, count: int, told_until_ns: int) -> None:
        clock = self._port.clock
        batch = tuple(self._queued(index, clock) for index in range(self._sent, self._sent + count))
        state = self._port.play(self._known, clock.tick_at(told_until_ns), self._sent, batch)
        self._port.whole_tick(state.tick, self._now_ns())
        if state.refusals & ~Refusal.ROOM:
            raise StimulusError(
                self._port.seat, f"refused pulses: {state.refusals!r}", "report this as a defect of the bench"
            )
        appended = self._sent + (state.appended - self._sent) % 2**16
        if appended > self._sent + count:
            raise self._port.restarted()
        taken = appended - self._sent
        self._ticks.extend(pulse.start for pulse in batch[:taken])
        self._latest_tick = self._ticks[-1] if self._ticks else self._latest_tick
        self._sent = appended
        self._underruns = state.underruns
        self._learn(state)

    def _queued(self, index: int, clock: ClockEstimate) -> QueuedPulse:
        pulse = self._schedule.pulse(index)
        # A clock estimated anew may put a pulse before one that was sent by the old estimate.
        start = max(clock.tick_at(pulse.start_ns), self._latest_tick)
        return QueuedPulse(start, round(pulse.width_ns / NS_PER_TICK), pulse.line)

    def _learn(self, state: State) -> None:
        known_already = (self._known - state.acknowledged) % 2**16
        for outcome in state.outcomes[known_already:]:
            pulse, tick = self._schedule.pulse(self._known), self._ticks.popleft()
            if outcome <= LATEST_TICKS:
                self._begun.append((pulse.line, tick + outcome))
                self._latest_ticks = max(self._latest_ticks, outcome)
            else:
                self._unplayed.append(Unplayed(pulse, _REASONS[Outcome(outcome)]))
            self._known += 1


class BackgroundStimulus:
    """Lets a player play in a thread of its own, beside a trial on the wall clock."""

    def __init__(self, player: StimulusPlayer, now_ns: Callable[[], int]) -> None:
        self._player = player
        self._now_ns = now_ns
        self._stopped = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._play, name="stimulus", daemon=True)

    def start(self) -> None:
        """Begin; failures are told by `finish`."""
        self._thread.start()

    def finish(self) -> Performance:
        """Stop playing, if it is not over, and give the record. Raises what ended it: StimulusError."""
        self.stop()
        if self._error is not None:
            raise self._error
        return self._player.performance()

    def stop(self) -> None:
        """Stop playing, if it is not over. Where its line is closed, this does not wait for the Uno."""
        self._stopped.set()
        self._thread.join()

    def _play(self) -> None:
        try:
            while (again_ns := self._player.advance()) is not None:
                if self._stopped.wait(max(0, again_ns - self._now_ns()) / _NS_PER_S):
                    self._player.give_up()
                    return
        except BaseException as error:
            # A record that breaks off would pass for the truth.
            self._error = error
