"""The virtual seat of a Pi: the gateway's own code, radio chip and store, charged with calibrated costs."""

from collections.abc import Callable, Sequence
from typing import Protocol

from bench.pi.runner import LedgerRunner, RadioInterrupt
from bench.pi.uplink import UplinkEnd
from bench.rig.calibration import Calibration
from bench.world.simulation import Simulation
from bench.world.trace import Trace
from ledger.effects import Effect, Spent
from ledger.gateway.gateway import BatchRule, Gateway
from ledger.gateway.radio_loop import RadioLoop
from ledger.gateway.sx1278 import RadioSettings
from ledger.gateway.sx1278 import Sx1278 as Driver
from ledger.messages import NodeMessage, Tick
from ledger.node import Node
from ledger.registry import Registry
from ledger.store.sqlite import SqliteStore


class Chip(Protocol):
    """The radio chip on the Pi's SPI bus."""

    dio0: Callable[[bool], None] | None

    def select(self) -> None:
        """Chip select goes low."""

    def transfer(self, mosi: int) -> int:
        """One byte over SPI."""

    def deselect(self) -> None:
        """Chip select goes high."""


class ChipPort:
    """The SPI port of `ledger.gateway.port`, on the register model of the chip."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip

    def transfer(self, data: bytes) -> bytes:
        """One selection of the chip, `data` in and as many bytes out."""
        self._chip.select()
        answer = bytes(map(self._chip.transfer, data))
        self._chip.deselect()
        return answer


class VirtualPi:
    """One gateway in virtual time.

    The gateway's process runs on one core; `calibration` says how long each operation keeps it busy, and a
    durable commit waits for the card besides.
    """

    def __init__(
        self,
        name: str,
        node: Node,
        registry: Registry,
        store: SqliteStore,
        batch: BatchRule,
        chip: Chip,
        settings: RadioSettings,
        calibration: Calibration,
        simulation: Simulation,
        trace: Trace,
    ) -> None:
        self.name = name
        self.store = store
        self._calibration = calibration
        self._loop = RadioLoop(Driver(ChipPort(chip), settings), Gateway(node, registry, store, batch))
        self.runner = LedgerRunner(
            name, self._handle, simulation, trace, self._charge_ns, transmit=self._loop.transmit
        )
        chip.dio0 = self._dio0

    def join(self, end: UplinkEnd, peer: str) -> None:
        """Take the gateway's end of the way to the server."""
        self.runner.join(end, peer)

    def power_on(self) -> None:
        """Configure the radio and begin to listen."""
        self._loop.start()
        self.runner.machine.post(Tick())

    def _dio0(self, high: bool) -> None:
        if high:
            self.runner.machine.post(RadioInterrupt())

    def _handle(self, message: NodeMessage | RadioInterrupt, now_ns: int) -> Sequence[Effect]:
        if isinstance(message, RadioInterrupt):
            return self._loop.dio0_rose(now_ns)
        return self._loop.handle(message, now_ns)

    def _charge_ns(self, spent: Spent) -> int:
        return self._calibration.charge_ns(spent.operation, spent.count)
