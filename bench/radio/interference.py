"""How much weaker other transmissions must be for a packet to survive them.

The matrices are indexed by wanted and interfering spreading factor, 7 to 12, in 0.01 dB. Sources:
Croce et al. 10.1109/LCOMM.2018.2797057 (as used by FLoRa and LoRaFREE); Goursaud and Gorce (as used
by ns-3 lorawan). Spreading factor 6 is treated as 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.radio.modulation import Modulation

Matrix = tuple[tuple[int, ...], ...]


def _cdb(*rows: str) -> Matrix:
    return tuple(tuple(int(cell) * 100 for cell in row.split(",")) for row in rows)


CROCE: Final = _cdb(
    "1,-8,-9,-9,-9,-9",
    "-11,1,-11,-12,-13,-13",
    "-15,-13,1,-13,-14,-15",
    "-19,-18,-17,1,-17,-18",
    "-22,-22,-21,-20,1,-20",
    "-25,-25,-25,-24,-23,1",
)
GOURSAUD: Final = _cdb(
    "6,-16,-18,-19,-19,-20",
    "-24,6,-20,-22,-22,-22",
    "-27,-27,6,-23,-25,-25",
    "-30,-30,-30,6,-26,-28",
    "-33,-33,-33,-33,6,-29",
    "-36,-36,-36,-36,-36,6",
)


@dataclass(frozen=True, slots=True)
class InterferenceRule:
    """The signal-to-interference ratio a packet section needs against each kind of interferer.

    `matrix` holds what applies between different spreading factors; `same_slope_cdb` what applies
    between equal chirp slopes (BW^2 / 2^SF), equal spreading factors at one bandwidth among them. It must
    be positive: two packets can then never both survive each other. `sums_power` adds up interferers of one
    kind; without it each is met alone, as in LoRaSim.
    """

    matrix: Matrix = CROCE
    same_slope_cdb: int = 600
    sums_power: bool = True

    def __post_init__(self) -> None:
        if self.same_slope_cdb <= 0:
            raise ValueError(f"same_slope_cdb is {self.same_slope_cdb}: it must be positive")

    def required_cdb(self, wanted: Modulation, interferer: Modulation) -> int | None:
        """Least ratio of signal to the sum of such interferers, or None if they share no spectrum."""
        if not wanted.overlaps(interferer):
            return None
        if wanted.chirp_slope == interferer.chirp_slope:
            return self.same_slope_cdb
        row = max(wanted.spreading_factor, 7) - 7
        column = max(interferer.spreading_factor, 7) - 7
        # One spreading factor at two bandwidths has two slopes; the matrices do not cover it, so the
        # nearest off-diagonal entry of the row stands in.
        if row == column:
            return max(self.matrix[row][other] for other in range(6) if other != row)
        return self.matrix[row][column]
