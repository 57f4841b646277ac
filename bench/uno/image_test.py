import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.uno.image import (
    FLASH_BYTES,
    SRAM_START,
    FirmwareImage,
    ImageError,
    decode_hex,
    encode_hex,
    load_image,
    read_elf,
)

# From Intel's specification of the format, and small enough to sum by hand.
GOOD = ":0300300002337A1E\n:00000001FF\n"

needs_avr = pytest.mark.skipif(shutil.which("avr-gcc") is None, reason="needs the Debian package gcc-avr")


def test_a_record_lands_at_its_address() -> None:
    assert decode_hex(GOOD, "good.hex") == b"\xff" * 0x30 + b"\x02\x33\x7a"


def test_segment_and_linear_addresses_shift_what_follows() -> None:
    assert decode_hex(":020000020100FB\n:01000000AA55\n:00000001FF\n", "x")[0x1000] == 0xAA
    with pytest.raises(ImageError, match="line 2: address 0x10000 is past the 32768 bytes"):
        decode_hex(":020000040001F9\n:01000000AA55\n:00000001FF\n", "big.hex")


@given(st.binary(min_size=1, max_size=400))
def test_encode_then_decode_is_the_identity(flash: bytes) -> None:
    assert decode_hex(encode_hex(flash), "x") == flash


@given(st.binary(min_size=1, max_size=64), st.data())
def test_any_changed_digit_is_refused(flash: bytes, data: st.DataObject) -> None:
    text = encode_hex(flash)
    places = [index for index, character in enumerate(text) if character not in ":\n"]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from("0123456789ABCDEF").filter(lambda digit: digit != text[place]))
    with pytest.raises(ImageError, match="line"):
        decode_hex(text[:place] + digit + text[place + 1 :], "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("1E", "1F"), r"fw\.hex: line 1: checksum is 1F but the line sums to 1E"),
        (GOOD.replace(":03", ":04"), "line 1: announces 4 data bytes but holds 3"),
        (GOOD.replace("33", "3G"), "line 1: holds a character that is not a hexadecimal digit"),
        ("hello\n", "line 1: does not start with ':'"),
        (GOOD.splitlines()[0] + "\n", "without an end record"),
        (":00000001FF\n", "holds no data"),
        (GOOD + GOOD, "line 3: follows the end record"),
        (
            ":01000000AA55\n:01000000AB54\n:00000001FF\n",
            "line 2: address 0x0000 was already given another byte",
        ),
        (":00000009F7\n:00000001FF\n", "record type 09 is unknown"),
        (":0100000400FB\n:00000001FF\n", "an address record must hold 2 bytes, not 1"),
        (":\n", "line 1: announces 0 data bytes"),
    ],
)
def test_bad_hex_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        decode_hex(text, "fw.hex")


def test_the_checksum_of_an_image_is_that_of_its_hex_text() -> None:
    image = FirmwareImage("x", bytes(3))
    # printf ':03000000000000FD\n:00000001FF\n' | sha256sum
    assert image.hex_text == ":03000000000000FD\n:00000001FF\n"
    assert image.sha256 == "3a11af027b9c11f002b1261d16db7fd94d182232cebfb6d0f234a951983e8e88"


def test_files_that_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load_image(tmp_path / "missing.hex")
    noise = tmp_path / "noise.bin"
    noise.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ImageError, match="neither an ELF nor an Intel HEX file"):
        load_image(noise)
    cut = tmp_path / "cut.elf"
    cut.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(5))
    with pytest.raises(ImageError, match="damaged ELF file"):
        load_image(cut)


def _elf_header(machine: int, flags: int) -> bytes:
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    return ident + struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, 0, 0, 0, flags, 52, 32, 0, 40, 0, 0)


@pytest.mark.parametrize(
    ("machine", "flags", "words"),
    [
        (62, 0, "is for X86_64, not for AVR"),
        (83, 0x80 | 6, "AVR family avr6, the ATmega328P is avr5"),
        (83, 0x80 | 5, "nothing to load into flash"),
    ],
)
def test_an_elf_of_another_chip_is_named(machine: int, flags: int, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_elf(_elf_header(machine, flags), "other.elf")


def test_an_unknown_symbol_is_named() -> None:
    with pytest.raises(ImageError, match="bare: has no symbol frame_plaintext"):
        FirmwareImage("bare", b"\0").symbol("frame_plaintext")


@needs_avr
def test_an_elf_read_agrees_with_binutils(tmp_path: Path) -> None:
    source = tmp_path / "image.c"
    source.write_text(
        "volatile char cleared[7]; volatile int first = 5; int main(void) { return cleared[0] + first; }\n"
    )
    elf, hexadecimal = tmp_path / "image.elf", tmp_path / "image.hex"
    subprocess.run(["avr-gcc", "-mmcu=atmega328p", "-Os", str(source), "-o", str(elf)], check=True)
    subprocess.run(["avr-objcopy", "-O", "ihex", "-R", ".eeprom", str(elf), str(hexadecimal)], check=True)
    image = load_image(elf)
    assert image.flash == load_image(hexadecimal).flash
    assert image.symbol("cleared").size == 7
    assert image.symbol_at(image.symbol("main").address) == "main"
    assert image.static_sram == 2 + 7
    assert image.stack_floor == SRAM_START + 9
    assert image.flash_used < FLASH_BYTES
