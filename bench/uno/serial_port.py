"""The serial port of any Uno, real or emulated, by pyserial: `/dev/ttyACM0`, a pty, `rfc2217://`, `socket://`.

What goes wrong with a port is an InfrastructureError that names the seat, what was found, and the mend.
"""

import contextlib
import errno
import grp
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import serial
from serial.tools import list_ports

from bench.rig.infrastructure import InfrastructureError
from bench.uno.boot_loader import BAUD

_LINE_LIMIT: Final = 200
_LOG_LINES: Final = 1000
_TOLD_LINES: Final = 3
_POLL_S: Final = 0.1
_DTR_LOW_S: Final = 0.05
"""Long enough for 100 nF on RESET to charge again."""
_CLOSED_S: Final = 0.1
"""How long a port without modem lines is closed for a reset."""

Listener = Callable[[str], object]


class PortMissingError(InfrastructureError):
    """There is no such port, or nobody serves it."""


class PortForbiddenError(InfrastructureError):
    """The port is there, and this user may not open it."""


class PortBusyError(InfrastructureError):
    """Somebody else has the port open."""


class PortLostError(InfrastructureError):
    """The port went away while it was in use."""


class BoardSilentError(InfrastructureError):
    """The board did not say what was waited for."""


def is_path(url: str) -> bool:
    """Whether it names a device of this host, and not a port that is served somewhere."""
    return "://" not in url


