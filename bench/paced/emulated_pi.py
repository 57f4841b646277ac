"""QEMU's Pi as the seat of a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.paced.gateways import JOIN_S, GatewaySeat
from bench.pi.deployed.deployment import radio_devices
from bench.pi.emulated.image import build_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.ssh import SshSeat
from bench.rig.infrastructure import InfrastructureError
from ledger.gateway.byte_stream import open_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.paced.configuration import Scalar
    from bench.paced.servers import ServerSeat
    from bench.rig.model import Branch
    from ledger.gateway.byte_stream import ByteStream

_RADIO_PORT: Final = "/dev/virtio-ports/radio"
_BOOT_S: Final = 300.0
"""Half a minute where nothing else runs; a busy host takes its time."""


class EmulatedPi(GatewaySeat):
    """QEMU's Pi. Its card is kept while the rig stands, and outlives power cuts."""

    def __init__(self, branch: Branch, server: ServerSeat, tell: Callable[[str], None]) -> None:
        super().__init__(branch, server, tell)
        self.is_up = False
        """It has power, and one can log in."""
        self._machine: PiMachine | None = None

    def power_on(self) -> None:
        """Boot."""
        if self._machine is None:
            image = build_image(tell=self._tell)
            self._machine = PiMachine(
                image, name=self.name, card_writes_per_s=self._branch.pi.card_writes_per_s
            )
        self._machine.start()
        self._machine.wait_until_reachable(_BOOT_S)
        self.is_up = True

    def power_off(self) -> None:
        """Shut down."""
        self.is_up = False
        if self._machine is not None:
            self._machine.shut_down()

    def lose_power(self, seed: int) -> None:
        """Kill QEMU; of what was not flushed, the card keeps a part drawn by the seed."""
        self.is_up = False
        cut = self._power().cut_power(seed)
        self._tell(
            f"{self.name}: power cut; of unflushed writes {cut.kept} kept, {cut.torn} torn, {cut.lost} lost"
        )

    def login(self) -> SshSeat:
        """By the port that QEMU forwards."""
        return SshSeat(self._power().ssh_target)

    def open_line(self) -> ByteStream:
        """The host's end of the guest's virtio port."""
        return open_stream(str(self._power().radio_socket), 0)

    def radio_settings(self) -> Mapping[str, Scalar]:
        """A virtio port."""
        return {"port": f"serial:{_RADIO_PORT}"}

    def radio_devices(self) -> tuple[str, ...]:
        """The port's real node."""
        return radio_devices(self._pi(), "serial", _RADIO_PORT)

    @property
    def process_id(self) -> int | None:
        """The emulator's process, None while the Pi has no power."""
        return None if self._machine is None else self._machine.process_id

    def boot_id(self) -> str:
        """Log in, as soon as that can be, and return what changes with every boot."""
        self._power().wait_until_reachable(_BOOT_S)
        with self.login() as pi:
            pi.connect(JOIN_S)
            return str(pi.boot_id())

    def close(self) -> None:
        """End QEMU."""
        try:
            super().close()
        finally:
            if self._machine is not None:
                self._machine.close()

    def _power(self) -> PiMachine:
        if self._machine is None:
            raise InfrastructureError(self.name, "has no power", "bring it up first")
        return self._machine
