"""One sitting with a board: runs it at a pace, carries its serial port, and says when it goes wrong."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from bench.uno.atmega328p import CLOCK_HZ, Stop
from bench.uno.workshop.board import Board
from bench.uno.workshop.defect import RestartWatch, told_fault, told_place
from bench.workshop.pace import Pace
from bench.workshop.serial_line import SerialLine

_JUMPS_COUNTED_CYCLES: Final = 2 * CLOCK_HZ
"""Counting jumps to address 0 costs speed: by default it is done while a program starts."""


class FirmwareError(RuntimeError):
    """The firmware did what none should; the message says what, where and when."""


class Watch(Protocol):
    """Looks at the chip now and then."""

    def look(self) -> str | None:
        """A sentence when something is wrong."""


class Session:
    """Runs a board in slices until the end."""

    def __init__(
        self,
        board: Board,
        line: SerialLine,
        pace: Pace,
        until_cycle: int,
        tell: Callable[[str], None],
        watches: Sequence[Watch] = (),
        after_slice: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.board = board
        self.until_cycle = until_cycle
        self.pace = pace
        self._line = line
        self._tell = tell
        self._restarts = RestartWatch(board.chip, board.image)
        self._watches = (self._restarts, *watches)
        self._after_slice = after_slice
        self._last_stop = Stop.LIMIT
        board.chip.counts_jumps = True

    @property
    def is_over(self) -> bool:
        """The end was reached."""
        return self.board.chip.cycle >= self.until_cycle

    def run(self) -> None:
        """To the end. Raises FirmwareError."""
        self.pace.restart(self.board.chip.cycle)
        while not self.is_over:
            self.run_slice()
        if self._last_stop is Stop.HALT:
            chip = self.board.chip
            self._tell(f"sleeps with nothing to wake it, at {self.place(chip.program_counter, chip.cycle)}")

    def run_slice(self) -> Stop:
        """A short while. Returns as `Board.run` does; raises FirmwareError."""
        chip = self.board.chip
        chip.counts_jumps = chip.counts_jumps and chip.cycle < _JUMPS_COUNTED_CYCLES
        self.board.type(self._line.read())
        stop = self.board.run(min(chip.cycle + self.pace.slice_cycles, self.until_cycle))
        self._last_stop = stop
        self.settle()
        self.pace.keep(chip.cycle)
        return stop

    def settle(self) -> None:
        """Passes on what has come out of the board, and looks for defects."""
        if self.board.console:
            self._line.write(bytes(self.board.console))
            self.board.console.clear()
        for action in self._after_slice:
            action()
        fault = self.board.chip.fault
        if fault is not None:
            raise FirmwareError(told_fault(self.board.image, fault))
        for watch in self._watches:
            sentence = watch.look()
            if sentence:
                raise FirmwareError(sentence)
        for sentence in self._restarts.news:
            self._tell(sentence)
        self._restarts.news.clear()

    def place(self, program_counter: int, cycle: int) -> str:
        """Where and when, told with the symbol."""
        return told_place(self.board.image, program_counter, cycle)
