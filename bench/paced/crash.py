"""Crashes of a gateway while a trial plays: each strikes, is seen to have struck, and is audited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.faults.plan import Fault, FaultEvidence, FaultKind
from bench.rig.infrastructure import InfrastructureError
from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.paced.scene import Disturbable, Scene

_RECOVERY_NS = {FaultKind.GATEWAY_KILLED: 60 * NS_PER_S, FaultKind.PI_POWER_CUT: 240 * NS_PER_S}
"""What a recovery may take, audit included, on a busy host: a trial that needs less ends sooner."""


def crash_window_ns(faults: Sequence[Fault]) -> int:
    """How long a trial must play so that all faults find their time."""
    return sum(fault.after_ns + _RECOVERY_NS[fault.kind] for fault in faults)


def strike_all(faults: Sequence[Fault], scene: Scene, *, found: Callable[[FaultEvidence], None]) -> None:
    """Strike the first gateway of the scene with one fault after the other; `found` is told of each.

    One from which it does not recover is the last. Raises InfrastructureError where the way to the server is
    down, so that nothing can be said of the gateway.
    """
    gateway = scene.gateways[0]
    for fault in faults:
        scene.wait(fault.after_ns)
        evidence = _struck(fault, scene, gateway)
        found(evidence)
        if evidence.recovered_ns is None:
            break
    scene.close_window()


def _struck(fault: Fault, scene: Scene, gateway: Disturbable) -> FaultEvidence:
    before = gateway.life()
    struck_ns = scene.world.now_ns
    match fault.kind:
        case FaultKind.GATEWAY_KILLED:
            gateway.kill_gateway()
        case FaultKind.PI_POWER_CUT:
            gateway.cut_power(fault.seed)
    audit = gateway.audit()
    recovered_ns = None
    try:
        gateway.wait_until_joined()
        recovered_ns = scene.world.now_ns
    except InfrastructureError:
        gateway.check_way()
    return FaultEvidence(
        fault=fault,
        struck_ns=struck_ns,
        fired=gateway.life() != before,
        recovered_ns=recovered_ns,
        audit=audit.summary,
        clean=audit.clean,
    )
