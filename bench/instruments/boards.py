"""What emulated boards tell a load: the way from an Uno, its radio and the Pi's emulator to `load.py`."""

from __future__ import annotations

from contextlib import suppress
from os import sysconf
from pathlib import Path
from typing import TYPE_CHECKING

from bench.instruments.load import CoreUsage, LoadModel, PiPart, RadioPart, UnoPart
from bench.uno.atmega328p import SleepMode
from bench.world.paced import WorldStoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.instruments.load import Part
    from bench.radio.registers import Mode
    from bench.uno.emulated import EmulatedBoard
    from bench.world.trace import Record

_IDLE = SleepMode.IDLE.name.lower()


def core_usage(board: EmulatedBoard) -> CoreUsage | None:
    """What the core of a board has done since its power-on; None while it has no power."""
    uno = board.uno
    if uno is None:
        return None
    try:
        figures = uno.figures()
    except WorldStoppedError:
        return None
    idle_cycles = figures.sleep_cycles[_IDLE]
    return CoreUsage(figures.cycles, idle_cycles, sum(figures.sleep_cycles.values()) - idle_cycles)


def uno_part(board: EmulatedBoard, radio_mode: Callable[[], Mode]) -> tuple[Part, RadioPart]:
    """An Uno with its radio as a part, and the radio's part alone: to be told of packets."""
    radio = RadioPart(radio_mode)
    return LoadModel([UnoPart(lambda: core_usage(board)), radio]), radio


def packet_listener(station: str, radio: RadioPart) -> Callable[[Record], None]:
    """A subscriber to the trace of a world, which tells a radio's part of the packets its station sends."""

    def listen(record: Record) -> None:
        if record.kind == "transmission" and record.source == station:
            end_ns, power_cdbm = record.fields["end_ns"], record.fields["power_cdbm"]
            assert isinstance(end_ns, int)
            assert isinstance(power_cdbm, int)
            radio.transmitted(end_ns - record.t_ns, power_cdbm)

    return listen


def pi_part(process_id: Callable[[], int | None]) -> PiPart:
    """An emulated Pi as a part, by the CPU time of its emulator and the processes below it.

    An emulated core that waits for an interrupt takes no time of the host, and one that works takes all it
    can get. On a host with fewer cores than the Pi, the Pi therefore never seems to have all of them busy.
    `process_id` gives None while there is none.
    """

    def busy_ns(_until_ns: int) -> int:
        found = process_id()
        return 0 if found is None else process_cpu_ns(found)

    return PiPart(busy_ns)


def process_cpu_ns(process_id: int) -> int:
    """CPU time of a process and of all below it that run; 0 when it is gone (proc(5): utime, stime)."""
    total, waiting = 0, [process_id]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        # A process may end between two looks at it.
        with suppress(OSError):
            # The second field, the name, may hold spaces and parentheses of its own.
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
            for task in (process / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total * 1_000_000_000 // sysconf("SC_CLK_TCK")