def check_port(seat: str, url: str) -> None:
    """Raise what opening the port would, as far as it can be told without opening and so resetting it."""
    if not is_path(url):
        return
    path = Path(url)
    if not path.exists():
        there = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        raise PortMissingError(
            seat,
            f"there is no port {url} (serial ports here: {there})",
            "plug the board in, or correct its port",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise _forbidden(seat, url)
    holders = [holder for holder in _holders(path) if holder[0] != os.getpid()]
    if holders:
        told = ", ".join(f"{name} (process {pid})" for pid, name in holders)
        raise PortBusyError(seat, f"{url} is in use by {told}", "end that first", retry_helps=True)


def open_serial(seat: str, url: str) -> serial.Serial:
    """The port by pyserial; a device of this host exclusively. Raises InfrastructureError."""
    try:
        port = serial.serial_for_url(url, baudrate=BAUD, timeout=_POLL_S, do_not_open=True)
        if is_path(url):
            port.exclusive = True
        port.open()
    except (OSError, ValueError) as error:
        raise _open_failure(seat, url, error) from error
    return port


class UnoPort:
    """A port that is opened exclusively, with its console read continuously by a thread of its own.

    `listener` is called in that thread with every line. As on any Uno, opening resets the board.
    """

    def __init__(self, url: str, seat: str = "uno", listener: Listener | None = None) -> None:
        self.url = url
        self.seat = seat
        self._listener = listener
        self._serial: serial.Serial | None = None
        self._reader: threading.Thread | None = None
        self._closing = False
        self._news = threading.Condition()
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._said = 0
        self._taken = 0
        self._failure: InfrastructureError | None = None

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def open(self) -> None:
        """Open the port and begin to read. Raises InfrastructureError."""
        assert self._serial is None, f"{self.url} is open already"
        check_port(self.seat, self.url)
        self._serial = open_serial(self.seat, self.url)
        self._failure = None
        self._closing = False
        self._reader = threading.Thread(target=self._read_on, name=f"console of {self.seat}", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Let go of the port; what was read stays in `log`."""
        self._closing = True
        if self._reader is not None:
            self._reader.join()
            self._reader = None
        if self._serial is not None:
            with contextlib.suppress(OSError):  # lost already
                self._serial.close()
            self._serial = None

    def reset(self) -> None:
        """Reset the board by DTR; where the line has none, by closing and opening again.

        `expect` then takes what is said from here on.
        """
        port = self._port()
        if not self._toggles_dtr(port):
            self.close()
            time.sleep(_CLOSED_S)
            self._forget()
            self.open()

    def send(self, data: bytes) -> None:
        """Bytes to the board."""
        try:
            self._port().write(data)
        except OSError as error:
            raise self._lost(error) from error

    def expect(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """The next line whose beginning the pattern matches; lines before it are passed over.

        Raises BoardSilentError when none comes in time, and PortLostError.
        """
        compiled = re.compile(pattern)
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            heard_from = self._taken
            while True:
                for line in self._untaken():
                    if match := compiled.match(line):
                        return match
                if self._failure is not None:
                    raise self._failure
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or self._serial is None:
                    raise self._silent(pattern, timeout_s, self._said - heard_from)
                self._news.wait(left_s)

    @property
    def log(self) -> tuple[str, ...]:
        """The newest lines of the console, over all openings."""
        with self._news:
            return tuple(self._lines)

    @property
    def failure(self) -> InfrastructureError | None:
        """What has ended the reading, if anything did."""
        return self._failure

    # ---- opening and reset ----

    def _port(self) -> serial.Serial:
        if self._failure is not None:
            raise self._failure
        assert self._serial is not None, f"{self.url} is not open"
        return self._serial

    def _toggles_dtr(self, port: serial.Serial) -> bool:
        if self.url.startswith("socket://"):
            return False
        try:
            port.dtr = False
            time.sleep(_DTR_LOW_S)
            self._forget()
            port.dtr = True
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):  # a pty
                return False
            raise self._lost(error) from error
        return True

    def _lost(self, error: Exception) -> PortLostError:
        return PortLostError(
            self.seat,
            f"{self.url} went away while in use ({error})",
            "see to its cable and plug it in again",
            retry_helps=True,
        )

    # ---- reading ----

    def _read_on(self) -> None:
        port = self._serial
        assert port is not None
        text = bytearray()
        while not self._closing:
            try:
                data = port.read(max(1, port.in_waiting))
            except (OSError, TypeError) as error:  # TypeError: pyserial, when its descriptor is gone
                with self._news:
                    self._failure = self._lost(error)
                    self._news.notify_all()
                return
            for byte in data:
                if byte != ord("\n"):
                    text.append(byte)
                if byte == ord("\n") or len(text) == _LINE_LIMIT:
                    self._take(text.decode("ascii", "replace").rstrip("\r"))
                    text.clear()

    def _take(self, line: str) -> None:
        with self._news:
            self._lines.append(line)
            self._said += 1
            self._news.notify_all()
        if self._listener is not None:
            self._listener(line)

    def _untaken(self) -> Iterator[str]:
        while self._taken < self._said:
            behind = min(self._said - self._taken, len(self._lines))
            self._taken = self._said - behind + 1
            yield self._lines[-behind]

    def _forget(self) -> None:
        with self._news:
            self._taken = self._said

    def _silent(self, pattern: str, timeout_s: float, heard: int) -> BoardSilentError:
        said = [repr(line) for line in list(self._lines)[-min(heard, _TOLD_LINES) :]] if heard else []
        told = f"it said {', '.join(said)}" if said else "it said nothing"
        return BoardSilentError(
            self.seat,
            f"waited {timeout_s:g} s at {self.url} for a line like {pattern!r}; {told}",
            "see that the board has power and runs the bench's firmware",
            retry_helps=True,
        )


def _open_failure(seat: str, url: str, error: OSError | ValueError) -> InfrastructureError:
    code = getattr(error, "errno", None)
    if code in (errno.EAGAIN, errno.EBUSY):
        mend = "end what has it open (fuser tells)"
        return PortBusyError(seat, f"{url} is in use", mend, retry_helps=True)
    if code in (errno.EACCES, errno.EPERM):
        return _forbidden(seat, url)
    if is_path(url):
        mend = "plug the board in again, or correct its port"
    else:
        mend = "start what serves it there, see that no other client has it, or correct its address"
    return PortMissingError(seat, f"{url} cannot be opened ({error})", mend, retry_helps=True)


def _forbidden(seat: str, url: str) -> PortForbiddenError:
    return PortForbiddenError(
        seat,
        f"this user may not open {url}",
        f"join its group and log in again: sudo usermod --append --groups {_group_of(url)} $USER",
    )


def _group_of(url: str) -> str:
    """Whose members may open a port: on Debian dialout, unless the device itself says otherwise."""
    with contextlib.suppress(OSError, KeyError):
        status = os.stat(url)
        if status.st_gid and status.st_mode & 0o060 == 0o060:
            return grp.getgrgid(status.st_gid).gr_name
    return "dialout"


def _holders(path: Path) -> Iterator[tuple[int, str]]:
    """Processes that have the device open, as far as this user may see: id and name."""
    wanted = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(link) == wanted for link in (process / "fd").iterdir()):
                yield int(process.name), (process / "comm").read_text().strip()
