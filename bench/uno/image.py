"""Firmware images: Intel HEX and AVR ELF files as flash bytes, symbols and sizes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    from collections.abc import Mapping

FLASH_BYTES = 32 * 1024
"""Flash of the ATmega328P."""
BOOTLOADER_BYTES = 512
"""Taken at the end of flash by Optiboot on a Uno."""
SRAM_START = 0x100
SRAM_END = 0x900
"""First address past the 2 KB of SRAM."""

_ERASED = 0xFF
_HEX_BYTES_PER_LINE = 16
_ELF_DATA_SPACE = 0x800000
"""avr-gcc places data addresses here, EEPROM at 0x810000, fuses and locks above."""
_ELF_EEPROM_SPACE = 0x810000
_ELF_MACHINE = "EM_AVR"
_ELF_AVR5 = 5
"""Architecture in the low seven bits of e_flags; avr5 is the family of the ATmega328P."""
_ELF_ARCHITECTURE_MASK = 0x7F


class ImageError(ValueError):
    """A file that cannot be an ATmega328P firmware image; the message names file, place and mend."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named object in SRAM or function in flash: byte address in that space and size in bytes."""

    address: int
    size: int
    in_flash: bool = False


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """What a Uno is flashed with, and what is known about it."""

    name: str
    flash: bytes = field(repr=False)
    """From byte 0 to the last byte programmed; gaps read erased (0xff)."""
    symbols: Mapping[str, Symbol] = field(repr=False, default_factory=lambda: MappingProxyType({}))
    """Objects in SRAM and functions in flash; empty for an image read from HEX."""
    stack_floor: int | None = None
    """First SRAM address past .data, .bss and .noinit: the stack stays above. None when read from HEX."""

    @property
    def flash_used(self) -> int:
        """Bytes of flash programmed."""
        return len(self.flash)

    @property
    def static_sram(self) -> int | None:
        """Bytes of .data, .bss and .noinit; None when read from HEX."""
        return None if self.stack_floor is None else self.stack_floor - SRAM_START

    @property
    def hex_text(self) -> str:
        """The image as Intel HEX, as avrdude flashes it."""
        return encode_hex(self.flash)

    @property
    def sha256(self) -> str:
        """SHA-256 of :attr:`hex_text`: the identity of a firmware in reports."""
        return hashlib.sha256(self.hex_text.encode("ascii")).hexdigest()

    def symbol_at(self, program_counter: int) -> str:
        """Name of the function at this flash byte address, or the address itself where none is known."""
        for name, symbol in self.symbols.items():
            if symbol.in_flash and symbol.address <= program_counter < symbol.address + symbol.size:
                return name
        return f"{program_counter:#06x}"

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name; :class:`ImageError` when the image has none."""
        try:
            return self.symbols[name]
        except KeyError:
            raise ImageError(
                f"{self.name}: has no symbol {name}; load the ELF file of a build that defines it"
            ) from None


def load_image(path: Path) -> FirmwareImage:
    """Reads an image, ELF or Intel HEX by its first bytes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    if data[:4] == b"\x7fELF":
        return read_elf(data, str(path))
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise ImageError(f"{path}: neither an ELF nor an Intel HEX file") from None
    return FirmwareImage(path.name, decode_hex(text, str(path)))


def decode_hex(text: str, name: str) -> bytes:
    """Flash bytes of an Intel HEX text (Intel, Hexadecimal Object File Format Specification, rev. A, 1988).

    Understands data (00), end (01), extended segment and linear address (02, 04) and start (03, 05) records.
    Every line's checksum is checked; an overlap of two lines with different bytes is an error.
    """
    cells: dict[int, int] = {}
    base = 0
    ended = False
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line:
            continue
        place = f"{name}: line {number}"
        if ended:
            raise ImageError(f"{place}: follows the end record; the file seems to be two files joined")
        kind, address, data = _decode_record(line, place)
        if kind == 0x00:
            for offset, byte in enumerate(data):
                at = base + address + offset
                if at >= FLASH_BYTES:
                    raise ImageError(
                        f"{place}: address 0x{at:05x} is past the {FLASH_BYTES} bytes of an ATmega328P; "
                        "the file is for another chip or too big"
                    )
                if cells.setdefault(at, byte) != byte:
                    raise ImageError(f"{place}: address 0x{at:04x} was already given another byte")
        elif kind == 0x01:
            ended = True
        elif kind in (0x02, 0x04):
            if len(data) != 2:
                raise ImageError(f"{place}: an address record must hold 2 bytes, not {len(data)}")
            base = int.from_bytes(data, "big") << (4 if kind == 0x02 else 16)
        elif kind not in (0x03, 0x05):
            raise ImageError(f"{place}: record type {kind:02x} is unknown")
    if not ended:
        raise ImageError(f"{name}: ends without an end record (:00000001FF); the file is cut short")
    if not cells:
        raise ImageError(f"{name}: holds no data")
    return bytes(cells.get(address, _ERASED) for address in range(max(cells) + 1))


