"""Reads a rig file and the files it names."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from bench.rig.calibration import load_calibration
from bench.rig.model import Rig, rig_from
from bench.rig.problem import Problem, RigError

if TYPE_CHECKING:
    from pathlib import Path


def load_rig(path: Path) -> Rig:
    """Read and check a rig file; paths in it are relative to the file.

    Raises:
        RigError: naming the file and, for all problems at once, the key, what was found and what expected.
    """
    source = str(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RigError(source, [Problem("", "no such rig file")]) from None
    except OSError as error:
        raise RigError(source, [Problem("", f"cannot be read: {error.strerror or error}")]) from None
    except UnicodeDecodeError as error:
        raise RigError(source, [Problem("", f"is no UTF-8 text (byte {error.start})")]) from None
    except tomllib.TOMLDecodeError as error:
        raise RigError(source, [Problem("", f"is no TOML: {error}")]) from None

    def locate(text: str) -> Path:
        file = (path.parent / text).resolve()
        if not file.is_file():
            raise FileNotFoundError(f'found "{text}", but there is no file {file}')
        return file

    rig = rig_from(document, source, locate)
    for calibration in sorted({branch.pi.calibration for branch in rig.branches}):
        load_calibration(calibration)
    return rig
