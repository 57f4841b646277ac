"""The gateway's radio as its runner sees it: something to wait for, to look after, and that may be gone."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ledger.effects import Effect, Rejected
from ledger.gateway import hc12
from ledger.gateway.byte_stream import open_stream
from ledger.gateway.hc12 import Hc12Loop
from ledger.gateway.radio_loop import RadioFault, RadioLoop
from ledger.gateway.spi_line import LINE_BITS_PER_SECOND, SpiLinePort
from ledger.gateway.spidev import SpidevPort
from ledger.gateway.sx1278 import RadioError, Sx1278
from ledger.service.config import Hc12Port, SerialWires, SpidevWires, Wires

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ledger.gateway.port import RadioPort
    from ledger.gateway.radio_loop import FrameHandler
    from ledger.gateway.sx1278 import RadioSettings
    from ledger.messages import Message


class Radio(Protocol):
    """A radio with its gateway behind it."""

    @property
    def fault(self) -> str | None:
        """Why there is no radio, with the mend; None while there is one."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What the way to the radio has cost, by kind."""

    def fileno(self) -> int | None:
        """Readable when :meth:`attend` may have something to do; None while there is nothing to wait for."""

    def attend(self, now_ns: int) -> Sequence[Effect]:
        """Deal with one thing that the radio has; nothing comes back when it has nothing."""

    def transmit(self, payload: bytes, now_ns: int) -> Sequence[Effect]:
        """Send a packet, at once or after those that wait."""

    def handle(self, message: Message, now_ns: int) -> Sequence[Effect]:
        """Pass on what is not the radio's (peers, ticks)."""

    def keep_alive(self) -> Sequence[Effect]:
        """To be called about once a second: start the radio if it is not there."""

    def close(self) -> None:
        """Let go of the devices."""


class ChipRadio:
    """An SX1278 on its wires. When it is gone, each :meth:`keep_alive` resets and configures it anew."""

    def __init__(self, port: RadioPort, settings: RadioSettings, gateway: FrameHandler) -> None:
        self._port = port
        self._settings = settings
        self._gateway = gateway
        self._loop: RadioLoop | None = None
        self._fault = "the radio was not started yet"

    @property
    def fault(self) -> str | None:
        """Why there is no radio; None while there is one."""
        return self._fault if self._loop is None else None

    @property
    def counts(self) -> Mapping[str, int]:
        """What the serial line has cost, where there is one."""
        if isinstance(self._port, SpiLinePort):
            return {"line_repeats": self._port.repeats, "line_damaged": self._port.damaged}
        return {}

    def fileno(self) -> int | None:
        """Readable when DIO0 may have risen."""
        return self._port.fileno()

    def attend(self, now_ns: int) -> list[Effect]:
        """Find out why DIO0 rose, if it has."""
        if not self._port.take_rise() or self._loop is None:
            return []
        return self._watched(self._loop.dio0_rose(now_ns))

    def transmit(self, payload: bytes, now_ns: int) -> list[Effect]:
        """Send a packet; without a radio it is dropped, and told."""
        if self._loop is None:
            return [Rejected(RadioFault.DROPPED, self._fault)]
        return self._watched(self._loop.transmit(payload, now_ns))

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        """Pass a message on, by way of the loop, which looks after the radio at a tick."""
        if self._loop is None:
            return self._gateway.handle(message, now_ns)
        return self._watched(self._loop.handle(message, now_ns))

    def keep_alive(self) -> list[Effect]:
        """See that the wires carry; start the radio if it is not there."""
        self._port.keep_alive()
        if self._port.fault is not None:
            self._lose(self._port.fault)
        elif self._loop is None:
            return self._start()
        return []

    def close(self) -> None:
        """Let go of the wires."""
        self._port.close()

    def _start(self) -> list[Effect]:
        self._port.reset()
        loop = RadioLoop(Sx1278(self._port, self._settings), self._gateway)
        try:
            effects = loop.start()
        except RadioError as error:
            self._lose(self._port.fault or str(error))
            return []
        self._loop = loop
        return effects

    def _watched(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Rejected) and effect.reason == RadioFault.GONE:
                self._lose(self._port.fault or effect.detail)
        return effects

    def _lose(self, why: str) -> None:
        self._fault = why
        self._loop = None


def radio_maker(wires: Wires, settings: RadioSettings) -> Callable[[FrameHandler], Radio]:
    """Return what makes a radio for a gateway; each must be closed before the next one is made."""
    match wires:
        case SpidevWires(bus, chip_select, dio0_gpio, reset_gpio):
            port: RadioPort = SpidevPort(bus, chip_select, dio0_gpio, reset_gpio, time.sleep)
        case SerialWires(address):
            opener = partial(open_stream, address, LINE_BITS_PER_SECOND)
            # No earlier process on this line may have had the same session.
            session = time.time_ns() << 16 ^ os.getpid()
            port = SpiLinePort(opener, time.monotonic_ns, session)
        case Hc12Port(address):
            return partial(Hc12Loop, partial(open_stream, address, hc12.BITS_PER_SECOND))
    return partial(ChipRadio, port, settings)
