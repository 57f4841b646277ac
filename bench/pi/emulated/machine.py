"""The emulated Raspberry Pi: QEMU with four Cortex-A53, 1 GB, and a card that forgets what was not flushed.

    image = build_image(tell=print)                  # some minutes the first time, then at once
    with PiMachine(image) as machine:
        machine.start()
        machine.wait_until_reachable(deadline_s=120)
        with SshSeat(machine.ssh_target) as pi:      # as for a real Pi
            pi.connect()
            pi.run("uname -m")
        machine.cut_power(seed=7)                    # as if the plug were pulled
        machine.start()                              # the same card, as the cut left it
        machine.wait_until_reachable()
        machine.shut_down()

The guest reaches this host at 10.0.2.2 (TCP and UDP); `forward` opens a way from this host to a port of the
guest. Without `ssh_port` the port of SSH is another after every start, so ask for `ssh_target` anew. The
account is `bench`, with sudo (also for systemctl: there is no message bus). The guest's
``/dev/virtio-ports/radio`` (group dialout) is the Unix socket `radio_socket` here: connect, and connect
again, at any time while the machine runs; while nobody is connected, the guest's writes wait.

`PiMachine(image, folder=...)` keeps the card in that folder, so that it outlives the machine; without one it
is thrown away with `close()`. With `instruction_clock` a guest's nanosecond is one instruction and all four
cores take turns: CPU figures then repeat whatever the host does, and everything takes longer.

The guest may reach whatever listens on this host's loopback: start nothing in it that is not trusted.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Literal

from bench.pi.emulated.image_recipe import RADIO_PORT
from bench.pi.emulated.machine_card import CardDrive
from bench.pi.emulated.machine_lifeline import command_with_lifeline
from bench.pi.emulated.machine_monitor import Monitor, MonitorError
from bench.pi.emulated.machine_parts import MachineParts, emulator_command
from bench.pi.ssh import SshSeat, SshTarget
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from bench.pi.emulated.card import CardTraffic, PowerCut
    from bench.pi.emulated.image import PiImage

_MONITOR_S = 30.0
_START_S = 60.0
_LOG_BYTES = 1 << 20
_LAST_WORDS = 1500


class PiMachine(Closable):
    """One emulated Pi. Not thread-safe; any number of them run side by side.

    `card_writes_per_s` holds the card to that many writes per second (an ordinary card about 800, an A1 card
    2000). Failures are InfrastructureError.
    """

    def __init__(
        self,
        image: PiImage,
        *,
        name: str = "emulated pi",
        folder: Path | None = None,
        card_writes_per_s: int | None = None,
        instruction_clock: bool = False,
        ssh_port: int = 0,
    ) -> None:
        if card_writes_per_s is not None and not 1 <= card_writes_per_s <= 1_000_000:
            raise ValueError(f"{name}: {card_writes_per_s} card writes per second, expected 1 to 1000000")
        self.name = name
        self._image = image
        self._card_writes_per_s = card_writes_per_s
        self._instruction_clock = instruction_clock
        self._wanted_ssh_port = ssh_port
        # Paths of Unix sockets are short (108 bytes), so they do not lie beside the card.
        self._sockets = Path(tempfile.mkdtemp(prefix="pi-"))
        self._kept = folder is not None
        self._folder = folder if folder is not None else Path(tempfile.mkdtemp(prefix="pi-card-"))
        self._drive: CardDrive | None = None
        self._emulator: subprocess.Popen[bytes] | None = None
        self._monitor: Monitor | None = None
        self._ssh_port = 0

    @property
    def running(self) -> bool:
        """Whether the power is on and the guest has not switched it off."""
        return self._emulator is not None and self._emulator.poll() is None

    @property
    def process_id(self) -> int | None:
        """The process that watches over the emulator, with the emulator below it; None without power."""
        emulator = self._emulator
        return emulator.pid if emulator is not None and emulator.poll() is None else None

    @property
    def ssh_target(self) -> SshTarget:
        """How to log in while the machine runs."""
        self._running_monitor()
        return SshTarget(
            self.name,
            "127.0.0.1",
            self._ssh_port,
            self._image.user,
            self._image.identity,
            self._image.host_key,
        )

    @property
    def radio_socket(self) -> Path:
        """The Unix socket that is the guest's radio port."""
        return self._sockets / RADIO_PORT

    @property
    def console_log(self) -> Path:
        """What kernel and QEMU have said, the newest megabyte at most."""
        return self._folder / "console.log"

    def start(self) -> None:
        """Switch the power on; returns when the emulator runs, long before the guest is up."""
        if self.running:
            raise InfrastructureError(self.name, "is running already", "cut its power or shut it down first")
        self._settle()
        try:
            self._begin()
        except BaseException:
            self._kill()
            raise

    def wait_until_reachable(self, deadline_s: float = 120.0) -> None:
        """Wait until one can log in by SSH. Raises with the console's last words when that does not come."""
        with SshSeat(self.ssh_target) as seat:
            try:
                seat.connect(deadline_s, while_waiting=self._check_running)
            except InfrastructureError as error:
                raise InfrastructureError(
                    self.name, f"{error.what}; console: {self.last_words()}", error.mend, retry_helps=True
                ) from error

    def forward(self, guest_port: int, protocol: Literal["tcp", "udp"] = "tcp", host_port: int = 0) -> int:
        """Open a way from a port of this host's 127.0.0.1 (0: a free one) to one of the guest; returns it.

        A way to that port of the guest that is there already stays.
        """
        monitor = self._running_monitor()
        ports = _forwarded(monitor.line("info usernet"), protocol, guest_port)
        if not ports:
            refused = monitor.line(f"hostfwd_add wire {protocol}:127.0.0.1:{host_port}-:{guest_port}").strip()
            ports = _forwarded(monitor.line("info usernet"), protocol, guest_port)
            if not ports:
                raise InfrastructureError(
                    self.name,
                    f"QEMU does not forward {protocol} port {guest_port}: {refused}",
                    "choose another port",
                )
        return ports[0]

    def card_traffic(self) -> CardTraffic:
        """What the guest has asked of its card since power came on."""
        return self._running_drive().traffic()

    def cut_power(self, seed: int = 0) -> PowerCut:
        """Pull the plug: everything flushed stays on the card, of the rest a random part told by `seed`."""
        drive = self._running_drive()
        self._kill()
        self._drive = None
        return drive.cut_power(seed)

    def shut_down(self, deadline_s: float = 60.0) -> None:
        """Shut down as an operator would; where the guest does not follow in time, cut the power."""
        if not self.running:
            self._settle()
            return
        try:
            with SshSeat(self.ssh_target) as seat:
                seat.connect(min(deadline_s, 20.0))
                seat.run("sudo systemctl --no-block poweroff", timeout_s=20, check=False)
        except InfrastructureError:
            pass
        assert self._emulator is not None
        try:
            self._emulator.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.cut_power()
        self._settle()

    def close(self) -> None:
        """End everything; a card that is not kept is thrown away. A running guest loses its power."""
        try:
            if self.running:
                self.cut_power()
            self._settle()
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)
            if not self._kept:
                shutil.rmtree(self._folder, ignore_errors=True)

    def last_words(self) -> str:
        """The end of the console."""
        try:
            return self.console_log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip()
        except OSError:
            return ""

    def _begin(self) -> None:
        for stale in self._sockets.iterdir():
            stale.unlink()
        self._drive = CardDrive(self.name, self._image, self._folder, self._sockets / "card", kept=self._kept)
        parts = MachineParts(
            kernel=self._image.kernel,
            initial_ram_disk=self._image.initial_ram_disk,
            card_socket=self._sockets / "card",
            radio_socket=self.radio_socket,
            monitor_socket=self._sockets / "monitor",
            card_writes_per_s=self._card_writes_per_s,
            instruction_clock=self._instruction_clock,
            ssh_port=self._wanted_ssh_port,
        )
        try:
            self._emulator = subprocess.Popen(
                command_with_lifeline(emulator_command(parts), self.console_log, _LOG_BYTES),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise InfrastructureError(
                self.name, f"cannot be started: {error}", "free memory or processes"
            ) from error
        self._monitor = self._connected_monitor(parts.monitor_socket)
        ports = _forwarded(self._monitor.line("info usernet"), "tcp", 22)
        if not ports:
            raise InfrastructureError(
                self.name, "QEMU gave no port for SSH", "start it again", retry_helps=True
            )
        self._ssh_port = ports[0]

    def _connected_monitor(self, path: Path) -> Monitor:
        until_s = monotonic() + _START_S
        while self.running and monotonic() < until_s:
            if path.exists():
                try:
                    return Monitor(path, _MONITOR_S)
                except MonitorError:
                    pass
            sleep(0.02)
        mend = (
            "see what it says" if shutil.which("qemu-system-aarch64") else "apt-get install qemu-system-arm"
        )
        raise InfrastructureError(self.name, f"QEMU did not start: {self.last_words()}", mend)

    def _running_monitor(self) -> Monitor:
        if not self.running or self._monitor is None:
            raise InfrastructureError(self.name, "is not running", "start it", retry_helps=True)
        return self._monitor

    def _check_running(self) -> None:
        self._running_monitor()

    def _running_drive(self) -> CardDrive:
        if self._drive is None:
            raise InfrastructureError(self.name, "is not running", "start it", retry_helps=True)
        return self._drive

    def _kill(self) -> None:
        """SIGKILL for the emulator, by ending the standard input of the process that watches over it."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._emulator is not None:
            assert self._emulator.stdin is not None
            self._emulator.stdin.close()
            self._emulator.wait()
            self._emulator = None

    def _settle(self) -> None:
        """After the guest switched itself off, its card has everything."""
        self._kill()
        drive, self._drive = self._drive, None
        if drive is not None:
            drive.release()


def _forwarded(listing: str, protocol: str, guest_port: int) -> list[int]:
    """Host ports that QEMU's ``info usernet`` tells as forwarded to a port of the guest."""
    pattern = re.compile(
        rf"^\s*{protocol.upper()}\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+{guest_port}\s",
        re.MULTILINE,
    )
    return [int(port) for port in pattern.findall(listing)]
