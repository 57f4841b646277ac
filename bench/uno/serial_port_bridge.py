"""A pty in front of a port that is served somewhere, for programs that can open nothing else."""

import contextlib
import os
import select
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bench.uno.serial_port import open_serial

_AT_ONCE: Final = 4096
_POLL_S: Final = 0.02
_DTR_LOW_S: Final = 0.05


@contextmanager
def bridged(seat: str, url: str) -> Iterator[str]:
    """Reset the board by DTR; the path is that of a pty with its bytes. Raises InfrastructureError."""
    port = open_serial(seat, url)
    master, slave = os.openpty()
    ended = threading.Event()

    def to_board() -> None:
        while not ended.is_set():
            if select.select([master], [], [], _POLL_S)[0]:
                port.write(os.read(master, _AT_ONCE))

    def to_host() -> None:
        while not ended.is_set():
            os.write(master, port.read(max(1, port.in_waiting)))

    def carry(work: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):  # the connection is lost: the program at the pty will find silence
            work()

    carriers = [threading.Thread(target=carry, args=(work,), daemon=True) for work in (to_board, to_host)]
    try:
        tty.setraw(slave)
        port.dtr = False
        time.sleep(_DTR_LOW_S)
        port.dtr = True
        for carrier in carriers:
            carrier.start()
        yield os.ttyname(slave)
    finally:
        ended.set()
        for carrier in carriers:
            if carrier.is_alive():
                carrier.join()
        with contextlib.suppress(OSError):
            port.close()
        os.close(slave)
        os.close(master)
