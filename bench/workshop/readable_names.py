"""C++ names as written in the source instead of as mangled for the linker."""

import shutil
import subprocess
from dataclasses import replace
from types import MappingProxyType

from bench.uno.image import FirmwareImage


def with_readable_names(image: FirmwareImage) -> FirmwareImage:
    """The image with its symbols demangled by binutils' c++filt; unchanged where that is not installed."""
    filter_path = shutil.which("avr-c++filt") or shutil.which("c++filt")
    if filter_path is None or not image.symbols:
        return image
    finished = subprocess.run(
        [filter_path], input="\n".join(image.symbols), capture_output=True, text=True, check=False
    )
    names = finished.stdout.splitlines()
    if finished.returncode or len(names) != len(image.symbols):
        return image
    symbols = dict(zip(names, image.symbols.values(), strict=True))
    return replace(image, symbols=MappingProxyType(symbols))
