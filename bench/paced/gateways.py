"""The gateway of one branch as a seat: a Pi that is reached by SSH, real or emulated, and its service."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from bench.assembly import PiFigures, pi_name
from bench.paced.configuration import NodeFiles, gateway_text
from bench.paced.event_records import EventRecords
from bench.paced.host_facts import clock_ahead_ns, python_version
from bench.paced.radio_line import RadioLine
from bench.paced.scene import Audit
from bench.pi.deployed.deployment import (
    MEMORY_BYTES,
    REGISTRY_FILE,
    SIGNING_KEY_FILE,
    STORE,
    GatewaySettings,
    deploy,
)
from bench.pi.deployed.gateway_service import GatewayService, ServiceFigures
from bench.pi.deployed.release import build_release
from bench.pi.emulated.image import default_cache
from bench.rig.calibration import load_calibration
from bench.rig.infrastructure import InfrastructureError
from bench.rig.strategy import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.assembly import Stage
    from bench.paced.configuration import Scalar
    from bench.paced.servers import ServerSeat
    from bench.pi.ssh import SshSeat
    from bench.radio.sx1278 import Sx1278
    from bench.rig.model import Branch, Uplink
    from bench.world.paced import PacedWorld
    from bench.world.trace import Record
    from ledger.gateway.byte_stream import ByteStream

JOIN_S: Final = 60.0
"""From a login, or a start of the gateway, to its connection with the server."""
_NS_PER_S: Final = 1_000_000_000
_CLOCK_MOVED_NS: Final = _NS_PER_S // 2


class GatewaySeat(ABC):
    """A Pi with its gateway. `orders` is the trial that the gateway is set up for on its way to `running`.

    Every call may raise InfrastructureError.
    """

    def __init__(self, branch: Branch, server: ServerSeat, tell: Callable[[str], None]) -> None:
        self.name = pi_name(branch)
        self.state = State.OFF
        self.orders: Stage | None = None
        self._branch = branch
        self._server = server
        self._tell = tell
        self._line: RadioLine | None = None
        self._login: SshSeat | None = None
        self._service: GatewayService | None = None
        self._before: ServiceFigures | None = None
        self._after: ServiceFigures | None = None
        self._clock_moved_ns = 0
        self._cursor: str | None = None
        self._clock_ahead_ns = 0
        self._disturbed_unix_ns = 0
        self._events: EventRecords | None = None

    # ---- the seat ----

    def step_to(self, state: State) -> None:
        """Go one step up, or down."""
        if state is State.OFF:
            self.power_off()
            self._leave()
        elif state is State.FLASHED and self.state is State.OFF:
            self.power_on()
            self._enter()
            self._server.calm(self._branch)
            self._server.install_tunnel(self._branch, self._pi())
        elif state is State.FLASHED:
            self._server.calm(self._branch)
            try:
                self._gateway().stop()
            finally:
                self._untune()
        elif state is State.RUNNING and self.state is State.FLASHED:
            self._set_up()
        elif state is State.JOINED:
            self.wait_until_joined()
        self.state = state

    def close(self) -> None:
        """Let go of the Pi."""
        self._untune()
        self._leave()

    def tune(self, world: PacedWorld, chip: Sx1278) -> None:
        """Give the Pi this chip of the world for its radio; among real Unos it has a real one."""
        self._untune()
        if self._branch.uno.kind == "real":
            return
        self._line = RadioLine(f"{self.name}/line", world, chip, self.open_line)

    # ---- while a trial plays ----

    def begin(self, zero_ns: int, uplink: Uplink) -> None:
        """From this moment of the monotonic clock on, the way to the server follows its plan."""
        self._server.begin(self._branch, zero_ns, uplink)

    def life(self) -> str:
        """What tells one life of the gateway from the next."""
        return self._gateway().life()

    def kill_gateway(self) -> None:
        """End the gateway's process by SIGKILL."""
        self._disturbed_unix_ns = time.time_ns()
        self._gateway().kill()

    def cut_power(self, seed: int) -> None:
        """Take the Pi's power, and give it back."""
        self._disturbed_unix_ns = time.time_ns()
        self._leave()
        self.lose_power(seed)
        if self._line is not None:
            self._line.cut_power()
        self.power_on()
        self._enter()

    def audit(self) -> Audit:
        """Have the gateway's ledger verified."""
        said = self._gateway().verify()
        clean = bool(said.get("clean"))
        counts = (
            f"{said.get('blocks')} blocks, {said.get('readings')} readings, {said.get('pending')} pending"
        )
        return Audit(clean, f"clean, {counts}" if clean else f"{said.get('findings')}")

    def wait_until_joined(self) -> None:
        """Wait until the gateway runs and is in touch with its server."""
        self._gateway().wait_until_ready()
        self._server.wait_for_peer(self.name, self._disturbed_unix_ns, JOIN_S)

    def check_way(self) -> None:
        """Raise InfrastructureError where the VPN to the server is down, and no planned outage is why."""
        self._server.check_way(self._branch)

    def check(self) -> None:
        """Raise InfrastructureError where the Pi has rebooted since it was set up, or has lost its VPN."""
        assert self._before is not None, "a gateway is set up before it is checked"
        if self._gateway().boot_id() != self._before.boot_id:
            raise InfrastructureError(
                self.name,
                "the Pi has rebooted during the trial",
                "look at its supply; its readings are safe, the trial's times are not",
                retry_helps=True,
            )
        self.check_way()

    # ---- after it ----

    def gather(self, world: PacedWorld) -> None:
        """Stop the service, and bring home what it told since it was set up, in the time of this world."""
        service = self._gateway()
        self._after = service.figures()
        service.stop()
        # A Pi that has just booted may have set its clock meanwhile.
        ahead_ns = clock_ahead_ns(self._pi())
        self._clock_moved_ns = abs(ahead_ns - self._clock_ahead_ns)
        self._clock_ahead_ns = ahead_ns
        offset_ns = world.began_unix_ns + self._clock_ahead_ns
        lines = service.log_after(self._cursor)
        self._events = EventRecords.of(self.name, (line.event for line in lines if line.event), offset_ns)

    def records(self) -> list[Record]:
        """What the gateway told, for the trace."""
        assert self._events is not None, "gather first"
        return self._events.records

    def figures(self) -> PiFigures:
        """What the gateway spent and saw; its operations are charged by the branch's calibration."""
        assert self._events is not None, "gather first"
        calibration = load_calibration(self._branch.pi.calibration)
        spent = self._events.spent
        return PiFigures(
            busy_ns=sum(calibration.charge_ns(operation, count) for operation, count in spent.items()),
            longest_queue=0,
            uplink_sent_bytes=self._server.sent_bytes(self._branch),
            rejected=dict(sorted(self._events.rejected.items())),
            repeats=self._events.repeats,
            spent=dict(sorted(spent.items())),
            blocks=self._events.blocks,
            resident_peak_bytes=self._events.resident_peak_bytes or None,
            memory_limit_bytes=MEMORY_BYTES,
        )

    def notes(self) -> list[str]:
        """What the Pi itself shows of the trial."""
        before, after = self._before, self._after
        assert before is not None, "a gateway is set up before it has anything to tell"
        assert after is not None, "gather first"
        told = [f"{self.name}: gateway started {after.restarts} times anew"] if after.restarts else []
        if before.boot_id == after.boot_id:
            told += _spent_notes(self.name, before, after)
        if self._clock_moved_ns > _CLOCK_MOVED_NS:
            moved_s = self._clock_moved_ns / _NS_PER_S
            told.append(f"{self.name}: its clock was set by {moved_s:.1f} s meanwhile, so times may be off")
        return told

    def fetch_store(self, target: Path) -> None:
        """Copy the gateway's ledger here."""
        self._gateway().fetch_store(target)

    # ---- what a kind of Pi is ----

    @abstractmethod
    def power_on(self) -> None:
        """Give it power, where the bench can, and wait until one can log in."""

    @abstractmethod
    def power_off(self) -> None:
        """Take its power, where the bench can; it may shut down before."""

    @abstractmethod
    def lose_power(self, seed: int) -> None:
        """Pull its plug."""

    @abstractmethod
    def login(self) -> SshSeat:
        """How to log in."""

    @abstractmethod
    def open_line(self) -> ByteStream:
        """The bench's end of the line to its radio. Raises OSError or StreamError while there is none."""

    @abstractmethod
    def radio_settings(self) -> Mapping[str, Scalar]:
        """Where the Pi finds its radio, as its gateway's configuration says it."""

    @abstractmethod
    def radio_devices(self) -> tuple[str, ...]:
        """The devices that its gateway must be allowed to open."""

    # ---- inside ----

    def _pi(self) -> SshSeat:
        if self._login is None:
            raise self._nobody_there()
        return self._login

    def _gateway(self) -> GatewayService:
        if self._service is None:
            raise self._nobody_there()
        return self._service

    def _nobody_there(self) -> InfrastructureError:
        """Also after a power cut from which the Pi did not come back."""
        return InfrastructureError(
            self.name, "is not logged in to", "bring it up, and see that it boots", retry_helps=True
        )

    def _enter(self) -> None:
        self._login = self.login()
        self._login.connect(JOIN_S)
        self._service = GatewayService(self._login)
        self._clock_ahead_ns = clock_ahead_ns(self._login)

    def _leave(self) -> None:
        if self._login is not None:
            self._login.close()
        self._login = self._service = None

    def _untune(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _set_up(self) -> None:
        stage = self.orders
        assert stage is not None, f"{self.name} is set up for a trial"
        branch = next(branch for branch in stage.rig.branches if branch.name == self._branch.name)
        files = NodeFiles(STORE, REGISTRY_FILE, SIGNING_KEY_FILE)
        settings = GatewaySettings(
            configuration=gateway_text(branch, files, self.radio_settings(), self._server.address(branch)),
            registry=stage.registry(stage.meter_ids(branch)).to_json().encode(),
            signing_key=bytes(stage.keys.signing_key(self.name)),
            devices=self.radio_devices(),
        )
        pi = self._pi()
        release = build_release(default_cache() / "release", python_version(pi))
        self._tell(str(deploy(pi, release, settings)))
        service = self._gateway()
        service.erase_store()
        self._cursor = service.log(limit=1).cursor
        self._disturbed_unix_ns = time.time_ns()
        service.start()
        self._before = service.figures()


def _spent_notes(name: str, before: ServiceFigures, after: ServiceFigures) -> list[str]:
    """CPU, memory and card of the service over a trial; the seat's own figures, which calibrate nothing."""
    told = []
    if before.cpu_ns is not None and after.cpu_ns is not None:
        told.append(f"{(after.cpu_ns - before.cpu_ns) / _NS_PER_S:.2f} s of CPU")
    if after.resident_peak_bytes is not None:
        told.append(f"{after.resident_peak_bytes / 1e6:.1f} MB of memory at most")
    if before.card_writes is not None and after.card_writes is not None:
        told.append(f"{after.card_writes - before.card_writes} card writes of all programs")
    return [f"{name}: {', '.join(told)}"] if told else []
