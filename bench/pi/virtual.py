"""The virtual seat of a Pi: the gateway's own code, radio chip and store, charged with calibrated costs."""

from collections.abc import Sequence

from bench.pi.runner import LedgerRunner, RadioInterrupt
from bench.pi.uplink import UplinkEnd
from bench.radio.spi_port import ChipPort
from bench.radio.sx1278 import Sx1278
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
        chip: Sx1278,
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
