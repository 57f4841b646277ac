import enum
import re
from pathlib import Path

from bench.uno.marker import MarkedFault, Marker

HEADER = Path(__file__).parents[2] / "firmware/lib/marker.h"


def _enumerators(prefix: str) -> dict[str, int]:
    found = re.findall(rf"^\s+{prefix}_(\w+) = (\d+)", HEADER.read_text(encoding="ascii"), re.MULTILINE)
    return {name: int(value) for name, value in found}


def _members(kind: type[enum.IntEnum]) -> dict[str, int]:
    return {member.name: int(member) for member in kind}


def test_markers_are_those_of_the_firmware_header() -> None:
    assert _members(Marker) == _enumerators("MARKER")


def test_faults_are_those_of_the_firmware_header() -> None:
    assert _members(MarkedFault) == _enumerators("FAULT")
