"""ALOHA nodes and one gateway on the medium, without chips: for comparison with published figures."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.radio.medium import Medium
from bench.radio.modulation import Modulation, Packet
from bench.radio.propagation import FixedLinks
from bench.radio.reception import Outcome, ReceptionRule
from bench.world.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.radio.reception import Reception

GATEWAY: Final = "gateway"
SF12: Final = Modulation(433_175_000, 12, 7, low_data_rate=True)
_POWER_CDBM: Final = 1000


@dataclass(frozen=True, slots=True)
class AlohaTrial:
    """Nodes that idle for an exponential time, send one packet, and so on, until `packets` are judged.

    `attenuations_cdb` holds each node's loss to the gateway. Traffic is drawn from `seed`.
    """

    attenuations_cdb: tuple[int, ...]
    packets: int
    seed: int
    idle_mean_ns: int = 1_000_000_000_000
    modulation: Modulation = SF12
    packet: Packet = field(default_factory=lambda: Packet(bytes(20)))
    rule: ReceptionRule = field(default_factory=ReceptionRule)

    def run(self) -> Counter[Outcome]:
        """How many packets had each outcome at the gateway."""
        calendar = Calendar()
        names = [f"node-{index}" for index in range(len(self.attenuations_cdb))]
        between_cdb: Mapping[tuple[str, str], int] = {
            (name, GATEWAY): loss_cdb for name, loss_cdb in zip(names, self.attenuations_cdb, strict=True)
        }
        medium = Medium(
            Stream(self.seed, "medium"), NoTrace(), calendar, FixedLinks(0, between_cdb), rule=self.rule
        )
        gateway = medium.attach(GATEWAY, Ear(), keeps_account=True)
        medium.listen(gateway, self.modulation)
        draws = random.Random(f"traffic {self.seed}")
        for name in names:
            _Node(name, self, medium, calendar, draws)
        outcomes = medium.outcomes
        while outcomes.total() < self.packets:
            calendar.advance(64)
        return Counter({outcome: count for (_, outcome), count in outcomes.items()})


def disk_attenuations_cdb(nodes: int, seed: int, exponent: float = 2.08) -> tuple[int, ...]:
    """Losses of nodes spread evenly over a disk around the gateway, all well above sensitivity."""
    draws = random.Random(f"placement {seed}")
    # The area within a radius grows with its square, so the square of the distance is uniform.
    return tuple(5000 + round(500 * exponent * math.log10(1 - draws.random())) for _ in range(nodes))


class Calendar:
    """The least calendar that carries the medium."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._made = 0
        self._never = _NeverCancelled()

    def at(self, t_ns: int, source: str, action: Callable[[], None], /) -> _NeverCancelled:  # noqa: ARG002 - a clock's face
        """Have `action` called at `t_ns`."""
        self._made += 1
        heapq.heappush(self._due, (t_ns, self._made, action))
        return self._never

    def advance(self, appointments: int) -> None:
        """Keep that many appointments, or all there are."""
        due = self._due
        for _ in range(appointments):
            if not due:
                break
            self.now_ns, _, action = heapq.heappop(due)
            action()


class NoTrace:
    """A trace that nobody reads."""

    def record(self, t_ns: int, source: str, kind: str, /, **fields: int | str | bytes | bool) -> None:
        """Forget it."""


class Ear:
    """A listener that leaves the counting to the medium."""

    def transmitted(self) -> None:
        """Nothing to do."""

    def header_received(self, length: int, coding_rate: int, crc: bool) -> bool:  # noqa: ARG002 - a listener's face
        """Accept any."""
        return True

    def packet_received(self, reception: Reception) -> None:
        """Nothing to do."""

    def reception_lost(self) -> None:
        """Nothing to do."""

    def activity_sensed(self, detected: bool) -> None:
        """Nothing to do."""


class _NeverCancelled:
    def cancel(self) -> None:
        raise AssertionError("nothing cancels in an ALOHA trial")


class _Node(Ear):
    def __init__(
        self, name: str, trial: AlohaTrial, medium: Medium, calendar: Calendar, draws: random.Random
    ) -> None:
        self._name = name
        self._trial = trial
        self._medium = medium
        self._calendar = calendar
        self._draws = draws
        self._station = medium.attach(name, self)
        self.transmitted()

    def transmitted(self) -> None:
        idle_ns = round(self._draws.expovariate(1 / self._trial.idle_mean_ns))
        self._calendar.at(self._calendar.now_ns + idle_ns, self._name, self._send)

    def _send(self) -> None:
        self._medium.transmit(self._station, self._trial.modulation, self._trial.packet, _POWER_CDBM)
