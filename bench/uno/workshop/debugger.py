"""The chip's side of GDB's remote serial protocol, without a socket: bytes in, bytes out.

Protocol: "Debugging with GDB", appendix E. Registers and address spaces are those of avr-gdb: r0 to r31,
SREG, SP (2 bytes), PC (4 bytes, a byte address); flash from 0, data space from 0x800000, EEPROM from
0x810000.
"""

import enum
import re
from collections.abc import Callable
from typing import Final

from bench.uno.atmega328p import DATA_SPACE_BYTES, EEPROM_BYTES, FLASH_BYTES, CoreError
from bench.uno.image import FirmwareImage
from bench.uno.workshop.inspection import InspectedAtmega328p

DATA_SPACE: Final = 0x800000
EEPROM_SPACE: Final = 0x810000

_STATUS_REGISTER: Final = 32
_STACK_POINTER: Final = 33
_PROGRAM_COUNTER: Final = 34
_REGISTER_BYTES: Final = {_STATUS_REGISTER: 1, _STACK_POINTER: 2, _PROGRAM_COUNTER: 4}
_REGISTERS: Final = range(35)
_PACKET_BYTES: Final = 4096
_PACKET: Final = re.compile(rb"\$([^#]*)#([0-9a-fA-F]{2})", re.DOTALL)
_INTERRUPT: Final = 0x03
_BREAKPOINTS: Final = ("0", "1")
_WRITE_WATCHPOINT: Final = "2"
_REFUSED: Final = b"E01"
_UNKNOWN: Final = b""


class Wish(enum.Enum):
    """What GDB wants the chip to do next."""

    STAY = enum.auto()
    CONTINUE = enum.auto()
    STEP = enum.auto()
    INTERRUPT = enum.auto()
    DETACH = enum.auto()
    KILL = enum.auto()
    RESET = enum.auto()


class Signal(enum.IntEnum):
    """Why the chip stopped, in GDB's numbers."""

    INTERRUPT = 2
    ILLEGAL_INSTRUCTION = 4
    TRAP = 5
    SEGMENTATION = 11


