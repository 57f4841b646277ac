"""One output of a programmable supply: voltage, current limit, protections, and the boards that hang on it.

Voltages in uV, currents in uA, time in ns, charge in fC, energy in zJ (uV x fC), all integers. The voltage
goes from one setting to the next in a straight line, the time at which it passes a board's brown-out level is
exact, and so are charge and energy while the voltage is steady. A step of `advance` is what counts as "now"
for the current: limit and over-current protection look at the mean over the step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.instruments.load import BROWN_OUT_HYSTERESIS_MV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.instruments.load import Load

WINDOW_NS: Final = 20_000_000
"""Time over which a current is measured at least: one period of the mains, which instruments average out."""

_REST_NS: Final = 100_000_000
"""A step while the output is steady: what hangs on it need not be asked more often."""

_ATTENTIVE_NS: Final = 5_000_000
"""A step while a limit or an over-current protection is at work."""

_SHORTEST_STEP_NS: Final = 1_000_000
_MAX_STEPS_KEPT: Final = 4096


@dataclass(frozen=True, slots=True)
class Slew:
    """How fast an output moves. Assumed: supplies of the DP800 class take tens of ms for 5 V."""

    rise_uv_per_ms: int = 100_000
    fall_uv_per_ms: int = 100_000


@dataclass(frozen=True, slots=True)
class PowerEvent:
    """A board was powered or cut, at the moment its voltage passed the level."""

    at_ns: int
    load: Load
    powered: bool


@dataclass(slots=True)
class _Ramp:
    """A straight line from `from_uv` at `from_ns` to `to_uv`."""

    from_ns: int
    from_uv: int
    to_uv: int
    slew: Slew

    @property
    def _uv_per_ms(self) -> int:
        return self.slew.rise_uv_per_ms if self.to_uv > self.from_uv else self.slew.fall_uv_per_ms

    def reaches_ns(self, level_uv: int) -> int:
        """When the line is at a level between its ends, rounded up."""
        way_uv = abs(level_uv - self.from_uv)
        return self.from_ns + -(-way_uv * 1_000_000 // self._uv_per_ms)

    @property
    def end_ns(self) -> int:
        return self.reaches_ns(self.to_uv)

    def at(self, t_ns: int) -> int:
        """Voltage at a time."""
        if t_ns >= self.end_ns:
            return self.to_uv
        way_uv = (t_ns - self.from_ns) * self._uv_per_ms // 1_000_000
        return self.from_uv + (way_uv if self.to_uv > self.from_uv else -way_uv)


@dataclass(slots=True)
class _Board:
    load: Load
    counted_fc: int
    powered: bool = False
    starved: bool = False


class SupplyChannel:
    """An output, off at time 0. Settings act at the time that `advance` was last given.

    `on_power` gets every PowerEvent in order, before `advance` returns. A board that browns out because the
    limit starves it stays down until the output is set anew: real ones would try again and again.
    """

    def __init__(
        self,
        loads: Iterable[Load] = (),
        on_power: Callable[[PowerEvent], None] | None = None,
        slew: Slew | None = None,
    ) -> None:
        self._on_power = on_power
        self._slew = slew or Slew()
        self._boards = [_Board(load, load.part.charge_fc(0)) for load in loads]
        self._ramp = _Ramp(0, 0, 0, self._slew)
        self._now_ns = 0
        self._set_uv = 0
        self._limit_ua = 0
        self._is_on = False
        self._is_limiting = False
        self._terminal_uv = 0
        self._history: deque[tuple[int, int]] = deque([(0, 0)], maxlen=_MAX_STEPS_KEPT)
        self.charge_fc = 0
        """Charge that has gone into the boards."""
        self.energy_zj = 0
        """Energy that has gone into them."""
        self.over_voltage = Protection()
        self.over_current = Protection()

    @property
    def due_ns(self) -> int:
        """When `advance` should be called again at the latest, so that nothing comes late."""
        attentive = self._is_on and (self._is_limiting or self.over_current.is_enabled)
        rest_ns = self._now_ns + (_ATTENTIVE_NS if attentive else _REST_NS)
        coming_ns = min((at_ns for at_ns in self._crossings_ns() if at_ns > self._now_ns), default=rest_ns)
        return min(rest_ns, max(coming_ns, self._now_ns + _SHORTEST_STEP_NS))

    # Settings

    @property
    def set_uv(self) -> int:
        """The voltage asked for."""
        return self._set_uv

    def set_voltage(self, voltage_uv: int) -> None:
        """Ask for a voltage."""
        self._set_uv = voltage_uv
        self._retarget()

    @property
    def limit_ua(self) -> int:
        """The current the output gives at most."""
        return self._limit_ua

    def set_limit(self, current_ua: int) -> None:
        """Give this current at most."""
        self._limit_ua = current_ua
        self._retarget()

    @property
    def is_on(self) -> bool:
        """Whether the output is switched on."""
        return self._is_on

    def switch(self, on: bool) -> None:
        """Switch the output on or off. On does nothing while a protection has tripped."""
        if on and (self.over_voltage.tripped or self.over_current.tripped):
            return
        self._is_on = on
        self._retarget()

    # What is measured

    @property
    def now_ns(self) -> int:
        """The time up to which all is known."""
        return self._now_ns

    @property
    def voltage_uv(self) -> int:
        """Voltage at the terminals."""
        return self._terminal_uv

    @property
    def current_ua(self) -> int:
        """Mean current over the last WINDOW_NS, or over the last step when that is longer."""
        latest_ns, latest_fc = self._history[-1]
        first_ns, first_fc = self._history[0]
        return (latest_fc - first_fc) // (latest_ns - first_ns) if latest_ns > first_ns else 0

    @property
    def is_limiting(self) -> bool:
        """Whether the output holds the current rather than the voltage."""
        return self._is_limiting

    # Time

    def advance(self, now_ns: int) -> None:
        """Let time pass up to `now_ns`."""
        if now_ns <= self._now_ns:
            return
        span_ns = now_ns - self._now_ns
        drawn = []
        for board in self._boards:
            total_fc = board.load.part.charge_fc(now_ns)
            drawn.append(total_fc - board.counted_fc)
            board.counted_fc = total_fc
        step_fc = 0
        while self._now_ns < now_ns:
            due_ns = min((at_ns for at_ns in self._crossings_ns() if at_ns > self._now_ns), default=now_ns)
            step_fc += self._pass(min(due_ns, now_ns), drawn, span_ns)
        if self._is_on and self.over_current.trips(step_fc // span_ns):
            self._is_on = False
            self._retarget()

    def _pass(self, until_ns: int, drawn: list[int], span_ns: int) -> int:
        """Go to `until_ns`, up to which no board is switched; returns the charge that flowed."""
        part_ns = until_ns - self._now_ns
        wanted_fc = sum(
            fc * part_ns // span_ns for board, fc in zip(self._boards, drawn, strict=True) if board.powered
        )
        limit_fc = self._limit_ua * part_ns
        # After it is switched off, an output only discharges: the limit belongs to what it gives.
        self._is_limiting = self._is_on and wanted_fc > limit_fc
        flowed_fc = limit_fc if self._is_limiting else wanted_fc
        open_uv = self._ramp.at(until_ns)
        mean_uv = (self._ramp.at(self._now_ns) + open_uv) // 2
        if self._is_limiting:
            # The boards take less at less voltage, in proportion: what the limit leaves of the current, it
            # leaves of the voltage.
            open_uv = open_uv * limit_fc // wanted_fc
            mean_uv = mean_uv * limit_fc // wanted_fc
        self._now_ns = until_ns
        self._terminal_uv = open_uv
        self.charge_fc += flowed_fc
        self.energy_zj += flowed_fc * mean_uv
        self._history.append((until_ns, self.charge_fc))
        while len(self._history) > 2 and self._history[1][0] <= until_ns - WINDOW_NS:
            self._history.popleft()
        if self._is_on and self.over_voltage.trips(open_uv):
            self._is_on = False
            self._retarget()
        self._switch_boards()
        return flowed_fc

    def _crossings_ns(self) -> list[int]:
        """When the ramp under way ends or passes a level at which something happens."""
        ramp = self._ramp
        low, high = sorted((ramp.from_uv, ramp.to_uv))
        levels = [ramp.to_uv]
        if self.over_voltage.is_enabled:
            levels.append(self.over_voltage.level + 1)
        for board in self._boards:
            falls_below = board.load.brown_out_mv * 1000
            levels += [falls_below - 1, falls_below + BROWN_OUT_HYSTERESIS_MV * 1000]
        return [ramp.reaches_ns(level) for level in levels if low <= level <= high]

    def _switch_boards(self) -> None:
        for board in self._boards:
            level_uv = board.load.brown_out_mv * 1000
            if not board.powered:
                level_uv += BROWN_OUT_HYSTERESIS_MV * 1000
            powered = self._terminal_uv >= level_uv and not board.starved
            if powered != board.powered:
                board.powered = powered
                board.starved = self._is_limiting and not powered
                if self._on_power is not None:
                    self._on_power(PowerEvent(self._now_ns, board.load, powered))

    def _retarget(self) -> None:
        target_uv = self._set_uv if self._is_on else 0
        self._ramp = _Ramp(self._now_ns, self._terminal_uv, target_uv, self._slew)
        for board in self._boards:
            board.starved = False


@dataclass(slots=True)
class Protection:
    """A level above which the output switches itself off, until it is cleared."""

    level: int = 0
    is_enabled: bool = False
    tripped: bool = False

    def trips(self, value: int) -> bool:
        """Whether a value trips it now."""
        if self.is_enabled and value > self.level:
            self.tripped = True
            return True
        return False

    def clear(self) -> None:
        """Make it ready again."""
        self.tripped = False
