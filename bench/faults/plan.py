"""A plan of faults that strike one after the other, each at a moment drawn by seed, and what they led to."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.world.simulation import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from bench.world.streams import Stream

_EARLIEST_NS = 200 * NS_PER_MS
_SPREAD_NS = 4 * NS_PER_S


class FaultKind(enum.StrEnum):
    """What strikes."""

    GATEWAY_KILLED = "gateway_killed"
    """SIGKILL of the gateway's process; systemd starts it again."""
    PI_POWER_CUT = "pi_power_cut"
    """The Pi loses its supply, and with it all that its card was not asked to flush; then it boots again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: it strikes `after_ns` after everything was well again."""

    number: int
    kind: FaultKind
    after_ns: int
    seed: int
    """For what chance decides in the fault itself."""


@dataclass(frozen=True, slots=True)
class FaultEvidence:
    """That a fault fired, and what was found afterwards."""

    fault: Fault
    struck_ns: int
    """World time."""
    fired: bool
    """Whether the thing that was struck was seen to go down: its process or its boot is another one now."""
    recovered_ns: int | None
    """World time at which the gateway was in touch with its server again; None if that was not seen."""
    audit: str
    """What `ledger verify` said of the gateway's ledger, as soon as the Pi could be asked."""
    clean: bool

    def __str__(self) -> str:
        """One line of the report."""
        well = (
            "not well again"
            if self.recovered_ns is None
            else f"well again after {(self.recovered_ns - self.struck_ns) / NS_PER_S:.1f} s"
        )
        return (
            f"{self.fault.number}: {self.fault.kind} at {self.struck_ns / NS_PER_S:.3f} s, "
            f"{'fired' if self.fired else 'did not fire'}, {well}; audit: {self.audit}"
        )


def planned_faults(stream: Stream, kills: int, power_cuts: int) -> tuple[Fault, ...]:
    """So many faults of each kind in an order and at moments drawn from `stream`.

    The moments are spread over seconds, longer than the gateway takes for a frame, a block or an exchange.
    """
    kinds = [FaultKind.GATEWAY_KILLED] * kills + [FaultKind.PI_POWER_CUT] * power_cuts
    order = sorted(range(len(kinds)), key=lambda place: (stream.child("order").bits(place), place))
    return tuple(
        Fault(
            number,
            kinds[place],
            _EARLIEST_NS + stream.child("moment").below(_SPREAD_NS, number),
            stream.child("chance").below(2**31, number),
        )
        for number, place in enumerate(order, start=1)
    )
