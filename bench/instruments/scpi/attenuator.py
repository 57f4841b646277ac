"""A step attenuator, as SCPI: INPut:ATTenuation of SCPI-99 (volume 2, chapter 10), or ATTenuation alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.instruments.decimals import decimal_text
from bench.instruments.scpi.error import ScpiError
from bench.instruments.scpi.instrument import Identification, ScpiInstrument
from bench.instruments.scpi.parameter import Quantity, none, only

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.instruments.scpi.tree import Call

IDENTIFICATION: Final = Identification("DAG-BENCH", "STEP-ATTENUATOR-MODEL", "0", "1")

LARGEST_CDB: Final = 9_500
STEP_CDB: Final = 25
"""0 to 95 dB by 0.25 dB, as programmable attenuators of the Mini-Circuits RCDAT series have it."""


class AttenuatorInstrument(ScpiInstrument):
    """The instrument; `changed` is told the new attenuation in 0.01 dB whenever it changes.

    A value between two steps becomes the nearest step. Power-on and *RST set the largest attenuation, so that
    nothing behind it is overdriven.
    """

    def __init__(
        self,
        changed: Callable[[int], None],
        largest_cdb: int = LARGEST_CDB,
        step_cdb: int = STEP_CDB,
    ) -> None:
        super().__init__(IDENTIFICATION)
        self._changed = changed
        self._step_cdb = step_cdb
        self._quantity = Quantity("dB", 2, 0, largest_cdb, largest_cdb)
        self._attenuation_cdb = -1
        self.tree.add("[:INPut]:ATTenuation[:LEVel]", self._set, self._ask)
        self.tree.add("[:INPut]:ATTenuation:STEP[:INCRement]", query=self._ask_step)
        self.reset()

    def reset(self) -> None:
        """The largest attenuation."""
        self._change(self._quantity.maximum)

    @property
    def attenuation_cdb(self) -> int:
        """The attenuation now, in 0.01 dB."""
        return self._attenuation_cdb

    def _set(self, call: Call) -> None:
        wanted_cdb = self._quantity.read(only(call.parameters))
        nearest_cdb = (wanted_cdb + self._step_cdb // 2) // self._step_cdb * self._step_cdb
        self._change(min(nearest_cdb, self._quantity.maximum))

    def _ask(self, call: Call) -> str:
        if not call.parameters:
            return decimal_text(self._attenuation_cdb, 2)
        limit = self._quantity.limit(only(call.parameters))
        if limit is None:
            raise ScpiError(-224)
        return decimal_text(limit, 2)

    def _ask_step(self, call: Call) -> str:
        none(call.parameters)
        return decimal_text(self._step_cdb, 2)

    def _change(self, attenuation_cdb: int) -> None:
        if attenuation_cdb != self._attenuation_cdb:
            self._attenuation_cdb = attenuation_cdb
            self._changed(attenuation_cdb)
