"""Builds Uno firmware with plain avr-gcc: the sketch on Debian's Arduino core, and single libraries.

The same sources, flags and compiler give the same bytes; results are cached under ``build/firmware/`` by a
hash of those.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.uno.image import FirmwareImage, ImageError, load_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "firmware/lib"
SKETCH = ROOT / "firmware/uno"
STIMULUS = ROOT / "firmware/stimulus"
CACHE = ROOT / "build/firmware"
ARDUINO = Path("/usr/share/arduino/hardware/arduino/avr")
PROFILES = ("collect",)

PACKAGES = "gcc-avr avr-libc binutils-avr arduino-core-avr"
_MEND = f"install it with: apt-get install {PACKAGES}"

# Those of platform.txt and boards.txt (board uno) of the Arduino core, but warnings on, no debug information
# (paths would get into the file), and DECIMAL_DIG, which the core's WString.cpp lacks with gcc 5.4.
_COMMON = [
    "-mmcu=atmega328p",
    "-DF_CPU=16000000L",
    "-DARDUINO=10819",
    "-DARDUINO_AVR_UNO",
    "-DARDUINO_ARCH_AVR",
    "-DDECIMAL_DIG=__DECIMAL_DIG__",
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
]
_C = ["-x", "c", "-std=gnu11"]
_CPP = ["-x", "c++", "-std=gnu++11", "-fpermissive", "-fno-exceptions", "-fno-threadsafe-statics"]
_ASSEMBLER = ["-x", "assembler-with-cpp"]
_LANGUAGE = {".c": _C, ".cpp": _CPP, ".ino": [*_CPP, "-include", "Arduino.h"], ".S": _ASSEMBLER}
_OWN_WARNINGS = ["-Wall", "-Wextra", "-Werror"]
_LINK = ["-mmcu=atmega328p", "-Os", "-Wl,--gc-sections"]


class BuildError(RuntimeError):
    """The firmware cannot be built; the message says what is missing or what the compiler said."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """One source file and how to compile it."""

    source: Path
    own: bool


def build_firmware(profile: str = "collect") -> FirmwareImage:
    """The Uno's firmware image of one profile, from the cache or freshly compiled."""
    if profile not in PROFILES:
        raise BuildError(f"unknown firmware profile {profile!r}; there is: {', '.join(PROFILES)}")
    return _build_sketch(f"uno-{profile}", SKETCH, _sources(LIBRARY))


def build_stimulus() -> FirmwareImage:
    """The image of the stimulus Uno, which plays pulses into a metering Uno's pins."""
    return _build_sketch("stimulus", STIMULUS, [LIBRARY / "crc16.c"])


def _build_sketch(name: str, folder: Path, libraries: Sequence[Path]) -> FirmwareImage:
    """A sketch of ours: all sources of its folder, these libraries, and the Arduino core."""
    core = ARDUINO / "cores/arduino"
    if not core.is_dir():
        raise BuildError(f"the Arduino core is not at {ARDUINO}; {_MEND}")
    units = [_Unit(path, own=True) for path in sorted([*_sources(folder), *libraries])]
    units += [_Unit(path, own=False) for path in _sources(core)]
    return _build(name, units, (folder, LIBRARY, core, ARDUINO / "variants/standard"), ())


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _LANGUAGE)


def build_library_image(
    name: str, program: Path, libraries: Sequence[str], defines: Sequence[str] = ()
) -> FirmwareImage:
    """A bare image without the Arduino core: a program and the library sources (``"ascon.c"``) it needs.

    `defines` are macros as for ``-D``.
    """
    units = [_Unit(path, own=True) for path in (program, *(LIBRARY / library for library in libraries))]
    return _build(name, units, (LIBRARY, SKETCH), tuple(f"-D{define}" for define in defines))


def build_arduino_image(name: str, sources: Sequence[Path], includes: Sequence[Path]) -> FirmwareImage:
    """An image of sources that are not ours, with the Arduino core; the first one is linked whole."""
    core = ARDUINO / "cores/arduino"
    if not core.is_dir():
        raise BuildError(f"the Arduino core is not at {ARDUINO}; {_MEND}")
    parts = (*sources, *(path for path in sorted(core.iterdir()) if path.suffix in _LANGUAGE))
    units = [_Unit(path, own=False) for path in parts]
    return _build(name, units, (core, ARDUINO / "variants/standard", *includes), ())


def hex_path(image: FirmwareImage) -> Path:
    """The image as an Intel HEX file on disk, as avrdude takes it."""
    path = CACHE / f"{image.name.removesuffix('.elf')}-{image.sha256[:16]}.hex"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, image.hex_text.encode("ascii"))
    return path


def _build(
    name: str, units: Sequence[_Unit], includes: Sequence[Path], defines: Sequence[str]
) -> FirmwareImage:
    inputs = {unit.source for unit in units}
    inputs.update(header for folder in includes for header in folder.glob("*.h"))
    digest = hashlib.sha256()
    for part in (_compiler_version(), *_COMMON, *_LINK, *_OWN_WARNINGS, *defines):
        digest.update(part.encode() + b"\0")
    for key in sorted(_LANGUAGE):
        digest.update(" ".join([key, *_LANGUAGE[key]]).encode() + b"\0")
    for path in sorted(inputs):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    elf = CACHE / f"{name}-{digest.hexdigest()[:16]}" / f"{name}.elf"
    if not elf.exists():
        _write_whole(elf, _compile(units, includes, defines))
    try:
        return load_image(elf)
    except ImageError as error:
        raise BuildError(f"{error}; delete {elf.parent} and build again") from error


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that others see it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


def _compile(units: Sequence[_Unit], includes: Sequence[Path], defines: Sequence[str]) -> bytes:
    compiler = _tool("avr-gcc")
    search = [f"-I{folder}" for folder in includes]
    with tempfile.TemporaryDirectory(prefix="firmware-") as folder:
        own: list[str] = []
        core: list[str] = []
        for index, unit in enumerate(units):
            target = f"{index:03}.o"
            warnings = _OWN_WARNINGS if unit.own else ["-w"]
            language = _LANGUAGE[unit.source.suffix]
            _run(
                [
                    compiler,
                    "-c",
                    *_COMMON,
                    *warnings,
                    *search,
                    *defines,
                    *language,
                    str(unit.source),
                    "-o",
                    target,
                ],
                folder,
            )
            (own if unit.own else core).append(target)
        if core:
            # An archive, as the Arduino IDE links it: the core's interrupt handlers come in only where used.
            _run([_tool("avr-ar"), "rcsD", "core.a", *core], folder)
            own.append("core.a")
        _run([compiler, *_LINK, *own, "-o", "image.elf", "-lm"], folder)
        return (Path(folder) / "image.elf").read_bytes()


def _run(command: Iterable[str], folder: str) -> None:
    finished = subprocess.run(list(command), cwd=folder, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise BuildError(f"the firmware does not build:\n{finished.stderr.strip()}")


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BuildError(f"{name} is not installed; {_MEND}")
    return path


@cache
def _compiler_version_of(compiler: str) -> str:
    return subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]


def _compiler_version() -> str:
    return _compiler_version_of(_tool("avr-gcc"))
