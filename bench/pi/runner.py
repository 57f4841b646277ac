"""Runs a state machine of the ledger in virtual time: its links, ticks, expenses and refusals."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.pi.uplink import UplinkEnd
from bench.world.machine import Machine
from bench.world.simulation import Appointment, Simulation
from bench.world.trace import Trace
from ledger.effects import (
    BlockStored,
    Effect,
    IssuerFrozen,
    ReadingStored,
    Rejected,
    SendToPeer,
    Spent,
    Transmit,
    WakeAt,
)
from ledger.messages import FromPeer, NodeMessage, PeerDown, PeerUp, Tick


@dataclass(frozen=True, slots=True)
class RadioInterrupt:
    """DIO0 of the gateway's radio has risen."""


Handle = Callable[[NodeMessage | RadioInterrupt, int], Sequence[Effect]]
Transmission = Callable[[bytes, int], Sequence[Effect]]
Charge = Callable[[Spent], int]


class LedgerRunner:
    """The thin ring of input and output around a gateway or a node, in virtual time.

    `charge` says how long the processor works for what was spent; `transmit` puts a packet on the air, which
    has its own effects.
    """

    def __init__(
        self,
        name: str,
        handle: Handle,
        simulation: Simulation,
        trace: Trace,
        charge: Charge,
        transmit: Transmission | None = None,
    ) -> None:
        self.name = name
        self.machine = Machine[NodeMessage | RadioInterrupt, Effect](
            name, simulation, handle, self._cost_ns, self._perform
        )
        self.rejected: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.repeats = 0
        self.accepted_ns: dict[bytes, int] = {}
        self._simulation = simulation
        self._trace = trace
        self._charge = charge
        self._transmit = transmit
        self._links: dict[str, UplinkEnd] = {}
        self._tick: Appointment | None = None

    def join(self, end: UplinkEnd, peer: str) -> None:
        """Use this end of an uplink to talk to `peer`."""
        self._links[peer] = end
        end.attach(
            receive=lambda payload: self.machine.post(FromPeer(peer, payload)),
            announce=lambda up: self.machine.post(PeerUp(peer) if up else PeerDown(peer)),
        )

    @property
    def uplink_sent_bytes(self) -> int:
        """What was sent over all links, lost messages included."""
        return sum(end.sent_bytes for end in self._links.values())

    def _cost_ns(self, effect: Effect) -> int:
        return self._charge(effect) if isinstance(effect, Spent) else 0

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendToPeer(peer, payload):
                self._links[peer].send(payload)
            case WakeAt(t_ns):
                self._wake_at(t_ns)
            case Transmit(payload):
                assert self._transmit is not None, f"{self.name} has no radio"
                for consequence in self._transmit(payload, self._simulation.now_ns):
                    self.machine.owe(self._cost_ns(consequence))
                    self._perform(consequence)
            case Spent(operation, count):
                self.spent[operation] += count
            case Rejected(reason, detail):
                self.rejected[reason] += 1
                self._record("rejected", reason=reason, detail=detail)
            case BlockStored(block_hash, issuer, seq, readings, own):
                self.accepted_ns[block_hash] = self._simulation.now_ns
                self._record(
                    "block_stored", block=block_hash, issuer=issuer, seq=seq, readings=readings, own=own
                )
            case ReadingStored(uno_id, boot_epoch, counter, repeat):
                self.repeats += repeat
                self._record(
                    "reading_stored", uno_id=uno_id, epoch=boot_epoch, counter=counter, repeat=repeat
                )
            case IssuerFrozen(issuer, seq):
                self._record("issuer_frozen", issuer=issuer, seq=seq)

    def _wake_at(self, t_ns: int) -> None:
        if self._tick is not None:
            self._tick.cancel()
        due_ns = max(t_ns, self._simulation.now_ns)
        self._tick = self._simulation.at(due_ns, self.name, lambda: self.machine.post(Tick()))

    def _record(self, kind: str, **fields: int | str | bytes | bool) -> None:
        self._trace.record(self._simulation.now_ns, self.name, kind, **fields)
