"""Transfers per second over the SPI line, as JSON: ``python -m ledger.gateway.spi_line_benchmark``.

Both ends are processes of this host with a pseudo-terminal between them, so that the figures are what the two
ends and the kernel cost, without any wire. ``host_cpu_us`` is what one transfer costs the gateway's side.
"""

from __future__ import annotations

import json
import os
import signal
import time
import tty
from functools import partial

from ledger.gateway.byte_stream import open_stream
from ledger.gateway.spi_line import MAX_TRANSFER_BYTES, ChipEnd, SpiLinePort

TRANSFERS = 2000


class FullFifo:
    """A chip that costs nothing, and in which there is something to read."""

    def select(self) -> None:
        """Nothing to do."""

    def deselect(self) -> None:
        """Nothing to do."""

    def reset(self) -> None:
        """Nothing to do."""

    def transfer(self, mosi: int) -> int:
        """Something that is no zero, as most of a sealed frame is."""
        return 0x5A ^ mosi


def serve(descriptor: int) -> None:
    """Be the chip's end, for ever."""
    end = ChipEnd(FullFifo())
    while True:
        answer = end.receive(os.read(descriptor, 4096))
        if answer:
            os.write(descriptor, answer)


def measure(port: SpiLinePort, length: int) -> dict[str, int | float]:
    """Time transfers of one length."""
    data = bytes(length)
    began_ns, began_cpu_ns = time.monotonic_ns(), time.process_time_ns()
    for _ in range(TRANSFERS):
        assert len(port.transfer(data)) == length
    elapsed_ns, cpu_ns = time.monotonic_ns() - began_ns, time.process_time_ns() - began_cpu_ns
    return {
        "bytes": length,
        "transfers_per_s": round(TRANSFERS * 1_000_000_000 / elapsed_ns),
        "host_cpu_us": round(cpu_ns / TRANSFERS / 1000, 1),
    }


def main() -> None:
    """Fork the chip's end, and measure the three lengths that a frame is made of."""
    master, slave = os.openpty()
    tty.setraw(slave)
    child = os.fork()
    if child == 0:
        serve(master)
    try:
        opener = partial(open_stream, os.ttyname(slave), 1_000_000)
        port = SpiLinePort(opener, time.monotonic_ns, time.time_ns())
        print(json.dumps([measure(port, length) for length in (2, 60, MAX_TRANSFER_BYTES)], indent=2))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
