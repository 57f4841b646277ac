"""A TCP port on this computer where GDB takes the chip in hand."""

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Final

from bench.uno.atmega328p import ResetCause
from bench.uno.workshop.debugger import Debugger, Signal, Wish
from bench.workshop.session import FirmwareError, Session

_HOST: Final = "127.0.0.1"
_AT_ONCE: Final = 4096


class PortError(RuntimeError):
    """The port cannot be had; the message says which and why."""


class GdbPort:
    """Listens from the moment it is made; `number` is the port, also when any free one was asked for (0)."""

    def __init__(self, number: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((_HOST, number))
        except (OSError, OverflowError) as error:
            raise PortError(f"cannot listen on {_HOST}:{number}: {error}; choose another port") from error
        self._listener.listen(1)
        self.number = int(self._listener.getsockname()[1])

    def serve(self, session: Session, tell: Callable[[str], None]) -> None:
        """Waits for GDB, then does as it wants; without GDB again, runs to the session's end.

        Raises FirmwareError when the firmware failed, after GDB has seen it.
        """
        tell(f"waiting for GDB: target remote {_HOST}:{self.number}")
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ended = _Seat(connection, session).serve()
        if not ended:
            session.run()


class _Seat:
    """One GDB at one session."""

    def __init__(self, connection: socket.socket, session: Session) -> None:
        self._connection = connection
        self._session = session
        self._chip = session.board.chip
        self._debugger = Debugger(session.board.chip, session.board.image)
        self._error: FirmwareError | None = None

    def serve(self) -> bool:
        """Until GDB leaves (False) or the session ends (True)."""
        running = False
        try:
            while True:
                wish = self._debugger.take_wish()
                if wish is Wish.STAY and not self._exchange(wait=not running):
                    wish = Wish.DETACH
                if wish in (Wish.DETACH, Wish.KILL):
                    return self._leave(wish)
                if wish is Wish.RESET:
                    self._chip.reset(ResetCause.EXTERNAL)
                elif wish is Wish.INTERRUPT and running:
                    running = self._stop(Signal.INTERRUPT)
                elif wish is Wish.STEP:
                    self._step()
                elif wish is Wish.CONTINUE:
                    self._session.pace.restart(self._chip.cycle)
                    running = True
                elif running:
                    running = self._run_slice()
                if self._session.is_over:
                    self._debugger.exited(0 if self._error is None else 1)
                    return self._leave(Wish.KILL)
        except ConnectionError:
            return self._leave(Wish.DETACH)

    def _leave(self, wish: Wish) -> bool:
        with contextlib.suppress(ConnectionError):
            self._connection.sendall(self._debugger.take_output())
        if self._error is not None:
            raise self._error
        return wish is Wish.KILL

    def _exchange(self, *, wait: bool) -> bool:
        """Sends what there is and takes what came; False when GDB has gone."""
        self._connection.sendall(self._debugger.take_output())
        if not select.select([self._connection], [], [], None if wait else 0)[0]:
            return True
        data = self._connection.recv(_AT_ONCE)
        self._debugger.receive(data)
        self._connection.sendall(self._debugger.take_output())
        return bool(data)

    def _run_slice(self) -> bool:
        """Whether the chip is to run on."""
        try:
            self._session.run_slice()
        except FirmwareError as error:
            return self._fail(error)
        if self._session.board.is_interrupted:
            return self._stop(Signal.TRAP)
        return True

    def _step(self) -> None:
        try:
            self._session.board.step(self._session.until_cycle)
            self._session.settle()
        except FirmwareError as error:
            self._fail(error)
        else:
            self._stop(Signal.TRAP)

    def _fail(self, error: FirmwareError) -> bool:
        self._error = error
        self._debugger.tell(str(error))
        fault = self._chip.fault
        illegal = fault is not None and fault.kind == "illegal_opcode"
        return self._stop(Signal.ILLEGAL_INSTRUCTION if illegal else Signal.SEGMENTATION)

    def _stop(self, signal: Signal) -> bool:
        self._debugger.stopped(signal)
        return False
