"""Builds the ATmega328P core, `bench.uno._core`, from the C in `core/`.

setuptools does it through `cffi_modules = bench/uno/core_build.py:ffibuilder` (run from the project's root);
`python -m bench.uno.core_build` does it in place, and only when a source is newer than the extension.
"""

import hashlib
import sys
import sysconfig
import tempfile
from pathlib import Path

from cffi import FFI

MODULE = "bench.uno._core"
COMPILE_ARGUMENTS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-flto=auto"]
SOURCE_FOLDER = Path(__file__).parent / "core"


def core_interface() -> int:
    """A number for the layout of the core's state: translated code fits only the core it is made for."""
    digest = hashlib.sha256()
    for header in sorted(SOURCE_FOLDER.glob("*.h")):
        digest.update(header.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:8], "little")


def core_builder(source_folder: Path) -> FFI:
    """A cffi builder whose C sources are named below `source_folder` (setuptools wants them relative)."""
    builder = FFI()
    builder.cdef((SOURCE_FOLDER / "face.h").read_text())
    builder.set_source(
        MODULE,
        '#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n#include "face.h"\n',
        sources=[str(source_folder / source.name) for source in sorted(SOURCE_FOLDER.glob("*.c"))],
        include_dirs=[str(source_folder)],
        depends=[str(source_folder / header.name) for header in sorted(SOURCE_FOLDER.glob("*.h"))],
        define_macros=[("CORE_INTERFACE", f"{core_interface()}u")],
        extra_compile_args=COMPILE_ARGUMENTS,
        extra_link_args=["-flto=auto", "-O2"],
    )
    return builder


def is_current(extension: Path) -> bool:
    """Whether the built extension is there and no source has changed since."""
    sources = [Path(__file__), *SOURCE_FOLDER.glob("*.[ch]")]
    return extension.exists() and extension.stat().st_mtime >= max(
        source.stat().st_mtime for source in sources
    )


def build_in_place() -> Path:
    """Builds the extension beside this file unless it is current, and returns its path."""
    extension = Path(__file__).parent / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not is_current(extension):
        with tempfile.TemporaryDirectory() as workplace:
            built = Path(core_builder(SOURCE_FOLDER.resolve()).compile(tmpdir=workplace))
            fresh = extension.with_suffix(".fresh")
            fresh.write_bytes(built.read_bytes())
            fresh.chmod(0o755)
            fresh.replace(extension)
    return extension


if __name__ == "__main__":
    sys.stdout.write(f"{build_in_place()}\n")
else:
    ffibuilder = core_builder(Path("bench/uno/core"))
