"""Instruments reached by PyVISA: opened by any VISA resource string, identified, and asked with care.

A query may be repeated, since asking changes nothing: after a time-out or a lost connection the link is
opened anew, so that a late answer is never taken for that of another query, and the query is sent once more.
What sets something is sent once. Every repetition is kept in `retries` for the report.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import pyvisa
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource
from pyvisa.rname import InvalidResourceName, ResourceName

from bench.instruments.decimals import LONGEST_NUMBER, DecimalError, read_counts
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_MS: Final = 2_000
"""How long an instrument may take for an answer, and a connection to come about."""

LONGEST_ANSWER: Final = 4_096
"""Bytes of an answer that are read at most; no query of the bench asks for more."""

MOST_ERRORS: Final = 32
"""Entries read from an instrument's error queue at once; queues hold 10 to 30."""

_LONGEST_REASON: Final = 200
_NO_ERROR: Final = re.compile(r"\+?0+(,.*)?", re.DOTALL)


class InstrumentError(InfrastructureError):
    """An instrument that cannot be used as it is asked to."""


class InstrumentUnreachableError(InstrumentError):
    """No such resource, nothing that listens there, no driver for its bus, or a connection that broke."""


class InstrumentTimeoutError(InstrumentError):
    """The instrument did not answer in time."""


class WrongInstrumentError(InstrumentError):
    """Something else answers there than the rig file says."""


class InstrumentRangeError(InstrumentError):
    """A value that the instrument cannot be set to."""


class InstrumentRefusalError(InstrumentError):
    """The instrument put errors into its queue."""


class InstrumentAnswerError(InstrumentError):
    """An answer that is not what the query asks for."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A query that was sent again, and why."""

    seat: str
    query: str
    reason: str


