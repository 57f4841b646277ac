from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.faults.plan import FaultEvidence, FaultKind, planned_faults
from bench.paced.crash import crash_window_ns, strike_all
from bench.paced.scene import Audit, Scene, SceneOver
from bench.rig.infrastructure import InfrastructureError
from bench.world.paced import PacedWorld
from bench.world.simulation import NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = planned_faults(Stream(3, "faults"), 2, 1)


class Gateway:
    """Counts its lives; one that is immortal survives whatever is done to it."""

    name = "east/pi"

    def __init__(
        self, *, immortal: bool = False, clean: bool = True, lost_after: int = 0, way: bool = True
    ) -> None:
        self.immortal = immortal
        self.clean = clean
        self.lost_after = lost_after
        self.way = way
        self.lives = 1
        self.struck: list[str] = []

    def life(self) -> str:
        return str(self.lives)

    def kill_gateway(self) -> None:
        self.struck.append("killed")
        self.lives += not self.immortal

    def cut_power(self, seed: int) -> None:
        self.struck.append(f"cut {seed}")
        self.lives += not self.immortal

    def audit(self) -> Audit:
        return Audit(self.clean, f"after {len(self.struck)}")

    def wait_until_joined(self) -> None:
        if self.lost_after == len([step for step in self.struck if step != "joined"]):
            raise InfrastructureError(self.name, "has not connected", "look at its log", retry_helps=True)
        self.struck.append("joined")

    def check_way(self) -> None:
        if not self.way:
            raise InfrastructureError("VPN of east/pi", "no handshake", "see the relay", retry_helps=True)


@pytest.fixture
def world() -> Iterator[PacedWorld]:
    with PacedWorld(Simulation(), Trace()) as paced:
        yield paced


def struck(world: PacedWorld, gateway: Gateway) -> list[FaultEvidence]:
    evidence: list[FaultEvidence] = []
    scene = Scene(world, [gateway], world.now_ns + 60 * NS_PER_S)
    strike_all(FAULTS, scene, found=evidence.append)
    assert scene.window_end_ns <= world.now_ns, "the window closes when all has happened"
    return evidence


def test_every_fault_strikes_in_its_order_and_is_audited_before_the_gateway_is_back(
    world: PacedWorld,
) -> None:
    gateway = Gateway()
    evidence = struck(world, gateway)
    assert [found.fault for found in evidence] == list(FAULTS)
    assert all(found.fired and found.clean for found in evidence)
    wanted = [
        step
        for fault in FAULTS
        for step in (
            "killed" if fault.kind is FaultKind.GATEWAY_KILLED else f"cut {fault.seed}",
            "joined",
        )
    ]
    assert gateway.struck == wanted
    assert [found.audit for found in evidence] == ["after 1", "after 3", "after 5"]
    times = [t_ns for found in evidence for t_ns in (found.struck_ns, found.recovered_ns)]
    assert times == sorted(t_ns for t_ns in times if t_ns is not None)


def test_a_fault_that_did_not_fire_and_a_ledger_that_is_damaged_are_told(world: PacedWorld) -> None:
    assert not any(found.fired for found in struck(world, Gateway(immortal=True)))
    assert not any(found.clean for found in struck(world, Gateway(clean=False)))


def test_a_gateway_that_does_not_come_back_is_told_and_struck_no_more(world: PacedWorld) -> None:
    *_, last = evidence = struck(world, Gateway(lost_after=2))
    assert [found.recovered_ns is None for found in evidence] == [False, True]
    assert "not well again" in str(last)


def test_where_the_way_is_down_nothing_is_said_of_the_gateway(world: PacedWorld) -> None:
    with pytest.raises(InfrastructureError, match="no handshake"):
        struck(world, Gateway(lost_after=2, way=False))


def test_a_window_too_short_for_the_plan_ends_it(world: PacedWorld) -> None:
    scene = Scene(world, [Gateway()], world.now_ns + FAULTS[0].after_ns // 2)
    with pytest.raises(SceneOver):
        strike_all(FAULTS, scene, found=lambda _evidence: None)


def test_a_window_is_planned_for_every_recovery() -> None:
    assert crash_window_ns(FAULTS) > sum(fault.after_ns for fault in FAULTS) + 2 * 60 * NS_PER_S
