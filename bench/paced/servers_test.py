"""What stands on the ways to a server, trial after trial."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench.paced.emulated_server import EmulatedServerSeat
from bench.paced.servers import between_trials, undisturbed
from bench.pi.ledger_process import LedgerEvent, LedgerFailureError
from bench.pi.vpn.keys import make_private_key
from bench.pi.vpn.relay import Relay
from bench.rig.infrastructure import InfrastructureError
from bench.rig.loader import load_rig
from bench.rig.model import Outage
from bench.world.simulation import NS_PER_S
from bench.world.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rig.model import Branch

RIG = load_rig(Path(__file__).parents[2] / "rigs/emulated.toml")


class Server(EmulatedServerSeat):
    """Has a relay, and a tunnel without any session."""

    def __init__(self, way: Relay, folder: Path) -> None:
        super().__init__(RIG, folder)
        self.way = way
        self.orders: Any = SimpleNamespace(seed=Stream(7))

    def relay(self, branch: Branch) -> Relay:  # noqa: ARG002  # there is one branch
        return self.way

    def check_tunnel(self, branch: Branch) -> None:
        raise InfrastructureError("VPN", f"no handshake with {branch.name}", "look at it")


@pytest.fixture
def branch() -> Branch:
    [branch] = RIG.branches
    uplink = branch.uplink.model_copy(update={"outages": (Outage(from_s=600, to_s=900),)})
    return branch.model_copy(update={"uplink": uplink})


@pytest.fixture
def server(branch: Branch, tmp_path: Path) -> Iterator[Server]:
    anywhere = ("127.0.0.1", 0)
    plan, stream = undisturbed(branch.uplink), between_trials(branch)
    with Relay("east", anywhere, anywhere, make_private_key().public, plan, stream) as relay:
        yield Server(relay, tmp_path)


@pytest.mark.parametrize(("began_s_ago", "is_told"), [(0, True), (700, False), (1000, False), (1200, True)])
def test_a_planned_outage_is_no_broken_tunnel(
    server: Server, branch: Branch, began_s_ago: int, is_told: bool
) -> None:
    """Nor is its end, until a handshake is due again."""
    server.begin(branch, time.monotonic_ns() - began_s_ago * NS_PER_S, branch.uplink)
    if is_told:
        with pytest.raises(InfrastructureError, match="no handshake with east"):
            server.check_way(branch)
    else:
        server.check_way(branch)


def test_an_outage_ends_with_its_trial(server: Server, branch: Branch) -> None:
    server.begin(branch, time.monotonic_ns() - 700 * NS_PER_S, branch.uplink)
    assert len(server.way.account().up.outage_hits) == 1
    server.calm(branch)
    assert server.way.account().up.outage_hits == ()
    with pytest.raises(InfrastructureError):
        server.check_way(branch)


def test_a_server_that_began_anew_is_told(server: Server) -> None:
    started = LedgerEvent(0, "started", {})
    server.hear(started)
    server.check_life()
    server.hear(started)
    with pytest.raises(LedgerFailureError, match="server was started 2 times"):
        server.check_life()
