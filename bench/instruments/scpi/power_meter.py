"""A power meter that integrates charge and energy, as SCPI.

The commands are those of the Yokogawa WT300 series (communication manual IM WT310-17EN: INTEGrate, NUMeric,
INPut and STATus groups). Numbers have nine digits where a WT300 has five or six, and integration time has ns
where it has seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from bench.instruments.decimals import scientific_text
from bench.instruments.scpi.error import ScpiError
from bench.instruments.scpi.instrument import Identification, ScpiInstrument
from bench.instruments.scpi.parameter import none, only, whole, word_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.instruments.scpi.tree import Call

IDENTIFICATION: Final = Identification("DAG-BENCH", "POWER-METER-MODEL", "0", "1")

DIGITS: Final = 9
MOST_ITEMS: Final = 8
FUNCTIONS: Final = ("NONE", "U", "I", "P", "WH", "AH", "TIME")
_MODES: Final = ("RMS", "VMEan", "DC")
_INTEGRATION_MODES: Final = ("NORMal", "CONTinuous")

ZEPTOJOULES_PER_WATT_HOUR: Final = 3600 * 10**21
FEMTOCOULOMBS_PER_AMPERE_HOUR: Final = 3600 * 10**15


class Measured(Protocol):
    """The lead a meter sits in, as bench.instruments.scpi.channel.SupplyChannel."""

    charge_fc: int
    energy_zj: int

    @property
    def voltage_uv(self) -> int:
        """Voltage now."""
        ...

    @property
    def current_ua(self) -> int:
        """Current now."""
        ...

    def advance(self, now_ns: int) -> None:
        """Let time pass."""
        ...


class State(Enum):
    """What :INTEGrate:STATe? tells."""

    RESET = "RES"
    START = "STAR"
    STOP = "STOP"


@dataclass(slots=True)
class _Element:
    """One input, and what it has integrated in stretches that are over and since the last start."""

    lead: Measured
    charge_fc: int = 0
    energy_zj: int = 0
    from_fc: int = 0
    from_zj: int = 0


class PowerMeterInstrument(ScpiInstrument):
    """The instrument: lead k of `leads` goes through element k + 1. All elements integrate together."""

    def __init__(self, leads: Sequence[Measured]) -> None:
        super().__init__(IDENTIFICATION)
        self._elements = tuple(_Element(lead) for lead in leads)
        self._state = State.RESET
        self._elapsed_ns = 0
        self._started_ns = 0
        self.tree.add(":INPut:MODE", self._set_mode, lambda call: self._told(call, self._mode.upper()))
        self.tree.add(
            ":INTEGrate:MODE",
            self._set_integration_mode,
            lambda call: self._told(call, self._integration_mode[:4].upper()),
        )
        self.tree.add(":INTEGrate:STARt", self._start)
        self.tree.add(":INTEGrate:STOP", self._stop)
        self.tree.add(":INTEGrate:RESet", self._restart)
        self.tree.add(":INTEGrate:STATe", query=lambda call: self._told(call, self._state.value))
        self.tree.add(":NUMeric:FORMat", self._set_format, lambda call: self._told(call, "ASC"))
        self.tree.add(
            ":NUMeric[:NORMal]:NUMBer", self._set_number, lambda call: self._told(call, str(self._number))
        )
        self.tree.add(":NUMeric[:NORMal]:ITEM<n>", self._set_item, self._item_text)
        self.tree.add(":NUMeric[:NORMal]:VALue", query=self._values)
        # The WT300 reads its error queue here; SYSTem:ERRor? is kept besides.
        self.tree.add(":STATus:ERRor", query=lambda call: self._told(call, self._errors.next()))
        self.reset()

    def reset(self) -> None:
        """Integration stopped and at zero, items as after power-on."""
        self._mode = "RMS"
        self._integration_mode = "NORMal"
        self._number = 3
        self._items = [("U", 1), ("I", 1), ("P", 1), *[("NONE", 1)] * (MOST_ITEMS - 3)]
        self._clear()

    def elapse(self, now_ns: int) -> None:
        """Let time pass in the leads."""
        for element in self._elements:
            element.lead.advance(now_ns)

    # Integration

    def _start(self, call: Call) -> None:
        none(call.parameters)
        if self._state is State.START:
            raise ScpiError(-221)
        self._state = State.START
        self._started_ns = self.now_ns
        for element in self._elements:
            element.from_fc, element.from_zj = element.lead.charge_fc, element.lead.energy_zj

    def _stop(self, call: Call) -> None:
        none(call.parameters)
        if self._state is not State.START:
            raise ScpiError(-221)
        for element in self._elements:
            element.charge_fc, element.energy_zj = self._charge_fc(element), self._energy_zj(element)
        self._elapsed_ns = self._time_ns()
        self._state = State.STOP

    def _restart(self, call: Call) -> None:
        none(call.parameters)
        if self._state is State.START:
            raise ScpiError(-221)
        self._clear()

    def _clear(self) -> None:
        self._state = State.RESET
        self._elapsed_ns = 0
        for element in self._elements:
            element.charge_fc = element.energy_zj = 0

    def _charge_fc(self, element: _Element) -> int:
        running = self._state is State.START
        return element.charge_fc + (element.lead.charge_fc - element.from_fc if running else 0)

    def _energy_zj(self, element: _Element) -> int:
        running = self._state is State.START
        return element.energy_zj + (element.lead.energy_zj - element.from_zj if running else 0)

    def _time_ns(self) -> int:
        return self._elapsed_ns + (self.now_ns - self._started_ns if self._state is State.START else 0)

    # Settings

    def _set_mode(self, call: Call) -> None:
        self._mode = word_of(only(call.parameters), _MODES)

    def _set_integration_mode(self, call: Call) -> None:
        self._integration_mode = word_of(only(call.parameters), _INTEGRATION_MODES)

    def _set_format(self, call: Call) -> None:
        word_of(only(call.parameters), ("ASCii",))

    def _set_number(self, call: Call) -> None:
        self._number = whole(only(call.parameters), 1, MOST_ITEMS)

    def _set_item(self, call: Call) -> None:
        number = self._item_number(call)
        if not 1 <= len(call.parameters) <= 2:
            raise ScpiError(-108 if call.parameters else -109)
        function = word_of(call.parameters[0], FUNCTIONS)
        element = whole(call.parameters[1], 1, len(self._elements)) if len(call.parameters) == 2 else 1
        self._items[number - 1] = (function, element)

    def _item_text(self, call: Call) -> str:
        none(call.parameters)
        function, element = self._items[self._item_number(call) - 1]
        return f"{function},{element}"

    def _item_number(self, call: Call) -> int:
        number = call.suffixes[0] or 1
        if not 1 <= number <= MOST_ITEMS:
            raise ScpiError(-114)
        return number

    # Values

    def _values(self, call: Call) -> str:
        if call.parameters:
            return self._value(whole(only(call.parameters), 1, MOST_ITEMS))
        return ",".join(self._value(number) for number in range(1, self._number + 1))

    def _value(self, number: int) -> str:
        function, element_number = self._items[number - 1]
        element = self._elements[element_number - 1]
        lead = element.lead
        if function == "NONE" or (function in ("WH", "AH", "TIME") and self._state is State.RESET):
            return "NAN"
        numerator, denominator = {
            "U": (lead.voltage_uv, 10**6),
            "I": (lead.current_ua, 10**6),
            "P": (lead.voltage_uv * lead.current_ua, 10**12),
            "WH": (self._energy_zj(element), ZEPTOJOULES_PER_WATT_HOUR),
            "AH": (self._charge_fc(element), FEMTOCOULOMBS_PER_AMPERE_HOUR),
            "TIME": (self._time_ns(), 10**9),
        }[function]
        return scientific_text(numerator, denominator, DIGITS)
