"""A trial of a paced rig while it plays: what those may touch who disturb it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from bench.world.paced import PacedWorld


@dataclass(frozen=True, slots=True)
class Audit:
    """What `ledger verify` said of a gateway's ledger."""

    clean: bool
    summary: str


class Disturbable(Protocol):
    """A gateway on its Pi, as those see it who disturb it. All may raise InfrastructureError."""

    @property
    def name(self) -> str:
        """The Pi's name."""

    def life(self) -> str:
        """What tells one life of the gateway from the next: boot and process."""

    def kill_gateway(self) -> None:
        """End the gateway's process by SIGKILL."""

    def cut_power(self, seed: int) -> None:
        """Take the Pi's power, with all that its card has not flushed as `seed` decides, and give it back."""

    def audit(self) -> Audit:
        """Have the gateway's ledger verified, on the Pi."""

    def wait_until_joined(self) -> None:
        """Wait until the gateway runs and is in touch with its server."""

    def check_way(self) -> None:
        """Raise what says that the VPN between them is down, if it is."""


class SceneOver(Exception):  # noqa: N818  # no error: the time of the trial is over
    """The trial has come to its end."""


@dataclass(slots=True)
class Scene:
    """The world of the trial, the gateways in it, and when its judged window ends in world time."""

    world: PacedWorld
    gateways: Sequence[Disturbable]
    window_end_ns: int
    _over: threading.Event = field(default_factory=threading.Event)

    def wait(self, duration_ns: int) -> None:
        """Let time pass. Raises SceneOver when the window ends meanwhile."""
        left_ns = self.window_end_ns - self.world.now_ns
        if duration_ns > left_ns or self._over.wait(duration_ns / NS_PER_S):
            raise SceneOver

    def close_window(self) -> None:
        """Let the window end now, since all that it was open for has happened."""
        self.window_end_ns = min(self.window_end_ns, self.world.now_ns)

    def end(self) -> None:
        """Let whoever waits stop waiting."""
        self._over.set()


Disturb = Callable[[Scene], None]
"""Does something to the gateways of a scene, in a thread of its own, until it is done or SceneOver."""
