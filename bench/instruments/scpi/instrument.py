"""An instrument without I/O: a line comes in, an answer goes out.

What all instruments share is here: the error queue, the status registers and the common commands of
IEEE 488.2 (chapter 10 and 11) and the SYSTem commands of SCPI-99 (volume 2, chapter 21).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.instruments.scpi.error import ErrorQueue, ScpiError
from bench.instruments.scpi.parameter import none, only, whole
from bench.instruments.scpi.syntax import units_of
from bench.instruments.scpi.tree import Call, CommandTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.instruments.scpi.syntax import Unit

LONGEST_LINE: Final = 1024
"""Characters of a line that an instrument takes; more overrun its input buffer."""

REST_NS: Final = 100_000_000
"""How long an instrument in which nothing moves may stand still."""

MOST_UNITS: Final = 64
"""Commands of one line that are carried out; more overrun its input buffer likewise."""

_OPERATION_COMPLETE: Final = 1 << 0
_DEVICE_ERROR: Final = 1 << 3
_EXECUTION_ERROR: Final = 1 << 4
_COMMAND_ERROR: Final = 1 << 5
_POWER_ON: Final = 1 << 7
_ERRORS_WAIT: Final = 1 << 2
_EVENT_SUMMARY: Final = 1 << 5
_SERVICE_REQUEST: Final = 1 << 6


@dataclass(frozen=True, slots=True)
class Identification:
    """What *IDN? tells (IEEE 488.2, 10.14)."""

    manufacturer: str
    model: str
    serial: str
    firmware: str

    def __str__(self) -> str:
        return ",".join((self.manufacturer, self.model, self.serial, self.firmware))


class ScpiInstrument:
    """One instrument. Kinds of instrument add their commands to `tree` and say what *RST does to them.

    `handle` takes a line at `now_ns`, and `advance` lets time pass between lines; time never runs back.
    """

    def __init__(self, identification: Identification) -> None:
        self.identification = identification
        self.tree = CommandTree()
        self.now_ns = 0
        self._errors = ErrorQueue()
        self._event_status = _POWER_ON
        self._event_enable = 0
        self._service_enable = 0
        self._common: dict[tuple[str, bool], Callable[[Call], str | None]] = {
            ("IDN", True): lambda call: self._told(call, str(self.identification)),
            ("OPC", True): lambda call: self._told(call, "1"),
            ("TST", True): lambda call: self._told(call, "0"),
            ("ESR", True): self._read_event_status,
            ("ESE", True): lambda call: self._told(call, str(self._event_enable)),
            ("SRE", True): lambda call: self._told(call, str(self._service_enable)),
            ("STB", True): lambda call: self._told(call, str(self.status_byte)),
            ("RST", False): self._common_reset,
            ("CLS", False): self._clear_status,
            ("OPC", False): self._complete_operation,
            ("WAI", False): lambda call: none(call.parameters),
            ("ESE", False): self._enable_events,
            ("SRE", False): self._enable_service,
        }
        self.tree.add(":SYSTem:ERRor[:NEXT]", query=lambda call: self._told(call, self._errors.next()))
        self.tree.add(":SYSTem:ERRor:COUNt", query=lambda call: self._told(call, str(len(self._errors))))
        self.tree.add(":SYSTem:VERSion", query=lambda call: self._told(call, "1999.0"))

    def reset(self) -> None:
        """What *RST does: nothing, unless the kind of instrument says so."""

    @property
    def due_ns(self) -> int:
        """When the instrument wants time to pass at the latest, though nobody asks it."""
        return self.now_ns + REST_NS

    def elapse(self, now_ns: int) -> None:
        """Let the instrument's inside pass from `self.now_ns` to `now_ns`."""

    def advance(self, now_ns: int) -> None:
        """Let time pass; a time before the last one counts as the last one."""
        if now_ns > self.now_ns:
            self.elapse(now_ns)
            self.now_ns = now_ns

    def handle(self, line: str, now_ns: int) -> str | None:
        """Carry out one line, without its line end; the answers of its queries, or None when there are none.

        Nothing that comes in raises: errors go to the queue and the event status register.
        """
        self.advance(now_ns)
        if len(line) > LONGEST_LINE:
            self.overrun()
            return None
        answers: list[str] = []
        try:
            for number, unit in enumerate(units_of(line)):
                if number == MOST_UNITS:
                    raise ScpiError(-363)
                try:
                    answer = self._answer(unit)
                except ScpiError as error:
                    if error.is_command_error:
                        raise
                    self.note(error.code)
                else:
                    answers += [] if answer is None else [answer]
        except ScpiError as error:
            self.note(error.code)
        return ";".join(answers) if answers else None

    def overrun(self) -> None:
        """More came in than the input buffer holds."""
        self.note(-363)

    def note(self, code: int) -> None:
        """Put an error into the queue and its class into the event status register."""
        self._errors.append(code)
        if code > -200:
            self._event_status |= _COMMAND_ERROR
        elif code > -300:
            self._event_status |= _EXECUTION_ERROR
        else:
            self._event_status |= _DEVICE_ERROR

    @property
    def errors_waiting(self) -> int:
        """Entries in the error queue."""
        return len(self._errors)

    @property
    def status_byte(self) -> int:
        """The status byte (IEEE 488.2, 11.2), with bit 2 of SCPI-99 for the error queue."""
        byte = _ERRORS_WAIT if len(self._errors) else 0
        byte |= _EVENT_SUMMARY if self._event_status & self._event_enable else 0
        return byte | (_SERVICE_REQUEST if byte & self._service_enable else 0)

    def _answer(self, unit: Unit) -> str | None:
        if not unit.is_common:
            return self.tree.answer(unit)
        (mnemonic,) = unit.path
        handler = self._common.get((mnemonic.word, unit.is_query))
        if handler is None or mnemonic.suffix is not None:
            raise ScpiError(-113)
        return handler(Call((), unit.parameters))

    @staticmethod
    def _told(call: Call, answer: str) -> str:
        none(call.parameters)
        return answer

    def _read_event_status(self, call: Call) -> str:
        none(call.parameters)
        status, self._event_status = self._event_status, 0
        return str(status)

    def _common_reset(self, call: Call) -> None:
        none(call.parameters)
        self.reset()

    def _clear_status(self, call: Call) -> None:
        none(call.parameters)
        self._errors.clear()
        self._event_status = 0

    def _complete_operation(self, call: Call) -> None:
        none(call.parameters)
        self._event_status |= _OPERATION_COMPLETE

    def _enable_events(self, call: Call) -> None:
        self._event_enable = whole(only(call.parameters), 0, 255)

    def _enable_service(self, call: Call) -> None:
        self._service_enable = whole(only(call.parameters), 0, 255) & ~_SERVICE_REQUEST
