"""Translations as shared libraries: compiled once for each image, kept under `build/translation/`.

A library's name is a hash of all it is made from: image, translator, the core's headers, compiler. So a stale
one is never loaded, and several processes may make the same one at a time.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from bench.uno._core import ffi, lib
from bench.uno.core_build import core_interface
from bench.uno.translation.source import write_source

CACHE: Final = Path(__file__).resolve().parents[3] / "build/translation"
COMPILE_ARGUMENTS: Final = (
    *("-std=gnu11", "-O2", "-shared", "-fPIC", "-w"),
    f"-DCORE_INTERFACE={core_interface()}u",
)
_HERE: Final = Path(__file__).parent
_CORE: Final = _HERE.parent / "core"


@dataclass(frozen=True, slots=True)
class Translation:
    """An image in native code; or none, and the note says why: then the interpreter runs it."""

    library: ctypes.CDLL | None
    note: str

    @property
    def address(self) -> int | None:
        """Where the library's `struct translation` lies."""
        if self.library is None:
            return None
        return ctypes.addressof(ctypes.c_char.in_dll(self.library, "translation"))


def translate(flash: bytes, folder: Path = CACHE) -> Translation:
    """The translation of a flash image, from the folder or made now (seconds); see `Translation` if not."""
    compiler = shutil.which("cc")
    if compiler is None:
        return Translation(None, "no C compiler (cc): the interpreter runs the firmware")
    if lib.core_interface() != core_interface():
        return Translation(None, "the core is older than its sources; run python -m bench.uno.core_build")
    return _translate(bytes(flash), compiler, folder)


@cache
def _translate(flash: bytes, compiler: str, folder: Path) -> Translation:
    path = folder / f"{_digest(flash, compiler)}.so"
    try:
        if not path.exists():
            _compile(flash, compiler, path)
        return Translation(ctypes.CDLL(str(path)), f"translated: {path.name}")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error).encode()
        said = reason.decode(errors="replace").strip().splitlines()[0]
        return Translation(None, f"not translated, the interpreter runs the firmware: {said}")


def _digest(flash: bytes, compiler: str) -> str:
    digest = hashlib.sha256()
    sources = [*_HERE.glob("*.py"), *_HERE.glob("*.h"), _CORE / "decode.c"]
    translator = [path for path in sorted(sources) if not path.name.endswith("_test.py")]
    parts = [
        *(flash, " ".join(COMPILE_ARGUMENTS).encode(), _version(compiler)),
        *(path.read_bytes() for path in translator),
    ]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


@cache
def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout


def _compile(flash: bytes, compiler: str, path: Path) -> None:
    program = ffi.gc(lib.program_create(flash, len(flash)), lib.program_destroy)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as workplace:
        source, built = Path(workplace, "image.c"), Path(workplace, path.name)
        source.write_text(write_source(flash, lib.program_checksum(program)))
        includes = [f"-I{folder}" for folder in (_HERE, _CORE)]
        command = [compiler, *COMPILE_ARGUMENTS, *includes, str(source), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True)
        os.replace(built, path)
