"""A Uno on a table for the firmware's tests: the emulated chip, a scripted SX1278, and what they did."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.uno.atmega328p import Atmega328p, Pin, SleepMode, Stop
from bench.uno.build import build_firmware, build_library_image
from bench.uno.marker import Marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.uno.image import FirmwareImage

CYCLES_PER_MS = 16_000
SELECT, RESET, DIO0 = Pin.PB2, Pin.PB1, Pin.PD2
PROGRAMS = Path(__file__).parent / "lib/programs"


@dataclass(frozen=True, slots=True)
class Mark:
    """One marker: code, argument and the cycle of its write."""

    code: int
    argument: int
    cycle: int


class ScriptedRadio:
    """The part of an SX1278 that the driver uses, with a gateway on the other side that a test scripts.

    Made from the datasheet's register table, not from the bench's radio model: an independent reading of it.
    """

    FIFO, MODE, FIFO_POINTER, RX_CURRENT, FLAGS, RX_BYTES = 0x00, 0x01, 0x0D, 0x10, 0x12, 0x13
    LENGTH, MAPPING, VERSION = 0x22, 0x40, 0x42
    SLEEP, STANDBY, TX, RX = 0x80, 0x81, 0x83, 0x85
    TX_DONE, RX_DONE, CRC_ERROR = 0x08, 0x40, 0x20

    def __init__(self, table: Table) -> None:
        self._table = table
        self.present = True
        self.deaf_to_tx = False
        self.airtime_ms = 92
        self.answer_after_ms = 20
        self.gateway: Callable[[bytes], Iterable[bytes]] = lambda _frame: ()
        self.spoil_crc = False
        self.sent: list[tuple[int, bytes]] = []
        self.transfers = 0
        self.registers = bytearray(128)
        self.reset()

    def reset(self) -> None:
        self.registers[:] = bytes(128)
        self.registers[self.VERSION] = 0x12
        self.registers[self.MODE] = 0x09
        self.fifo = bytearray(256)
        self._address: int | None = None

    def select(self) -> None:
        self._address = None

    def transfer(self, mosi: int) -> int:
        self.transfers += 1
        if not self.present:
            return 0xFF
        if self._address is None:
            self._address, self._writes = mosi & 0x7F, bool(mosi & 0x80)
            return 0
        address = self._address
        if address == self.FIFO:
            return self._fifo_byte(mosi)
        self._address = (address + 1) & 0x7F
        value = self.registers[address]
        if self._writes:
            self._write(address, mosi)
        return value

    def receive(self, packet: bytes) -> None:
        """A packet arrives at the antenna now."""
        if self.registers[self.MODE] != self.RX:
            return
        self.fifo[: len(packet)] = packet
        self.registers[self.RX_CURRENT] = 0
        self.registers[self.RX_BYTES] = len(packet)
        self._raise(self.RX_DONE | (self.CRC_ERROR if self.spoil_crc else 0))

    def _fifo_byte(self, mosi: int) -> int:
        at = self.registers[self.FIFO_POINTER]
        self.registers[self.FIFO_POINTER] = (at + 1) & 0xFF
        value = self.fifo[at]
        if self._writes:
            self.fifo[at] = mosi
        return value

    def _write(self, address: int, value: int) -> None:
        if address == self.FLAGS:
            self.registers[address] &= ~value & 0xFF
            self._drive_dio0()
            return
        if address == self.MODE and (value ^ self.registers[address]) & 0x80 and self.registers[address] & 7:
            value ^= 0x80  # LongRange is taken in sleep mode only
        self.registers[address] = value
        if address == self.MODE and value == self.TX:
            self._transmit()
        if address == self.MAPPING:
            self._drive_dio0()

    def _transmit(self) -> None:
        frame = bytes(self.fifo[: self.registers[self.LENGTH]])
        self.sent.append((self._table.core.cycle, frame))
        if not self.deaf_to_tx:
            self._table.after_ms(self.airtime_ms, lambda: self._sent(frame))

    def _sent(self, frame: bytes) -> None:
        self.registers[self.MODE] = self.STANDBY
        self._raise(self.TX_DONE)
        for index, packet in enumerate(self.gateway(frame)):
            self._table.after_ms(self.answer_after_ms * (index + 1), partial(self.receive, packet))

    def _raise(self, flags: int) -> None:
        self.registers[self.FLAGS] |= flags
        self._drive_dio0()

    def _drive_dio0(self) -> None:
        shown = self.TX_DONE if self.registers[self.MAPPING] & 0xC0 == 0x40 else self.RX_DONE
        self._table.core.set_pin(DIO0, bool(self.registers[self.FLAGS] & shown))


class Table:
    """Runs one image and keeps what came out of it."""

    def __init__(self, image: FirmwareImage, eeprom: bytes = b"") -> None:
        self.image = image
        self.core = Atmega328p(image.flash, eeprom.ljust(1024, b"\xff"))
        assert image.stack_floor is not None
        self.core.set_stack_floor(image.stack_floor)
        self.radio = ScriptedRadio(self)
        self.marks: list[Mark] = []
        self.plaintexts: list[bytes] = []
        self.console = b""
        self.halted = False
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self.core.watch(SELECT)
        self.core.watch(RESET)
        self.core.set_pin(DIO0, False)

    def after_ms(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (self.core.cycle + delay_ms * CYCLES_PER_MS, self._order, action))

    def run_ms(self, duration_ms: int, until: Callable[[], bool] = lambda: False) -> None:
        """Runs for some time or until the condition holds after a stop."""
        self.run_to(self.core.cycle + duration_ms * CYCLES_PER_MS, until)

    def run_to(self, end: int, until: Callable[[], bool] = lambda: False) -> None:
        while self.core.cycle < end and not until():
            limit = min(end, self._agenda[0][0]) if self._agenda else end
            stop = self.core.run(limit)
            self._attend(stop)
            while self._agenda and self._agenda[0][0] <= self.core.cycle:
                heapq.heappop(self._agenda)[2]()
            if stop is Stop.HALT and not self._agenda:
                self.halted = True
                return

    def _attend(self, stop: Stop) -> None:
        core = self.core
        match stop:
            case Stop.SPI:
                core.spi_reply(self.radio.transfer(core.spi_mosi))
            case Stop.PIN if core.pin_changed is RESET and not core.pin_level:
                self.radio.reset()
            case Stop.PIN if core.pin_changed is SELECT and not core.pin_level:
                self.radio.select()
            case Stop.UART:
                self.console += bytes([core.uart_byte])
            case Stop.MARK:
                self.marks.append(Mark(core.mark_code, core.mark_argument, core.cycle))
                if core.mark_code == Marker.SNAPSHOT and "frame_plaintext" in self.image.symbols:
                    self.plaintexts.append(
                        self.peek("frame_plaintext", self.peek("frame_plaintext_length", 1)[0])
                    )
            case Stop.FAULT:
                fault = core.fault
                assert fault is not None
                where = self.image.symbol_at(fault.program_counter)
                raise AssertionError(f"{fault.kind} in {where} at cycle {fault.cycle}")
            case _:
                pass

    def peek(self, symbol: str, count: int | None = None, offset: int = 0) -> bytes:
        place = self.image.symbol(symbol)
        return self.core.read_data(place.address + offset, place.size if count is None else count)

    def pulses(self, pin: Pin, falls_ms: Sequence[float], width_ms: float = 30) -> None:
        """Schedules pulses of an S0 output that has been idle."""
        self.core.set_pin(pin, True)
        edges = [round(t * CYCLES_PER_MS) for fall in falls_ms for t in (fall, fall + width_ms)]
        self.core.schedule_edges(pin, edges, first_high=False)

    def of(self, code: Marker) -> list[Mark]:
        return [mark for mark in self.marks if mark.code == code]

    @property
    def free_sram_bytes(self) -> int:
        """Between the static data and the deepest stack so far."""
        assert self.image.stack_floor is not None
        return self.core.lowest_stack - self.image.stack_floor

    def spent(self) -> tuple[int, int]:
        """Cycles awake, cycles asleep."""
        return self.core.active_cycles, sum(self.core.sleep_cycles.get(mode, 0) for mode in SleepMode)


ASCON = ["ascon.c", "ascon_permutation.S"]
EEPROM = ["eeprom.c", "timebase.c"]
LIBRARIES = {
    "ascon": [*ASCON, *EEPROM],
    "frame": ["frame.c", *ASCON, *EEPROM],
    "epoch": ["epoch.c", "crc16.c", *EEPROM],
    "journal": ["journal.c", "crc16.c", *EEPROM],
    "s0": ["s0.c", *EEPROM],
    "mains": ["mains.c", *EEPROM],
}


@cache
def library_image(name: str) -> FirmwareImage:
    return build_library_image(name, PROGRAMS / f"{name}_program.c", LIBRARIES[name])


@cache
def uno_image(profile: str) -> FirmwareImage:
    return build_firmware(profile)


class Workbench:
    """Makes tables."""

    def library(self, name: str, eeprom: bytes = b"") -> Table:
        """A table with the test program of one library, ``lib/programs/<name>_program.c``."""
        return Table(library_image(name), eeprom)

    def uno(self, eeprom: bytes, profile: str = "collect") -> Table:
        """A table with the sketch."""
        return Table(uno_image(profile), eeprom)


@pytest.fixture(scope="session")
def workbench() -> Workbench:
    return Workbench()
