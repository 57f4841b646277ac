"""Binds the radio chip to the gateway: packets to the gateway, its acknowledgements on air one by one.

No thread and no clock: a runner calls the three methods and carries out the effects that come back, in their
order. It gives each `Transmit` to `transmit` when its turn has come, so that whatever the computing before it
cost has passed by then, on a real Pi as on a virtual one.
"""

from __future__ import annotations

import collections
import enum
from typing import TYPE_CHECKING, Final, Protocol

from ledger.effects import Effect, Operation, Rejected, Spent
from ledger.gateway.sx1278 import Interrupt, RadioError, ReceivedPacket, Sx1278
from ledger.messages import FrameReceived, Message, Tick

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WAITING: Final = 8
STALLED_AFTER_AIRTIMES: Final = 4


class RadioFault(enum.StrEnum):
    """What goes wrong at the radio; the Uno repeats its frame in every case."""

    PAYLOAD_CRC = "payload_crc"
    """A packet was damaged on air."""
    STALLED = "radio_stalled"
    """A transmission never ended, or the chip no longer listened: it was configured again."""
    GONE = "radio_gone"
    """The chip does not answer; every tick tries again."""
    DROPPED = "acknowledgement_dropped"
    """Too many waited, or the radio stalled meanwhile."""


class FrameHandler(Protocol):
    """What takes the packets (`ledger.gateway.gateway.Gateway`)."""

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        """Takes what happened and returns what follows from it."""


class RadioLoop:
    """One radio with its gateway. What goes wrong at the radio is counted in `counts`, and told."""

    def __init__(self, driver: Sx1278, gateway: FrameHandler) -> None:
        self._driver = driver
        self._gateway = gateway
        self._waiting: collections.deque[bytes] = collections.deque()
        self._stalled_ns: int | None = None
        self._counts: collections.Counter[str] = collections.Counter()
        self._spent_read = 0
        self._spent_written = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """What went wrong at the radio, by kind."""
        return self._counts

    @property
    def on_air(self) -> bool:
        """Whether a transmission is under way."""
        return self._stalled_ns is not None

    def start(self) -> list[Effect]:
        """Configures the chip and listens. Raises RadioError when there is none."""
        self._driver.configure()
        self._driver.start_receiving()
        return self._spent()

    def dio0_rose(self, now_ns: int) -> list[Effect]:
        """Finds out why DIO0 rose. A spare call does no harm."""
        effects = self._receive(now_ns)
        if self.on_air and Interrupt.TRANSMIT_DONE in self._driver.interrupts():
            self._next(now_ns)
        return effects + self._spent()

    def transmit(self, payload: bytes, now_ns: int) -> list[Effect]:
        """Sends a packet, at once or after those that wait."""
        effects = self._recover(now_ns)
        self._waiting.append(payload)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            effects.append(self._fault(RadioFault.DROPPED, f"{MAX_WAITING} packets wait for the radio"))
        if not self.on_air:
            # Going over to sending would wipe out a packet that has arrived and was not fetched yet.
            effects += self._receive(now_ns)
            self._next(now_ns)
        return effects + self._spent()

    def handle(self, message: Message, now_ns: int) -> list[Effect]:
        """Passes on what is not the radio's (peers, ticks); a tick also looks after the radio."""
        effects = self._recover(now_ns)
        if isinstance(message, Tick) and not effects and not self.on_air:
            effects = self._look_after(now_ns)
        return effects + self._spent() + self._gateway.handle(message, now_ns)

    def _look_after(self, now_ns: int) -> list[Effect]:
        if not self._driver.is_receiving():
            return self._restart("the radio did not listen any more")
        # A missed edge leaves DIO0 high for ever, and no other would follow.
        return self._receive(now_ns)

    def _receive(self, now_ns: int) -> list[Effect]:
        if self.on_air:
            return []
        interrupts = self._driver.interrupts()
        if Interrupt.RECEIVE_DONE not in interrupts:
            return []
        packet = self._driver.read_packet(interrupts)
        # The bytes are charged before what the gateway makes of them, since the effects go in order.
        return self._spent() + self._hand_over(packet, now_ns)

    def _hand_over(self, packet: ReceivedPacket, now_ns: int) -> list[Effect]:
        if not packet.crc_ok:
            return [self._fault(RadioFault.PAYLOAD_CRC, f"{len(packet.payload)} bytes were damaged on air")]
        received = FrameReceived(packet.payload, packet.rssi_cdbm, packet.snr_cdb)
        return self._gateway.handle(received, now_ns)

    def _next(self, now_ns: int) -> None:
        if self._waiting:
            payload = self._waiting.popleft()
            self._driver.transmit(payload)
            airtime_ns = self._driver.settings.airtime_ns(len(payload))
            self._stalled_ns = now_ns + STALLED_AFTER_AIRTIMES * airtime_ns
        else:
            self._driver.start_receiving()
            self._stalled_ns = None

    def _recover(self, now_ns: int) -> list[Effect]:
        if self._stalled_ns is None or now_ns < self._stalled_ns:
            return []
        return self._restart("a transmission did not end")

    def _restart(self, why: str) -> list[Effect]:
        effects: list[Effect] = [self._fault(RadioFault.STALLED, f"{why}; it is configured again")]
        # No Uno listens any longer for what waited all this time.
        effects += (self._fault(RadioFault.DROPPED, why) for _ in self._waiting)
        self._waiting.clear()
        self._stalled_ns = None
        try:
            self._driver.configure()
            self._driver.start_receiving()
        except RadioError as error:
            effects.append(self._fault(RadioFault.GONE, str(error)))
        return effects

    def _fault(self, reason: RadioFault, detail: str) -> Rejected:
        self._counts[reason] += 1
        return Rejected(reason, detail)

    def _spent(self) -> list[Effect]:
        read = self._driver.bytes_read - self._spent_read
        written = self._driver.bytes_written - self._spent_written
        self._spent_read += read
        self._spent_written += written
        return [
            Spent(operation, count)
            for operation, count in ((Operation.RADIO_READ, read), (Operation.RADIO_WRITE, written))
            if count
        ]
