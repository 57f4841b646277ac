"""S0 pulse meters (IEC 62053-31): each imported portion of 1 / `pulses_per_kwh` kWh closes the output for a
moment.

The meter is exact: its cumulative energy is an integer that is carried from row to row, so that pulses never
drift from the data, and a pulse starts at the first whole nanosecond at which its energy is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.sensors.dataset import PICOJOULES_PER_MWH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bench.sensors.playback import Piece, Playback

PICOJOULES_PER_KWH = PICOJOULES_PER_MWH * 1_000_000
MIN_PULSE_NS = 30_000_000
"""Shortest pulse and shortest pause between pulses that IEC 62053-31 allows."""
MAX_PULSES_PER_KWH = 1_000_000
_INT64_ROOM = 1 << 62


class S0Error(ValueError):
    """A pulse meter that cannot be; the message names the sensor and a pulse rate that works."""


class Draw(Protocol):
    """A stream of random numbers, as bench.world.streams.Stream."""

    def below(self, bound: int, index: int) -> int:
        """Give the number at `index`, in [0, bound)."""
        ...


@dataclass(frozen=True, slots=True)
class S0Output:
    """Form of the pulses: how many per kWh, how long each, and the shortest pause between two."""

    pulses_per_kwh: int = 1000
    width_ns: int = 40_000_000
    pause_ns: int = MIN_PULSE_NS

    def __post_init__(self) -> None:
        if not 1 <= self.pulses_per_kwh <= MAX_PULSES_PER_KWH:
            raise S0Error(f"pulses_per_kwh: expected 1 to {MAX_PULSES_PER_KWH}, found {self.pulses_per_kwh}")
        for name, duration_ns in (("width", self.width_ns), ("pause", self.pause_ns)):
            if duration_ns < MIN_PULSE_NS:
                raise S0Error(
                    f"S0 pulse {name}: expected at least 30 ms (IEC 62053-31), found {duration_ns} ns"
                )

    @property
    def spacing_ns(self) -> int:
        """Shortest time between the starts of two pulses."""
        return self.width_ns + self.pause_ns


@dataclass(frozen=True, slots=True, eq=False)
class S0Signal:
    """The pulses of one meter in a trial: LOW from each of `starts_ns` for `output.width_ns`, else HIGH."""

    sensor: str
    output: S0Output
    duration_ns: int
    starts_ns: NDArray[np.int64]
    initial: int
    """Where in its first portion the meter stood at the start, in units of portion / PICOJOULES_PER_KWH."""
    notes: tuple[str, ...]

    def pulses_until(self, t_ns: int) -> int:
        """How many pulses have started at or before `t_ns`."""
        return int(np.searchsorted(self.starts_ns, t_ns, side="right"))

    def edges_ns(self, from_ns: int, until_ns: int) -> NDArray[np.int64]:
        """Falling and rising edges, in turn, of the pulses that start in [from_ns, until_ns).

        The first is a falling edge; the last, rising, may lie after `until_ns`.
        """
        first, last = np.searchsorted(self.starts_ns, (from_ns, until_ns), side="left")
        falling = self.starts_ns[first:last]
        return np.stack((falling, falling + self.output.width_ns), axis=1).reshape(-1)


def largest_pulses_per_kwh(playback: Playback, output: S0Output) -> int:
    """Give the largest pulses_per_kwh at which pulses keep their distance at peak power; 0 when none does."""
    peak = _peak(playback)
    if peak is None:
        return MAX_PULSES_PER_KWH
    return min(
        MAX_PULSES_PER_KWH, PICOJOULES_PER_KWH * peak.row_ns // (peak.row_energy_pj * output.spacing_ns)
    )


def s0_signal(sensor: str, playback: Playback, output: S0Output, draw: Draw | None = None) -> S0Signal:
    """Turn a playback into the pulses of an import meter. Export gives no pulse and takes none back; it is
    noted.

    `draw` gives where the meter stands in its first portion (None: at its beginning). `sensor` is its name in
    messages. Raises S0Error when the power is too high for the pulse rate.
    """
    peak = _peak(playback)
    if peak is not None and largest_pulses_per_kwh(playback, output) < output.pulses_per_kwh:
        raise S0Error(_too_fast(sensor, playback, output, peak))
    initial = draw.below(PICOJOULES_PER_KWH, 0) if draw is not None else 0
    parts = tuple(_parts(playback.pieces, output.pulses_per_kwh, initial))
    starts_ns = _starts(parts)
    starts_ns = starts_ns[: int(np.searchsorted(starts_ns, playback.duration_ns, side="left"))]
    starts_ns.setflags(write=False)
    notes: tuple[str, ...] = ()
    exported_mwh = playback.export_energy_mwh(playback.duration_ns)
    if exported_mwh:
        notes = (f"{sensor}: exports {exported_mwh} mWh, which an import meter does not count",)
    return S0Signal(sensor, output, playback.duration_ns, starts_ns, initial, notes)


def s0_edges(
    sensor: str, playback: Playback, output: S0Output, draw: Draw | None = None
) -> NDArray[np.int64]:
    """Falling and rising edges, in turn, in ns of the trial, of every pulse of `s0_signal`."""
    return s0_signal(sensor, playback, output, draw).edges_ns(0, playback.duration_ns)


def _peak(playback: Playback) -> Piece | None:
    """Find the piece of highest power; None when nothing is imported."""
    peak: Piece | None = None
    for piece in playback.pieces:
        if piece.row_energy_pj <= 0:
            continue
        if peak is None or piece.row_energy_pj * peak.row_ns > peak.row_energy_pj * piece.row_ns:
            peak = piece
    return peak


def _too_fast(sensor: str, playback: Playback, output: S0Output, peak: Piece) -> str:
    largest = largest_pulses_per_kwh(playback, output)
    peak_w = peak.row_energy_pj // peak.row_ns // 1000
    mend = f"set pulses_per_kwh to {largest} or less" if largest else "no pulse rate is slow enough"
    return (
        f"{sensor}: column {playback.column.name!r} peaks at {peak_w} W, where {output.pulses_per_kwh} "
        f"pulses per kWh come faster than one per {output.spacing_ns // 1_000_000} ms "
        f"(pulse and pause); {mend}, or choose another column"
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """`count` pulses; j starts at base_ns + j * step_ns + ceil((base_rest + j * step_rest) / rate)."""

    base_ns: int
    base_rest: int
    step_ns: int
    step_rest: int
    rate: int
    count: int


def _parts(pieces: tuple[Piece, ...], pulses_per_kwh: int, initial: int) -> Iterator[_Part]:
    """Reckon each piece's pulses: one whenever energy * pulses_per_kwh passes a multiple of
    PICOJOULES_PER_KWH.

    `carried` is what is left over from the pieces before, in the same measure.
    """
    carried = initial
    for piece in pieces:
        if piece.row_energy_pj <= 0:
            continue
        first = (PICOJOULES_PER_KWH - carried) * piece.row_ns
        gained = piece.flowed_pj(piece.stop_ns) * pulses_per_kwh
        count, carried = divmod(carried + gained, PICOJOULES_PER_KWH)
        yield from _split(
            piece.start_ns,
            first,
            PICOJOULES_PER_KWH * piece.row_ns,
            piece.row_energy_pj * pulses_per_kwh,
            count,
        )


def _split(start_ns: int, first: int, step: int, rate: int, count: int) -> Iterator[_Part]:
    """Cut pulses at start_ns + ceil((first + j * step) / rate) into parts that can be reckoned in 64 bits."""
    divisor = gcd(step, rate)
    first, step, rate = -(-first // divisor), step // divisor, rate // divisor
    step_ns, step_rest = divmod(step, rate)
    limit = max(1, _INT64_ROOM // rate - 1)
    while count > 0:
        base_ns, base_rest = divmod(first, rate)
        part = min(count, limit)
        yield _Part(start_ns + base_ns, base_rest, step_ns, step_rest, rate, part)
        first += part * step
        count -= part


def _starts(parts: Sequence[_Part]) -> NDArray[np.int64]:
    """Pulse starts of all parts at once."""
    counts = np.array([part.count for part in parts], dtype=np.int64)
    total = int(counts.sum())
    within = np.arange(total, dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)

    def spread(field: str) -> NDArray[np.int64]:
        return np.repeat(np.array([getattr(part, field) for part in parts], dtype=np.int64), counts)

    rest = spread("base_rest") + within * spread("step_rest")
    whole: NDArray[np.int64] = spread("base_ns") + within * spread("step_ns")
    # Rounded up, so that a pulse never comes before its energy is complete.
    starts_ns: NDArray[np.int64] = whole - np.floor_divide(-rest, spread("rate"))
    return starts_ns
