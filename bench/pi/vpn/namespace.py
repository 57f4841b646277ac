"""Network namespaces of this host: a network of its own for a process, joined to the host by one link.

Addresses come from 198.18.0.0/15, which is set aside for benchmarks (RFC 2544, RFC 6890), and are chosen free
of collisions with what the host has and with other runs. A namespace is named for the process that owns it;
what a killed owner left is found by that name and removed at the next start.
"""

import fcntl
import ipaddress
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.pi.bound_process import BoundProcess
from bench.rig.closable import Closable
from bench.rig.infrastructure import InfrastructureError

PREFIX = "dagrig"
"""What the names of all namespaces, links and tunnels of the bench start with."""

LINKS = ipaddress.IPv4Network("198.18.0.0/16")
"""The lower half of 198.18.0.0/15, for links to the host; tunnels take the upper half."""

_NAMESPACES = Path("/run/netns")
_WIREGUARD_SOCKETS = Path("/var/run/wireguard")
_LOCK = Path("/run/dag-bench-network.lock")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from a later one of the same id by its start in clock ticks after boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Owner | None":
        """The process that has this id now; None if there is none."""
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # proc(5): the command's name, in parentheses, may hold anything; field 3 is the state, 22 the start.
        fields = status.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return Owner.of(self.pid) == self


class Namespace(Closable):
    """A network namespace with one link to the host, from construction to `close`.

    `host_address` is the host's end of the link, `address` the namespace's. `seat` is what errors call it.
    """

    def __init__(self, seat: str) -> None:
        self.seat = seat
        _require_root(seat)
        owner = Owner.of(os.getpid())
        assert owner is not None, "this process runs"
        serial = next(_serial)
        token = f"{PREFIX}{_in_base_36(owner.pid, 5)}{_in_base_36(serial, 3)}"
        self.name = f"{PREFIX}-{owner.pid}-{owner.started}-{serial}"
        self.host_link = f"{token}h"
        self.tunnel = f"{token}w"
        """The name for a tunnel in here: wireguard-go's sockets need one that is the host's only one."""
        with _network_lock():
            remove_left_overs()
            network = free_network(_networks_of_host(seat))
            host, inside = network.hosts()
            self.host_address, self.address = str(host), str(inside)
            _ip(seat, "netns", "add", self.name)
            try:
                self._join(network.prefixlen)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Remove the namespace, its link, and what still runs in it."""
        _remove(self.name, self.host_link)
        _forget_tunnel(self.tunnel)

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command as it is to be started for it to run in here."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, command: Sequence[str], timeout_s: float = 60) -> str:
        """Run a command in here and return its standard output; InfrastructureError if it fails."""
        return _output(self.seat, self.argv(command), timeout_s)

    def start(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> BoundProcess:
        """Start a process in here."""
        return BoundProcess(self.seat, self.argv(command), log, environment)

    def ip(self, *arguments: str) -> str:
        """Run `ip` on this namespace."""
        return _ip(self.seat, "-n", self.name, *arguments)

    def pids(self) -> list[int]:
        """The processes that run in here."""
        return _pids_in(self.name)

    def _join(self, prefix_length: int) -> None:
        _ip(
            self.seat,
            "link",
            "add",
            self.host_link,
            "type",
            "veth",
            "peer",
            "name",
            "uplink",
            "netns",
            self.name,
        )
        _ip(self.seat, "addr", "add", f"{self.host_address}/{prefix_length}", "dev", self.host_link)
        self.ip("addr", "add", f"{self.address}/{prefix_length}", "dev", "uplink")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "uplink", "up")
        _ip(self.seat, "link", "set", self.host_link, "up")


def free_network(taken: Sequence[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first network of two hosts out of `LINKS` that overlaps with none that is taken."""
    for network in LINKS.subnets(new_prefix=30):
        if not any(network.overlaps(other) for other in taken):
            return network
    raise InfrastructureError(
        "network of the bench", f"no address is free in {LINKS}", "remove links that are not needed (ip link)"
    )


def owner_in(name: str) -> Owner | None:
    """The owner that a namespace of the bench is named for; None if the name is not the bench's."""
    prefix, *numbers = name.split("-")
    if prefix != PREFIX or len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        return None
    return Owner(int(numbers[0]), int(numbers[1]))


def left_overs() -> list[str]:
    """Namespaces of the bench whose owner is gone."""
    if not _NAMESPACES.is_dir():
        return []
    names = sorted(path.name for path in _NAMESPACES.iterdir())
    return [name for name in names if (owner := owner_in(name)) is not None and not owner.lives]


def remove_left_overs() -> list[str]:
    """Remove what killed owners left, with all that runs in it; return the namespaces' names."""
    found = left_overs()
    for name in found:
        owner = owner_in(name)
        assert owner is not None, "it was just listed"
        token = f"{PREFIX}{_in_base_36(owner.pid, 5)}{_in_base_36(int(name.rpartition('-')[2]), 3)}"
        _remove(name, f"{token}h")
        _forget_tunnel(f"{token}w")
    return found


def _remove(name: str, host_link: str) -> None:
    # Without a process in it and its link gone, the kernel forgets a namespace with its name.
    for pid in _pids_in(name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if Path(f"/sys/class/net/{host_link}").exists():
        with suppress(InfrastructureError):
            _ip(name, "link", "del", host_link)
    if (_NAMESPACES / name).exists():
        _ip(name, "netns", "del", name)


def _pids_in(name: str) -> list[int]:
    if not (_NAMESPACES / name).exists():
        return []
    return [int(pid) for pid in _ip(name, "netns", "pids", name).split()]


def _forget_tunnel(tunnel: str) -> None:
    # wireguard-go leaves its socket when it is killed.
    (_WIREGUARD_SOCKETS / f"{tunnel}.sock").unlink(missing_ok=True)


def _networks_of_host(seat: str) -> list[ipaddress.IPv4Network]:
    """What the host's addresses and routes, of all tables, take of `LINKS`."""
    routes: list[dict[str, Any]] = json.loads(
        _ip(seat, "-json", "-4", "route", "show", "table", "all") or "[]"
    )
    named = [str(route["dst"]) for route in routes if route.get("dst", "default") != "default"]
    networks = [ipaddress.ip_network(name, strict=False) for name in named]
    return [
        network
        for network in networks
        if isinstance(network, ipaddress.IPv4Network) and network.overlaps(LINKS)
    ]


@contextmanager
def _network_lock() -> Iterator[None]:
    """Only one run at a time chooses addresses."""
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _require_root(seat: str) -> None:
    if os.geteuid() != 0:
        raise InfrastructureError(
            seat, "a network namespace needs root, found a plain user", 'run as root, or set vpn = "none"'
        )
    if shutil.which("ip") is None:
        raise InfrastructureError(seat, "there is no command ip", "install the package iproute2")


def _ip(seat: str, *arguments: str) -> str:
    return _output(seat, ["ip", *arguments], 60)


def _output(seat: str, argv: Sequence[str], timeout_s: float) -> str:
    try:
        finished = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise InfrastructureError(
            seat,
            f"{argv[0]} did not end within {timeout_s:g} s",
            "see what keeps this host busy",
            retry_helps=True,
        ) from None
    if finished.returncode:
        complaint = " ".join(finished.stderr.split()) or f"exit status {finished.returncode}"
        raise InfrastructureError(
            seat, f"{' '.join(argv)} failed: {complaint}", "run it by hand to see why", retry_helps=True
        )
    return finished.stdout


def _in_base_36(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text
