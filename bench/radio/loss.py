"""Packets that a link loses by plan, besides what collisions and range cost: independent or in bursts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

PPM = 1_000_000


class Draws(Protocol):
    """The part of a random stream that decides losses."""

    def below(self, bound: int, index: int) -> int:
        """An integer in [0, bound) at `index`."""
        ...


class LinkLoss(Protocol):
    """The losses of one link, asked once for each packet that could be received on it, in their order."""

    def takes(self) -> bool:
        """Whether the next packet is lost."""
        ...


class LossPlan(Protocol):
    """What makes the losses of each link."""

    def on_link(self, draws: Draws) -> LinkLoss:
        """The losses of one link, drawn from its own stream."""
        ...


def _checked_ppm(name: str, value: int) -> None:
    if not 0 <= value <= PPM:
        raise ValueError(f"{name} is {value} ppm: it must be from 0 to {PPM}")


@dataclass(frozen=True, slots=True)
class IndependentLoss:
    """Each packet is lost with the same probability."""

    loss_ppm: int

    def __post_init__(self) -> None:
        _checked_ppm("loss", self.loss_ppm)

    def on_link(self, draws: Draws) -> LinkLoss:
        """The losses of one link."""
        return _IndependentLinkLoss(self.loss_ppm, draws)


@dataclass(frozen=True, slots=True)
class GilbertLoss:
    """A Gilbert chain over the packets of a link, with a third state for long outages.

    All packets of the good state pass, all of the bad and of the outage state are lost.
    `bad_after_good_ppm` and `good_after_bad_ppm` are p and r of Gilbert's model: without outages
    the loss is p / (p + r) and a burst lasts 1 / r packets. An outage begins after a good packet
    with `outage_after_good_ppm` and ends with `good_after_outage_ppm`.
    """

    bad_after_good_ppm: int
    good_after_bad_ppm: int
    outage_after_good_ppm: int = 0
    good_after_outage_ppm: int = PPM

    def __post_init__(self) -> None:
        for name in self.__slots__:
            _checked_ppm(name, getattr(self, name))
        if self.bad_after_good_ppm + self.outage_after_good_ppm > PPM:
            raise ValueError("bad_after_good_ppm and outage_after_good_ppm together exceed 1000000")

    def on_link(self, draws: Draws) -> LinkLoss:
        """The losses of one link, which begins in the good state."""
        return _GilbertLinkLoss(self, draws)


class _IndependentLinkLoss:
    __slots__ = ("_asked", "_draws", "_loss_ppm")

    def __init__(self, loss_ppm: int, draws: Draws) -> None:
        self._loss_ppm = loss_ppm
        self._draws = draws
        self._asked = 0

    def takes(self) -> bool:
        self._asked += 1
        return self._draws.below(PPM, self._asked) < self._loss_ppm


class _State(Enum):
    GOOD = 0
    BAD = 1
    OUTAGE = 2


class _GilbertLinkLoss:
    __slots__ = ("_asked", "_draws", "_plan", "_state")

    def __init__(self, plan: GilbertLoss, draws: Draws) -> None:
        self._plan = plan
        self._draws = draws
        self._state = _State.GOOD
        self._asked = 0

    def takes(self) -> bool:
        self._asked += 1
        draw = self._draws.below(PPM, self._asked)
        plan = self._plan
        if self._state is _State.GOOD:
            if draw < plan.bad_after_good_ppm:
                self._state = _State.BAD
            elif draw < plan.bad_after_good_ppm + plan.outage_after_good_ppm:
                self._state = _State.OUTAGE
        elif draw < (plan.good_after_bad_ppm if self._state is _State.BAD else plan.good_after_outage_ppm):
            self._state = _State.GOOD
        return self._state is not _State.GOOD
