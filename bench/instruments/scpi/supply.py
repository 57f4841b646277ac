"""A programmable supply of several outputs, as SCPI.

The commands are those of SCPI-99 (volume 2: INSTrument, SOURce, OUTPut, MEASure) as the Rigol DP800 and
Keysight E36300 series speak them: an output is chosen by INSTrument:NSELect, or by a number after SOURce and
OUTPut.
The default outputs are those of a DP832 (DP800 programming guide, ranges of :APPLy and of the protections).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.instruments.decimals import decimal_text
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.error import ScpiError
from bench.instruments.scpi.instrument import Identification, ScpiInstrument
from bench.instruments.scpi.parameter import Quantity, none, only, switch, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.instruments.scpi.channel import Protection
    from bench.instruments.scpi.tree import Call

IDENTIFICATION: Final = Identification("DAG-BENCH", "SUPPLY-MODEL", "0", "1")


@dataclass(frozen=True, slots=True)
class Ratings:
    """What an output can be set to."""

    voltage_mv: int
    current_ma: int
    default_current_ma: int
    over_voltage_mv: int
    over_current_ma: int


DP832: Final = (
    Ratings(32_000, 3_200, 3_000, 33_000, 3_300),
    Ratings(32_000, 3_200, 3_000, 33_000, 3_300),
    Ratings(5_300, 3_200, 3_000, 5_500, 3_300),
)
"""The outputs of a DP832; the largest levels of its protections are assumed."""


class SupplyInstrument(ScpiInstrument):
    """The instrument: channel k of `channels` is output k + 1."""

    def __init__(self, channels: Sequence[SupplyChannel], ratings: Sequence[Ratings] = DP832) -> None:
        super().__init__(IDENTIFICATION)
        self._ratings = tuple(ratings)
        free = (SupplyChannel() for _ in self._ratings[len(channels) :])
        self._channels = (*channels, *free)
        if len(self._channels) > len(self._ratings):
            raise ValueError(f"{len(channels)} channels on a supply of {len(self._ratings)} outputs")
        self.tree.add(":INSTrument:NSELect", self._select, self._selected_text)
        self.tree.add(":OUTPut<n>[:STATe]", self._switch, self._switched)
        self.tree.add(":OUTPut<n>:MODE", query=self._mode)
        self._add_setting(
            "[:SOURce<n>]:VOLTage[:LEVel][:IMMediate][:AMPLitude]",
            lambda ratings: Quantity("V", 3, 0, ratings.voltage_mv, 0),
            lambda channel: channel.set_uv,
            SupplyChannel.set_voltage,
        )
        self._add_setting(
            "[:SOURce<n>]:CURRent[:LEVel][:IMMediate][:AMPLitude]",
            lambda ratings: Quantity("A", 3, 0, ratings.current_ma, ratings.default_current_ma),
            lambda channel: channel.limit_ua,
            SupplyChannel.set_limit,
        )
        self._add_protection(
            "[:SOURce<n>]:VOLTage:PROTection",
            lambda ratings: Quantity("V", 3, 1, ratings.over_voltage_mv, ratings.over_voltage_mv),
            lambda channel: channel.over_voltage,
        )
        self._add_protection(
            "[:SOURce<n>]:CURRent:PROTection",
            lambda ratings: Quantity("A", 3, 1, ratings.over_current_ma, ratings.over_current_ma),
            lambda channel: channel.over_current,
        )
        self.tree.add(":MEASure[:SCALar]:VOLTage[:DC]", query=self._measured_voltage)
        self.tree.add(":MEASure[:SCALar]:CURRent[:DC]", query=self._measured_current)
        self.reset()

    def reset(self) -> None:
        """All outputs off and at 0 V, protections off and at their largest."""
        self._selected = 1
        for channel, ratings in zip(self._channels, self._ratings, strict=True):
            channel.over_voltage.clear()
            channel.over_current.clear()
            channel.over_voltage.is_enabled = channel.over_current.is_enabled = False
            channel.over_voltage.level = ratings.over_voltage_mv * 1000
            channel.over_current.level = ratings.over_current_ma * 1000
            channel.switch(False)
            channel.set_voltage(0)
            channel.set_limit(ratings.default_current_ma * 1000)

    @property
    def due_ns(self) -> int:
        """When the first of the outputs wants it."""
        return min(channel.due_ns for channel in self._channels)

    def elapse(self, now_ns: int) -> None:
        """Let time pass on all outputs."""
        for channel in self._channels:
            channel.advance(now_ns)

    # Which output is meant

    def _number(self, call: Call) -> int:
        """Output of a call whose header named one, else the selected one."""
        number = call.suffixes[0] if call.suffixes and call.suffixes[0] is not None else self._selected
        if not 1 <= number <= len(self._channels):
            raise ScpiError(-114)
        return number

    def _channel(self, call: Call) -> SupplyChannel:
        return self._channels[self._number(call) - 1]

    def _select(self, call: Call) -> None:
        self._selected = whole(only(call.parameters), 1, len(self._channels))

    def _selected_text(self, call: Call) -> str:
        none(call.parameters)
        return str(self._selected)

    # Settings, which the bench keeps in uV and uA and the instrument in mV and mA

    def _add_setting(
        self,
        pattern: str,
        quantity_of: Callable[[Ratings], Quantity],
        read: Callable[[SupplyChannel], int],
        write: Callable[[SupplyChannel, int], None],
    ) -> None:
        def quantity(call: Call) -> Quantity:
            return quantity_of(self._ratings[self._number(call) - 1])

        def command(call: Call) -> None:
            write(self._channel(call), 1000 * quantity(call).read(only(call.parameters)))

        def query(call: Call) -> str:
            value = read(self._channel(call)) // 1000
            if call.parameters:
                limit = quantity(call).limit(only(call.parameters))
                if limit is None:
                    raise ScpiError(-224)
                value = limit
            return decimal_text(value, 3)

        self.tree.add(pattern, command, query)

    def _add_protection(
        self,
        pattern: str,
        quantity_of: Callable[[Ratings], Quantity],
        protection_of: Callable[[SupplyChannel], Protection],
    ) -> None:
        def set_level(channel: SupplyChannel, value: int) -> None:
            protection_of(channel).level = value

        def enable(call: Call) -> None:
            protection_of(self._channel(call)).is_enabled = switch(only(call.parameters))

        def enabled(call: Call) -> str:
            none(call.parameters)
            return _switch_text(protection_of(self._channel(call)).is_enabled)

        def tripped(call: Call) -> str:
            none(call.parameters)
            return _switch_text(protection_of(self._channel(call)).tripped)

        def clear(call: Call) -> None:
            none(call.parameters)
            protection_of(self._channel(call)).clear()

        self._add_setting(
            f"{pattern}[:LEVel]", quantity_of, lambda channel: protection_of(channel).level, set_level
        )
        self.tree.add(f"{pattern}:STATe", enable, enabled)
        self.tree.add(f"{pattern}:TRIPped", query=tripped)
        self.tree.add(f"{pattern}:CLEar", clear)

    # The output

    def _switch(self, call: Call) -> None:
        on = switch(only(call.parameters))
        channel = self._channel(call)
        if on and (channel.over_voltage.tripped or channel.over_current.tripped):
            raise ScpiError(-221)
        channel.switch(on)

    def _switched(self, call: Call) -> str:
        none(call.parameters)
        return _switch_text(self._channel(call).is_on)

    def _mode(self, call: Call) -> str:
        none(call.parameters)
        return "CC" if self._channel(call).is_limiting else "CV"

    def _measured_voltage(self, call: Call) -> str:
        none(call.parameters)
        return decimal_text(self._channel(call).voltage_uv // 100, 4)

    def _measured_current(self, call: Call) -> str:
        none(call.parameters)
        return decimal_text(self._channel(call).current_ua, 6)


def _switch_text(on: bool) -> str:
    return "1" if on else "0"
