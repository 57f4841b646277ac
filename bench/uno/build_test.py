import shutil
from pathlib import Path

import pytest

from bench.uno import build
from bench.uno.image import BOOTLOADER_BYTES, FLASH_BYTES, decode_hex

needs_avr = pytest.mark.skipif(
    shutil.which("avr-gcc") is None or not build.ARDUINO.is_dir(),
    reason=f"needs the Debian packages {build.PACKAGES}",
)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "CACHE", tmp_path / "firmware")
    return tmp_path / "firmware"


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(build.BuildError, match="unknown firmware profile 'fast'; there is: collect"):
        build.build_firmware("fast")


def test_a_missing_compiler_is_named_with_its_packages(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        build.BuildError, match="avr-gcc is not installed; install it with: apt-get install gcc-avr"
    ):
        build.build_library_image("x", build.LIBRARY / "crc16.c", [])
    assert not empty_cache.exists()


def test_a_missing_arduino_core_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "ARDUINO", tmp_path)
    with pytest.raises(build.BuildError, match=r"the Arduino core is not at .*arduino-core-avr"):
        build.build_firmware()


@needs_avr
def test_a_build_is_the_same_from_anywhere_and_cached(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = build.build_firmware()
    shutil.rmtree(empty_cache)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    second = build.build_firmware()
    assert second.sha256 == first.sha256

    def refuse(*_: object) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(build, "_compile", refuse)
    assert build.build_firmware().sha256 == first.sha256


@needs_avr
def test_no_path_of_the_building_machine_is_in_the_image() -> None:
    flash = build.build_firmware().flash
    assert str(build.ROOT).encode() not in flash
    assert b"/usr/share" not in flash


@needs_avr
def test_the_collect_image_fits_a_uno_and_names_what_the_bench_reads() -> None:
    image = build.build_firmware()
    assert image.flash_used <= FLASH_BYTES - BOOTLOADER_BYTES
    assert image.symbol("frame_plaintext").size == 61
    assert image.symbol("frame_plaintext_length").size == 1
    assert image.stack_floor is not None
    assert image.symbol("ring_storage").address < image.stack_floor


@needs_avr
def test_another_define_is_another_image(empty_cache: Path) -> None:
    program = build.LIBRARY / "programs/epoch_program.c"
    libraries = ["epoch.c", "crc16.c", "eeprom.c", "timebase.c"]
    plain = build.build_library_image("epoch", program, libraries)
    other = build.build_library_image("epoch", program, libraries, ["UNUSED=1"])
    assert plain.sha256 == other.sha256
    assert len(list(empty_cache.iterdir())) == 2


@needs_avr
def test_a_compiler_error_is_passed_on(tmp_path: Path, empty_cache: Path) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(build.BuildError, match=r"does not build:(.|\n)*nothing.* undeclared"):
        build.build_library_image("broken", broken, [])
    assert not empty_cache.exists()


@needs_avr
def test_the_hex_file_for_avrdude_holds_the_same_flash(empty_cache: Path) -> None:
    image = build.build_library_image(
        "crc", build.LIBRARY / "programs/epoch_program.c", ["epoch.c", "crc16.c", "eeprom.c", "timebase.c"]
    )
    path = build.hex_path(image)
    assert path.is_relative_to(empty_cache)
    assert decode_hex(path.read_text(encoding="ascii"), "x") == image.flash