def _decode_record(line: str, place: str) -> tuple[int, int, bytes]:
    if not line.startswith(":"):
        raise ImageError(f"{place}: does not start with ':'; not an Intel HEX file or damaged")
    try:
        record = bytes.fromhex(line[1:])
    except ValueError:
        raise ImageError(
            f"{place}: holds a character that is not a hexadecimal digit, or an odd number"
        ) from None
    if len(record) < 5 or len(record) != record[0] + 5:
        expected = record[0] if record else 0
        raise ImageError(f"{place}: announces {expected} data bytes but holds {max(len(record) - 5, 0)}")
    expected = -sum(record[:-1]) & 0xFF
    if record[-1] != expected:
        raise ImageError(
            f"{place}: checksum is {record[-1]:02X} but the line sums to {expected:02X}; "
            "copy or build the file again"
        )
    return record[3], record[1] << 8 | record[2], record[4:-1]


def encode_hex(flash: bytes) -> str:
    """Intel HEX text of flash bytes, 16 to a line."""
    lines = []
    for address in range(0, len(flash), _HEX_BYTES_PER_LINE):
        data = flash[address : address + _HEX_BYTES_PER_LINE]
        record = bytes([len(data), address >> 8, address & 0xFF, 0x00]) + data
        lines.append(f":{record.hex().upper()}{-sum(record) & 0xFF:02X}\n")
    return "".join(lines) + ":00000001FF\n"


def read_elf(data: bytes, name: str) -> FirmwareImage:
    """Image of an ELF file made by avr-gcc for the ATmega328P's family (avr5)."""
    try:
        elf = ELFFile(BytesIO(data))
        _check_chip(elf, name)
        flash = _elf_flash(elf, name)
        return FirmwareImage(
            Path(name).name, flash, MappingProxyType(_elf_symbols(elf)), _elf_stack_floor(elf)
        )
    except ELFError as error:
        raise ImageError(f"{name}: damaged ELF file: {error}") from error


def _check_chip(elf: ELFFile, name: str) -> None:
    machine = elf["e_machine"]
    if machine != _ELF_MACHINE:
        raise ImageError(
            f"{name}: is for {str(machine).removeprefix('EM_')}, not for AVR; build it with avr-gcc"
        )
    architecture = elf["e_flags"] & _ELF_ARCHITECTURE_MASK
    if architecture != _ELF_AVR5:
        raise ImageError(
            f"{name}: is for AVR family avr{architecture}, the ATmega328P is avr{_ELF_AVR5}; "
            "build it with -mmcu=atmega328p"
        )


def _elf_flash(elf: ELFFile, name: str) -> bytes:
    flash = bytearray()
    for segment in elf.iter_segments("PT_LOAD"):
        start, content = segment["p_paddr"], segment.data()
        if not content or start >= _ELF_DATA_SPACE:
            continue
        end = start + len(content)
        if end > FLASH_BYTES:
            raise ImageError(f"{name}: reaches flash byte {end}, an ATmega328P has {FLASH_BYTES}")
        flash.extend(_ERASED for _ in range(end - len(flash)))
        flash[start:end] = content
    if not flash:
        raise ImageError(f"{name}: has nothing to load into flash; is it linked?")
    return bytes(flash)


def _elf_symbols(elf: ELFFile) -> dict[str, Symbol]:
    symbols: dict[str, Symbol] = {}
    for table in elf.iter_sections("SHT_SYMTAB"):
        if not isinstance(table, SymbolTableSection):
            continue
        for entry in table.iter_symbols():
            if entry["st_info"]["type"] in ("STT_OBJECT", "STT_FUNC"):
                in_flash = entry["st_value"] < _ELF_DATA_SPACE
                symbols[entry.name] = Symbol(entry["st_value"] & 0xFFFF, entry["st_size"], in_flash)
    return symbols


def _elf_stack_floor(elf: ELFFile) -> int:
    floor = SRAM_START
    for section in elf.iter_sections():
        start, size = section["sh_addr"], section["sh_size"]
        if _ELF_DATA_SPACE <= start < _ELF_EEPROM_SPACE and size:
            floor = max(floor, start - _ELF_DATA_SPACE + size)
    return floor