class VisaLink(Closable):
    """One open instrument. Safe for several threads; `exclusive` keeps others out over several messages.

    Opened by `open_link`. `retry_queries` False sends every query once.
    """

    def __init__(
        self,
        seat: str,
        resource: str,
        *,
        timeout_ms: int = TIMEOUT_MS,
        backend: str = "@py",
        termination: str = "\n",
        baud_rate: int | None = None,
        error_query: str = "SYST:ERR?",
        retry_queries: bool = True,
    ) -> None:
        self.seat = seat
        self.resource = resource
        self.identification = ""
        """What the instrument told of itself, once it is identified."""
        self.identity_query = "*IDN?"
        """What it was asked for that."""
        self.retries: list[Retry] = []
        """Queries that were repeated."""
        self.error_query = error_query
        self._timeout_ms = timeout_ms
        self._backend = backend
        self._termination = termination
        self._baud_rate = baud_rate
        self._retry_queries = retry_queries
        self._lock = threading.RLock()
        self._session: MessageBasedResource | None = None
        self._open()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads out over several messages that belong together."""
        with self._lock:
            yield

    def query(self, message: str, *, repeats: bool = True) -> str:
        """Ask, and give the answer without its end; `repeats` False never asks twice.

        Raises InstrumentTimeoutError, InstrumentUnreachableError or InstrumentAnswerError.
        """
        with self._lock:
            try:
                return self._ask(message)
            except (InstrumentTimeoutError, InstrumentUnreachableError) as error:
                self._drop()
                if not (repeats and self._retry_queries):
                    raise
                self.retries.append(Retry(self.seat, message, error.what))
            return self._again(message)

    def write(self, message: str) -> None:
        """Send what sets something, once, and read the error queue.

        Raises InstrumentRefusalError when the instrument notes an error, InstrumentTimeoutError or
        InstrumentUnreachableError when it stays open whether the message took effect.
        """
        with self._lock:
            try:
                self._send(message)
                self.check(message)
            except (InstrumentTimeoutError, InstrumentUnreachableError) as error:
                self._drop()
                raise type(error)(
                    self.seat,
                    f"{error.what}, after {message!r} was sent, which may or may not have taken effect",
                    "bring the instrument to a known state before going on",
                    retry_helps=True,
                ) from None

    def check(self, message: str) -> None:
        """Read the error queue empty. Raises InstrumentRefusalError, naming `message`, unless it was."""
        errors = []
        for _ in range(MOST_ERRORS):
            # Reading takes an entry out of the queue: asked twice, an error could be lost.
            answer = self.query(self.error_query, repeats=False)
            if _NO_ERROR.fullmatch(answer):
                break
            errors.append(answer)
        if errors:
            raise InstrumentRefusalError(
                self.seat,
                f"{message!r} was answered by the error queue with {'; '.join(errors)}",
                "look these up in the instrument's manual (-113 and 113: it has no such command)",
            )

    def counts(self, message: str, places: int) -> int:
        """Ask for a number, in counts of 10^-places of its unit. Raises InstrumentAnswerError besides."""
        answer = self.query(message)
        try:
            return read_counts(answer, places)
        except DecimalError:
            raise self.odd(message, answer, "a number") from None

    def odd(self, message: str, answer: str, expected: str) -> InstrumentAnswerError:
        """The error for an answer that cannot be: to be raised."""
        return InstrumentAnswerError(
            self.seat,
            f"{message!r} was answered with {shown(answer)}, where {expected} was expected",
            f"check that {self.resource} is the instrument the rig file means",
        )

    def close(self) -> None:
        """Close the connection; the link opens it again when it is used."""
        with self._lock:
            self._drop()

    # The connection

    def _again(self, message: str) -> str:
        """The second attempt of a query, on a new connection to the same instrument."""
        self._open()
        if self.identification:
            told = self._ask(self.identity_query)
            if told != self.identification:
                self._drop()
                raise WrongInstrumentError(
                    self.seat,
                    f"{self.resource} told {shown(self.identification)} at first and {shown(told)} now",
                    "put the instrument back, or start anew with the other one",
                )
        return self._ask(message)

    def _open(self) -> None:
        try:
            ResourceName.from_string(self.resource)
        except InvalidResourceName:
            raise InstrumentUnreachableError(
                self.seat,
                f"{self.resource!r} is no VISA resource",
                "write one as TCPIP::192.0.2.7::5025::SOCKET, TCPIP::192.0.2.7::INSTR, "
                "USB0::0x1AB1::0x0E11::DP8C000000::INSTR or ASRL/dev/ttyUSB0::INSTR",
            ) from None
        try:
            session = pyvisa.ResourceManager(self._backend).open_resource(
                self.resource, open_timeout=self._timeout_ms
            )
        # The backend raises bare Exceptions besides VisaIOError, OSError and ValueError.
        except Exception as error:
            raise self._unreachable(error) from None
        if not isinstance(session, MessageBasedResource):
            session.close()
            raise InstrumentUnreachableError(
                self.seat, f"{self.resource} takes no messages", "name a resource of the kind INSTR or SOCKET"
            )
        _send_at_once(session)
        self._session = session
        session.timeout = self._timeout_ms
        session.read_termination = session.write_termination = self._termination
        if self._baud_rate is not None and hasattr(session, "baud_rate"):
            session.baud_rate = self._baud_rate

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):
                session.close()

    def _send(self, message: str) -> MessageBasedResource:
        if self._session is None:
            self._open()
        session = cast("MessageBasedResource", self._session)
        try:
            session.write(message)
        except (pyvisa.VisaIOError, OSError) as error:
            raise self._failed(message, error) from None
        return session

    def _ask(self, message: str) -> str:
        session = self._send(message)
        try:
            raw = session.read_bytes(LONGEST_ANSWER, break_on_termchar=True)
        except (pyvisa.VisaIOError, OSError) as error:
            raise self._failed(message, error) from None
        end = self._termination.encode()
        if not raw.endswith(end):
            self._drop()
            raise self.odd(message, raw.decode("ascii", "replace"), f"an answer that ends with {end!r}")
        return raw.decode("ascii", "replace").strip()

    def _failed(self, message: str, error: Exception) -> InstrumentError:
        if isinstance(error, pyvisa.VisaIOError) and error.error_code == StatusCode.error_timeout:
            return InstrumentTimeoutError(
                self.seat,
                f"{self.resource} gave no answer to {message!r} within {self._timeout_ms} ms",
                "check that it is on, that its line end is a newline and that nobody else talks to it",
                retry_helps=True,
            )
        return self._unreachable(error)

    def _unreachable(self, error: Exception) -> InstrumentUnreachableError:
        reason, mend, retry_helps = _reason(error)
        return InstrumentUnreachableError(
            self.seat, f"{self.resource} cannot be reached: {reason}", mend, retry_helps=retry_helps
        )


def _send_at_once(session: MessageBasedResource) -> None:
    """Switch Nagle's algorithm off, which holds the query after a set back for 40 ms.

    VISA's attribute for it (VI_ATTR_TCPIP_NODELAY) cannot be set in pyvisa-py, so this goes to its socket.
    """
    sessions = getattr(session.visalib, "sessions", {})
    interface = getattr(sessions.get(session.session), "interface", None)
    if isinstance(interface, socket.socket):
        interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: Exception) -> tuple[str, str, bool]:
    """Why a resource cannot be reached, what mends it, and whether trying again may help."""
    text = str(error).splitlines()[0][:_LONGEST_REASON] if str(error) else type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there", "switch the instrument on, check its port and its LAN settings", True
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return (
            "no permission",
            "add the user to the group dialout, or give it the USB device by a udev rule",
            False,
        )
    if isinstance(error, ValueError) and "install" in text:
        return text, "install that package beside the bench", False
    if "Name or service not known" in text or "name resolution" in text:
        return "its host name is not known", "check the host in the rig file", False
    if "error_timeout" in text:
        return "no connection came about in time", "check that the host is on and its address is right", True
    if isinstance(error, pyvisa.VisaIOError):
        return error.abbreviation, "check the cable and the resource in the rig file", True
    return text, "check the cable, the host and the resource in the rig file", isinstance(error, OSError)


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of instrument, and the models of it that the bench's driver is written for."""

    noun: str
    models: re.Pattern[str]
    """Searched for in the answer to *IDN?."""
    examples: str


def identify(link: VisaLink, kind: Kind, identity: str = "", *, query: str = "*IDN?") -> str:
    """Ask who is there, keep it in the link, and clear its status.

    With `identity` the answer has to contain that text; without, one of the models the driver knows.
    Raises WrongInstrumentError, saying what was told.
    """
    told = link.query(query)
    fits = identity.lower() in told.lower() if identity else kind.models.search(told) is not None
    if not fits:
        link.close()
        expected = (
            f"an instrument that tells {identity!r}" if identity else f"a {kind.noun} ({kind.examples})"
        )
        raise WrongInstrumentError(
            link.seat,
            f"{link.resource} told {shown(told)} to {query}, expected {expected}",
            "name the right resource; for a model that takes the same commands, say in the rig file what it"
            ' tells: identity = "..."',
        )
    link.identity_query, link.identification = query, told
    return told


def shown(text: str) -> str:
    """A text from outside, short and harmless enough for a message."""
    short = text if len(text) <= 2 * LONGEST_NUMBER else text[: 2 * LONGEST_NUMBER] + "..."
    return repr(short)
