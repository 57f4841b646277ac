"""The boot loader of an Uno, Optiboot, built from the source that Debian's arduino-core-avr brings.

The HEX file that Debian 12 ships beside the source reaches past the end of flash.
"""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from bench.uno.atmega328p import BOOT_SECTION
from bench.uno.build import ARDUINO, PACKAGES, BuildError
from bench.uno.image import load_image

SOURCE: Final = ARDUINO / "bootloaders/optiboot"
BAUD: Final = 115_200
"""The rate at which an Uno's boot loader speaks; it waits a second after an external reset."""

# As the Makefile there for the target atmega328, but without blinking: for that avr-gcc 5.4 leaves no room.
_FLAGS: Final = (
    "-Os",
    "-fno-inline-small-functions",
    "-fno-split-wide-types",
    "-mshort-calls",
    "-mrelax",
    "-mmcu=atmega328p",
    "-w",
    "-DF_CPU=16000000L",
    f"-DBAUD_RATE={BAUD}",
    "-DLED_START_FLASHES=0",
    "-nostartfiles",
    "-Wl,--relax",
    f"-Wl,--section-start=.text={BOOT_SECTION:#x}",
    "-Wl,--section-start=.version=0x7ffe",
)


@cache
def build_boot_loader() -> bytes:
    """What lies in the boot section of an Uno. Raises BuildError."""
    compiler = shutil.which("avr-gcc")
    source = SOURCE / "optiboot.c"
    if compiler is None or not source.is_file():
        missing = "avr-gcc" if compiler is None else str(source)
        raise BuildError(f"{missing} is not installed; install it with: apt-get install {PACKAGES}")
    with tempfile.TemporaryDirectory(prefix="optiboot-") as folder:
        elf = Path(folder, "optiboot.elf")
        command = [compiler, *_FLAGS, f"-I{SOURCE}", str(source), "-o", str(elf)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise BuildError(f"Optiboot does not build:\n{finished.stderr.strip()}")
        return load_image(elf).flash[BOOT_SECTION:]
