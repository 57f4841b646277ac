"""How long the emulated Pi takes to boot: `python -m bench.pi.emulated.machine_benchmark` prints JSON.

Seconds on the wall until one can log in, and CPU seconds of this host for the whole life of the machine.
"""

import json
import platform
import resource
from os import getloadavg
from time import monotonic

from bench.pi.emulated.image import PiImage, build_image
from bench.pi.emulated.machine import PiMachine


def main() -> None:
    """Boot with both clocks and print what was measured."""
    image = build_image()
    figures = {
        "host": f"real, {platform.machine()}, load {getloadavg()[0]:.1f}",
        "image_mb": round(image.size_bytes / 1e6),
        "clock of the host": measure(image, instruction_clock=False),
        "instruction clock": measure(image, instruction_clock=True),
    }
    print(json.dumps(figures, indent=2))


def measure(image: PiImage, *, instruction_clock: bool) -> dict[str, float | int]:
    """Boot once, look at the card, shut down."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = monotonic()
    with PiMachine(image, instruction_clock=instruction_clock) as machine:
        machine.start()
        machine.wait_until_reachable(1800.0)
        reachable_s = monotonic() - started_s
        traffic = machine.card_traffic()
        machine.shut_down()
        down_s = monotonic() - started_s - reachable_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "reachable_s": round(reachable_s, 1),
        "shut_down_s": round(down_s, 1),
        "cpu_s": round(cpu_s, 1),
        "card_reads": traffic.reads,
        "card_writes": traffic.writes,
        "card_flushes": traffic.flushes,
    }


if __name__ == "__main__":
    main()