class Debugger:
    """Answers GDB from a chip that stands still, and tells what GDB wants it to do.

    `receive` takes what came over the line; `take_wish` tells what to do, `take_output` what to send.
    """

    def __init__(self, chip: InspectedAtmega328p, image: FirmwareImage) -> None:
        self._chip = chip
        self._flash = image.flash.ljust(FLASH_BYTES, b"\xff")
        self._input = bytearray()
        self._output = bytearray()
        self._wishes: list[Wish] = []
        self._acknowledges = True
        self._last_stop = _stop_reply(Signal.TRAP)
        self._commands: dict[str, Callable[[str], bytes | None]] = {
            "?": lambda _: self._last_stop,
            "g": lambda _: b"".join(self._read_register(number) for number in _REGISTERS).hex().encode(),
            "G": self._write_registers,
            "p": lambda text: self._read_register(int(text, 16)).hex().encode(),
            "P": self._write_one_register,
            "m": self._read_memory,
            "M": self._write_memory,
            "c": lambda text: self._resume(Wish.CONTINUE, text),
            "s": lambda text: self._resume(Wish.STEP, text),
            "C": lambda _: self._resume(Wish.CONTINUE, ""),
            "S": lambda _: self._resume(Wish.STEP, ""),
            "Z": lambda text: self._breakpoint(text, chip.set_breakpoint, chip.watch_data),
            "z": lambda text: self._breakpoint(text, chip.clear_breakpoint, chip.unwatch_data),
            "H": lambda _: b"OK",
            "T": lambda _: b"OK",
            "D": self._detach,
            "k": self._kill,
            "q": self._query,
            "Q": self._set,
            "v": self._verbose,
        }

    def receive(self, data: bytes) -> None:
        """Bytes from GDB. Whole packets are answered at once; Ctrl-C is taken between packets."""
        self._input += data
        while self._input:
            if self._input[0] == _INTERRUPT:
                self._wishes.append(Wish.INTERRUPT)
                del self._input[0]
            elif self._input[0] == ord("$"):
                match = _PACKET.match(self._input)
                if match is None:
                    return
                body, checksum = match.group(1), int(match.group(2), 16)
                del self._input[: match.end()]
                self._take_packet(body, checksum)
            else:
                del self._input[0]

    def take_output(self) -> bytes:
        """What to send to GDB."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def take_wish(self) -> Wish:
        """The next thing to do; STAY when there is none."""
        return self._wishes.pop(0) if self._wishes else Wish.STAY

    def stopped(self, signal: Signal) -> None:
        """The chip has stopped after CONTINUE or STEP."""
        changed = self._chip.changed_address
        self._last_stop = _stop_reply(signal)
        if changed is not None:
            self._last_stop = f"T{signal:02x}watch:{DATA_SPACE + changed:x};".encode()
        self._send(self._last_stop)

    def exited(self, status: int) -> None:
        """The session is over."""
        self._send(f"W{status:02x}".encode())

    def tell(self, text: str) -> None:
        """Shows a line at GDB's console; only while GDB waits for the chip to stop."""
        self._send(b"O" + f"{text}\n".encode().hex().encode())

    # ---- packets ----

    def _take_packet(self, body: bytes, checksum: int) -> None:
        if self._acknowledges:
            if sum(body) & 0xFF != checksum:
                self._output += b"-"
                return
            self._output += b"+"
        text = body.decode("latin-1")
        command = self._commands.get(text[:1])
        try:
            answer = _UNKNOWN if command is None else command(text[1:])
        except (CoreError, ValueError, IndexError, KeyError):
            answer = _REFUSED
        if answer is not None:
            self._send(answer)
        if text == "QStartNoAckMode":
            self._acknowledges = False

    def _send(self, body: bytes) -> None:
        self._output += b"$" + body + f"#{sum(body) & 0xFF:02x}".encode()

    def _resume(self, wish: Wish, address: str) -> None:
        if address:
            self._chip.program_counter = int(address, 16)
        self._wishes.append(wish)

    def _detach(self, _: str) -> bytes:
        self._wishes.append(Wish.DETACH)
        return b"OK"

    def _kill(self, _: str) -> None:
        self._wishes.append(Wish.KILL)

    def _breakpoint(self, text: str, act: Callable[[int], None], watch: Callable[[int, int], None]) -> bytes:
        kind, address, count = text.split(",", 2)
        if kind in _BREAKPOINTS:
            act(int(address, 16))
        elif kind == _WRITE_WATCHPOINT:
            watch(int(address, 16) - DATA_SPACE, int(count, 16))
        else:
            return _UNKNOWN
        return b"OK"

    def _query(self, text: str) -> bytes:
        if text.startswith("Supported"):
            return f"PacketSize={_PACKET_BYTES:x};QStartNoAckMode+;vContSupported+".encode()
        if text.startswith("Rcmd,"):
            return self._monitor(bytes.fromhex(text.removeprefix("Rcmd,")).decode())
        answers = {"Attached": b"1", "C": b"QC1", "fThreadInfo": b"m1", "sThreadInfo": b"l"}
        return answers.get(text, _UNKNOWN)

    def _set(self, text: str) -> bytes:
        return b"OK" if text == "StartNoAckMode" else _UNKNOWN

    def _verbose(self, text: str) -> bytes | None:
        if text == "Cont?":
            return b"vCont;c;C;s;S"
        if text.startswith("Cont;"):
            action = text.removeprefix("Cont;")[:1]
            self._resume(Wish.STEP if action in "sS" else Wish.CONTINUE, "")
            return None
        if text.startswith("Kill"):
            self._wishes.append(Wish.KILL)
            return b"OK"
        return _UNKNOWN

    def _monitor(self, command: str) -> bytes:
        match command.strip():
            case "reset":
                self._wishes.append(Wish.RESET)
                text = "reset; the registers are those at address 0\n"
            case "cycle":
                text = f"{self._chip.cycle}\n"
            case _:
                text = "monitor reset: pull the reset pin\nmonitor cycle: cycles of 16 MHz since power-on\n"
        return text.encode().hex().encode()

    # ---- registers and memory ----

    def _read_register(self, number: int) -> bytes:
        chip = self._chip
        if number == _STATUS_REGISTER:
            return bytes([chip.status_register])
        if number == _STACK_POINTER:
            return chip.stack_pointer.to_bytes(2, "little")
        if number == _PROGRAM_COUNTER:
            return chip.program_counter.to_bytes(4, "little")
        return chip.read_data(number, 1)

    def _write_register(self, number: int, content: bytes) -> None:
        value = int.from_bytes(content, "little")
        if number == _STATUS_REGISTER:
            self._chip.status_register = value
        elif number == _STACK_POINTER:
            self._chip.set_stack_pointer(value)
        elif number == _PROGRAM_COUNTER:
            self._chip.program_counter = value
        else:
            self._chip.write_data(number, content)

    def _write_one_register(self, text: str) -> bytes:
        number, _, content = text.partition("=")
        if int(number, 16) not in _REGISTERS:
            return _REFUSED
        self._write_register(int(number, 16), bytes.fromhex(content))
        return b"OK"

    def _write_registers(self, text: str) -> bytes:
        content = bytes.fromhex(text)
        for number in _REGISTERS:
            size = _REGISTER_BYTES.get(number, 1)
            self._write_register(number, content[:size])
            content = content[size:]
        return b"OK"

    def _read_memory(self, text: str) -> bytes:
        address, count = (int(part, 16) for part in text.split(","))
        if address >= EEPROM_SPACE:
            space, start = self._chip.eeprom, address - EEPROM_SPACE
        elif address >= DATA_SPACE:
            space, start = b"", address - DATA_SPACE
            count = min(count, DATA_SPACE_BYTES - start)
            return self._chip.read_data(start, count).hex().encode() if count > 0 else _REFUSED
        else:
            space, start = self._flash, address
        return space[start : start + count].hex().encode() or _REFUSED

    def _write_memory(self, text: str) -> bytes:
        place, _, content = text.partition(":")
        address = int(place.partition(",")[0], 16)
        data = bytes.fromhex(content)
        if EEPROM_SPACE <= address < EEPROM_SPACE + EEPROM_BYTES:
            self._chip.write_eeprom(address - EEPROM_SPACE, data)
        elif address >= DATA_SPACE:
            self._chip.write_data(address - DATA_SPACE, data)
        else:
            return _REFUSED
        return b"OK"


def _stop_reply(signal: Signal) -> bytes:
    return f"S{signal:02x}".encode()
