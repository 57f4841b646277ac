"""A WireGuard interface in a network namespace: the kernel's where there is one, else wireguard-go's.

Formats after ``wg(8)`` and ``wg-quick(8)``.
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.pi.bound_process import BoundProcess
from bench.pi.vpn.keys import PublicKey, SecretKey, parse_key, write_private
from bench.pi.vpn.namespace import Namespace
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

PORT = 51_820
MTU = 1420
"""1500 octets of Ethernet, less 40 of IPv6, 8 of UDP and 32 of WireGuard."""
KEEPALIVE_S = 15
SESSION_S = 180
"""A session older than this is not used any more (REJECT_AFTER_TIME of the protocol)."""

_READY_S = 20
_POLL_S = 0.05
_TUN = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a tunnel. `endpoint` is ``host:port``, None for who calls in."""

    public_key: PublicKey
    preshared_key: SecretKey
    allowed: tuple[str, ...]
    """Tunnel addresses that it may use, as ``address/length``."""
    endpoint: str | None = None
    keepalive_s: int | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a tunnel: its key, its address in the tunnel, and whom it talks to."""

    private_key: SecretKey
    address: str
    """As ``address/length``."""
    peers: tuple[Peer, ...]
    listen_port: int | None = None


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What WireGuard says of a peer."""

    public_key: PublicKey
    endpoint: str | None
    latest_handshake_s: int
    """Unix time; 0 if there was none yet."""
    received_octets: int
    sent_octets: int


def quick_text(interface: Interface) -> str:
    """The configuration for ``wg-quick``, which sets address, MTU and routes, too. It holds secrets."""
    lines = _interface_lines(interface, (f"Address = {interface.address}", f"MTU = {MTU}"))
    for peer in interface.peers:
        lines += ["", *_peer_lines(peer)]
    return _joined(lines)


def peers_script(name: str) -> str:
    """What makes a shell print the peers of an interface for `parse_peers`, without secrets."""
    return f"told=$(wg show {name} dump) || exit; printf '%s\\n' \"$told\" | tail -n +2 | cut -f 1,3-"


def parse_peers(text: str) -> tuple[PeerStatus, ...]:
    """The peers in what `peers_script` prints."""
    peers = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 7:
            raise ValueError(f"expected 7 fields for each peer, found {len(fields)}")
        public_key, endpoint, _, handshake, received, sent, _ = fields
        peers.append(
            PeerStatus(
                PublicKey(parse_key(public_key)),
                None if endpoint == "(none)" else endpoint,
                int(handshake),
                int(received),
                int(sent),
            )
        )
    return tuple(peers)


