"""Programs for the workshop's tests, built by the installed avr-gcc."""

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

_SUFFIX = {"c": "c", "assembler": "s"}


class Compile(Protocol):
    """Builds a program for the ATmega328P, with debug information; returns the ELF file."""

    def __call__(self, source: str, *options: str, chip: str = "atmega328p", language: str = "c") -> Path:
        """`options` go to avr-gcc."""


@pytest.fixture
def compile_c(tmp_path: Path) -> Compile:
    """Builds a C program for the ATmega328P, with debug information; returns the ELF file."""
    if shutil.which("avr-gcc") is None:
        pytest.skip("avr-gcc is not installed; install it with: apt-get install gcc-avr avr-libc")

    def build(source: str, *options: str, chip: str = "atmega328p", language: str = "c") -> Path:
        elf, text = tmp_path / "program.elf", tmp_path / f"program.{_SUFFIX[language]}"
        text.write_text(source)
        command = ["avr-gcc", f"-mmcu={chip}", "-DF_CPU=16000000L", "-Os", "-g", "-std=gnu11", *options]
        finished = subprocess.run(
            [*command, "-x", language, str(text), "-o", str(elf)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return elf

    return build
