"""What a link loses: a fixed amount, or by distance with frozen shadowing and fading per packet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, Self

from bench.radio.decibel import log2_scaled, ratio_cdb

if TYPE_CHECKING:
    from collections.abc import Mapping


class Draws(Protocol):
    """Counter-based randomness."""

    def child(self, *names: str | int) -> Self:
        """A stream of its own below this one."""
        ...

    def bits(self, index: int) -> int:
        """A 64-bit integer at `index`."""
        ...


@dataclass(frozen=True, slots=True)
class FixedLinks:
    """Every link has the same loss, but for those named; (a, b) means both directions.

    A hidden pair is one with a loss that nothing overcomes.
    """

    default_cdb: int
    between_cdb: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def attenuation_cdb(self, sender: str, receiver: str) -> int:
        """Loss of the link."""
        between = self.between_cdb
        return between.get((sender, receiver), between.get((receiver, sender), self.default_cdb))

    def fading_cdb(self, sender: str, receiver: str, number: int) -> int:  # noqa: ARG002 - the face of all link budgets
        """No fading."""
        return 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where an antenna stands, in millimetres."""

    x_mm: int
    y_mm: int

    def distance_mm(self, other: Position) -> int:
        """Distance of two antennas, at least 1 mm."""
        square = (self.x_mm - other.x_mm) ** 2 + (self.y_mm - other.y_mm) ** 2
        return max(1, math.isqrt(square))


@dataclass(frozen=True, slots=True)
class PathLoss:
    """Log-distance path loss: reference + 10 exponent log10(distance / reference); sigma of the shadowing."""

    reference_mm: int
    reference_cdb: int
    exponent_percent: int
    shadowing_cdb: int

    def median_cdb(self, distance_mm: int) -> int:
        """Loss over a distance, without shadowing."""
        return (
            self.reference_cdb
            + (ratio_cdb(distance_mm, self.reference_mm) * self.exponent_percent + 50) // 100
        )


BUILT_UP_433: Final = PathLoss(40_000, 12741 - 604, 208, 357)
"""LoRaSim's built-up area and FLoRa's sigma, shifted from 868 to 433 MHz by 20 log10(868 / 433) = 6.04 dB."""

OULU_433: Final = PathLoss(1_000_000, 12895 - 604, 232, 780)
"""The Oulu measurements (antenna gain of 2 dB included), shifted likewise."""


class DistanceLinks:
    """Links between antennas that stand somewhere.

    Shadowing is drawn once for each pair of stations, the same in both directions. With
    `rayleigh_fading`, each packet's power at each receiver is further scaled by a draw from an exponential
    distribution of mean 1 (block fading).
    """

    def __init__(
        self,
        draws: Draws,
        path_loss: PathLoss,
        positions: Mapping[str, Position],
        *,
        rayleigh_fading: bool = False,
    ) -> None:
        self._shadowing = draws.child("shadowing")
        self._fading = draws.child("fading")
        self._path_loss = path_loss
        self._positions = positions
        self._rayleigh_fading = rayleigh_fading
        self._fading_of: dict[tuple[str, str], Draws] = {}

    def attenuation_cdb(self, sender: str, receiver: str) -> int:
        """Median loss over the distance, and the link's shadowing."""
        distance_mm = self._position(sender).distance_mm(self._position(receiver))
        ends = self._shadowing.child(*sorted((sender, receiver)))
        shadowing_cdb = _gaussian_scaled(ends) * self._path_loss.shadowing_cdb >> 16
        return self._path_loss.median_cdb(distance_mm) + shadowing_cdb

    def fading_cdb(self, sender: str, receiver: str, number: int) -> int:
        """Fading of one packet; negative for a gain."""
        if not self._rayleigh_fading:
            return 0
        link = (sender, receiver)
        if link not in self._fading_of:
            self._fading_of[link] = self._fading.child(sender, receiver)
        return rayleigh_fading_cdb(self._fading_of[link].bits(number))

    def _position(self, station: str) -> Position:
        if station not in self._positions:
            raise ValueError(f"station {station} has no position; give one to each that shares the medium")
        return self._positions[station]


_LN_2_CDB: Final = -159  # 10 log10(ln 2) = -1.5917 dB


def rayleigh_fading_cdb(bits: int) -> int:
    """Loss by Rayleigh fading for a uniform 64-bit draw: -10 log10(-ln u)."""
    uniform = (bits >> 32 << 1) + 1  # odd numerators of 2**33: neither 0 nor 1
    minus_log2_scaled = (33 << 16) - log2_scaled(uniform)
    return -(ratio_cdb(max(minus_log2_scaled, 1), 1 << 16) + _LN_2_CDB)


def _gaussian_scaled(draws: Draws) -> int:
    """A standard normal draw times 2**16: the sum of twelve uniform ones (Irwin-Hall), within 6 sigma."""
    total = 0
    for index in range(3):
        bits = draws.bits(index)
        total += (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
    return total - 6 * 0xFFFF
