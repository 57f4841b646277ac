"""What a byte to and from the radio chip costs the gateway, by the driver's own transfers on the board's own
port.

Nothing is sent and no setting is changed: the transfers have the driver's lengths, but all of them read the
chip's version register, and the driver is answered from a script. A transfer keeps the gateway waiting, so
the steady clock counts here and not CPU time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.effects import Operation
from ledger.gateway.sx1278 import CHIP_VERSION, Interrupt, RadioError, RadioSettings, Register, Sx1278
from ledger.measure.timing import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.effects import Effect
    from ledger.gateway.port import SpiPort
    from ledger.measure.timing import Batch

FRAME_BYTES: Final = 61
ACKNOWLEDGEMENT_BYTES: Final = 19
_CALLS: Final = 8


class ScriptedPort:
    """Makes each transfer on a real port as a mere reading of the version, and answers as a chip with a
    packet.
    """

    def __init__(self, port: SpiPort) -> None:
        self._port = port

    def transfer(self, data: bytes) -> bytes:
        """Transfer as many bytes on the real port; answer from the script."""
        self._port.transfer(bytes([Register.VERSION]) + bytes(len(data) - 1))
        if data[0] == Register.FIFO_RX_CURRENT_ADDR:
            return bytes([0, 0, 0, 0, FRAME_BYTES])
        if data[0] == Register.IRQ_FLAGS:
            return bytes([0, Interrupt.RECEIVE_DONE])
        return bytes(len(data))


def check_chip(port: SpiPort) -> None:
    """Raise RadioError when no SX1278 answers on this port."""
    version = port.transfer(bytes([Register.VERSION, 0]))[1]
    if version != CHIP_VERSION:
        raise RadioError(
            f"the chip on SPI reads version 0x{version:02x}, an SX1278 has 0x{CHIP_VERSION:02x}: check the"
            " wiring and that SPI is switched on"
        )


def radio_tasks(port: SpiPort) -> list[Task]:
    """Return the two tasks: to fetch a frame, and to answer it and listen again."""
    driver = Sx1278(ScriptedPort(port), RadioSettings())

    def fetch() -> Sequence[Effect]:
        for _ in range(_CALLS):
            _fetch(driver)
        return ()

    def answer() -> Sequence[Effect]:
        for _ in range(_CALLS):
            _answer(driver)
        return ()

    return [Task("radio_fetch", _CALLS, lambda: fetch), Task("radio_answer", _CALLS, lambda: answer)]


def _fetch(driver: Sx1278) -> None:
    driver.read_packet(driver.interrupts())


def _answer(driver: Sx1278) -> None:
    """As `ledger.gateway.radio_loop` does: look whether a packet came, send, look why DIO0 rose, listen."""
    driver.interrupts()
    driver.transmit(bytes(ACKNOWLEDGEMENT_BYTES))
    driver.interrupts()
    driver.start_receiving()


class _Silence:
    """A port without a chip."""

    def transfer(self, data: bytes) -> bytes:
        return bytes(len(data))


def transferred_bytes() -> dict[str, tuple[int, int]]:
    """Return the bytes that the driver counts as read and as written in one call of each task."""
    counts = {}
    for name, work in (("radio_fetch", _fetch), ("radio_answer", _answer)):
        driver = Sx1278(ScriptedPort(_Silence()), RadioSettings())
        work(driver)
        counts[name] = (driver.bytes_read, driver.bytes_written)
    return counts


def radio_costs(batches: Mapping[str, Sequence[Batch]], number: int) -> dict[Operation, float]:
    """Return what a byte read and a byte written cost in one round, ns, such that both tasks come out as
    measured.
    """
    (read_1, written_1), (read_2, written_2) = (
        transferred_bytes()[name] for name in ("radio_fetch", "radio_answer")
    )
    fetch_ns, answer_ns = (
        batches[name][number].elapsed_ns_per_call for name in ("radio_fetch", "radio_answer")
    )
    determinant = read_1 * written_2 - read_2 * written_1
    return {
        Operation.RADIO_READ: (fetch_ns * written_2 - answer_ns * written_1) / determinant,
        Operation.RADIO_WRITE: (read_1 * answer_ns - read_2 * fetch_ns) / determinant,
    }