class Tunnel(Closable):
    """A WireGuard interface that is up in a namespace, from construction to `close`.

    `log` gets what wireguard-go prints; `userspace` asks for it also where the kernel has WireGuard.
    """

    def __init__(
        self, namespace: Namespace, interface: Interface, log: Path, userspace: bool = False
    ) -> None:
        self.seat = f"VPN of {namespace.seat}"
        self.name = namespace.tunnel
        self._namespace = namespace
        self._process: BoundProcess | None = None
        _require_command(self.seat, "wg", "wireguard-tools")
        if userspace or not self._add_kernel_interface():
            self._process = self._start_userspace(log)
        try:
            self._configure(interface)
        except InfrastructureError as error:
            self.close()
            if "in use" in error.what:
                raise InfrastructureError(
                    self.seat,
                    f"port {interface.listen_port} or address {interface.address} is in use in its namespace",
                    "end what has it, or give another one",
                ) from None
            raise
        except BaseException:
            self.close()
            raise

    @property
    def by_kernel(self) -> bool:
        """Whether the kernel's WireGuard does it, and not wireguard-go."""
        return self._process is None

    @property
    def is_running(self) -> bool:
        """Whether the interface is there."""
        return self._process is None or self._process.is_running

    def close(self) -> None:
        """Take the interface down and away."""
        if self._process is not None:
            self._process.stop()
            return
        if self._exists():
            self._namespace.ip("link", "del", self.name)

    def status(self) -> tuple[PeerStatus, ...]:
        """What WireGuard says of each peer."""
        if not self.is_running:
            raise InfrastructureError(
                self.seat, "wireguard-go has ended", "start the VPN again", retry_helps=True
            )
        return parse_peers(self._namespace.run(["sh", "-c", peers_script(self.name)]))

    def wait_for_handshake(self, peer: PublicKey, deadline_s: float, newer_than_s: int = 0) -> PeerStatus:
        """Wait until a handshake with this peer, later than `newer_than_s` (Unix time), has been completed.

        InfrastructureError if there is none within `deadline_s`.
        """
        return wait_for_handshake(self, peer, deadline_s, newer_than_s, _POLL_S)

    def _add_kernel_interface(self) -> bool:
        try:
            self._namespace.ip("link", "add", self.name, "type", "wireguard")
        except InfrastructureError:
            return False
        return True

    def _start_userspace(self, log: Path) -> BoundProcess:
        _require_command(self.seat, "wireguard-go", "wireguard-go")
        if not _TUN.exists():
            raise InfrastructureError(
                self.seat,
                f"there is no {_TUN}",
                "load the module tun (modprobe tun), or give the container that device",
            )
        process = self._namespace.start(
            ["wireguard-go", self.name], log, {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
        )
        end = time.monotonic() + _READY_S
        while not self._answers():
            if not process.is_running or time.monotonic() >= end:
                process.stop()
                raise InfrastructureError(
                    self.seat,
                    f"wireguard-go did not come up: {process.last_words() or 'it said nothing'}",
                    f"see {log}",
                    retry_helps=True,
                )
            time.sleep(_POLL_S)
        return process

    def _answers(self) -> bool:
        try:
            self._namespace.run(["wg", "show", self.name])
        except InfrastructureError:
            return False
        return True

    def _exists(self) -> bool:
        try:
            self._namespace.ip("link", "show", "dev", self.name)
        except InfrastructureError:
            return False
        return True

    def add_peer(self, peer: Peer) -> None:
        """Let one more peer use the tunnel; the others do not notice."""
        self._apply("addconf", _peer_lines(peer))
        for allowed in peer.allowed:
            self._namespace.ip("route", "replace", allowed, "dev", self.name)

    def _configure(self, interface: Interface) -> None:
        self._apply("setconf", _interface_lines(interface, ()))
        self._namespace.ip("addr", "add", interface.address, "dev", self.name)
        self._namespace.ip("link", "set", self.name, "mtu", str(MTU), "up")
        for peer in interface.peers:
            self.add_peer(peer)

    def _apply(self, verb: str, lines: Sequence[str]) -> None:
        """Have `wg` read lines from a file that no other user can."""
        with tempfile.TemporaryDirectory(prefix="dag-bench-") as folder:
            path = Path(folder) / "tunnel.conf"
            write_private(path, _joined(lines).encode())
            self._namespace.run(["wg", verb, self.name, str(path)])


class VpnEnd(Protocol):
    """One end of the VPN: on this host (`Tunnel`), or on a Pi or server that is logged in to."""

    @property
    def seat(self) -> str:
        """Whose end it is."""
        ...

    def status(self) -> Sequence[PeerStatus]:
        """What WireGuard says there of each peer."""
        ...


def wait_for_handshake(
    end: VpnEnd, peer: PublicKey, deadline_s: float, newer_than_s: int, poll_s: float
) -> PeerStatus:
    """Ask an end every `poll_s` until a handshake with this peer, later than `newer_than_s` (Unix time
    there), has been completed.

    InfrastructureError if there is none within `deadline_s`.
    """
    until_s = time.monotonic() + deadline_s
    while True:
        for status in end.status():
            if status.public_key == peer and status.latest_handshake_s > newer_than_s:
                return status
        if time.monotonic() >= until_s:
            raise no_handshake(end.seat, peer, deadline_s)
        time.sleep(poll_s)


def check_session(end: VpnEnd, peer: PublicKey, now_s: int) -> None:
    """Raise InfrastructureError where an end has no valid session with this peer at this Unix time there."""
    handshakes = [status.latest_handshake_s for status in end.status() if status.public_key == peer]
    handshake_s = max(handshakes, default=0)
    if now_s - handshake_s > SESSION_S:
        since = f"none since {now_s - handshake_s} s" if handshake_s else "none yet"
        raise InfrastructureError(
            end.seat,
            f"no handshake with {peer} ({since})",
            "see that both ends run and that UDP passes between them (relay, firewall)",
            retry_helps=True,
        )


def no_handshake(seat: str, peer: PublicKey, deadline_s: float) -> InfrastructureError:
    """The error for a peer that does not answer."""
    return InfrastructureError(
        seat,
        f"no sign of {peer} within {deadline_s:g} s",
        "see that both ends run, know each other's keys, and that UDP passes between them (relay, firewall)",
        retry_helps=True,
    )


def _interface_lines(interface: Interface, more: Sequence[str]) -> list[str]:
    lines = ["[Interface]", f"PrivateKey = {interface.private_key.reveal()}", *more]
    if interface.listen_port is not None:
        lines.append(f"ListenPort = {interface.listen_port}")
    return lines


def _peer_lines(peer: Peer) -> list[str]:
    lines = [
        "[Peer]",
        f"PublicKey = {peer.public_key}",
        f"PresharedKey = {peer.preshared_key.reveal()}",
        f"AllowedIPs = {', '.join(peer.allowed)}",
    ]
    if peer.endpoint is not None:
        lines.append(f"Endpoint = {peer.endpoint}")
    if peer.keepalive_s is not None:
        lines.append(f"PersistentKeepalive = {peer.keepalive_s}")
    return lines


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _require_command(seat: str, command: str, package: str) -> None:
    if shutil.which(command) is None:
        raise InfrastructureError(seat, f"there is no command {command}", f"install the package {package}")
