"""The virtual seat of the server: a node of the ledger to which every branch's uplink leads.

Its processor is not charged: a server is sized by its operator, and no figure of this seat is a calibration.
"""

from bench.pi.runner import LedgerRunner, RadioInterrupt
from bench.pi.uplink import UplinkEnd
from bench.world.simulation import Simulation
from bench.world.trace import Trace
from ledger.effects import NodeEffect
from ledger.messages import NodeMessage
from ledger.node import Node


class VirtualServer:
    """The node that all gateways sync with."""

    def __init__(self, name: str, node: Node, simulation: Simulation, trace: Trace) -> None:
        self.name = name
        self.node = node
        self.runner = LedgerRunner(name, self._handle, simulation, trace, charge=lambda _spent: 0)

    def join(self, end: UplinkEnd, gateway: str) -> None:
        """Take the server's end of a branch's uplink."""
        self.runner.join(end, gateway)

    def _handle(self, message: NodeMessage | RadioInterrupt, now_ns: int) -> list[NodeEffect]:
        assert not isinstance(message, RadioInterrupt), "a server has no radio"
        return self.node.handle(message, now_ns)
