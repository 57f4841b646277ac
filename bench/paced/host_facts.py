"""What a host that is logged in to tells of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from bench.pi.ssh import SshSeat

_ASKED = 3


def python_version(host: SshSeat) -> str:
    """Major and minor version of its Python. Raises InfrastructureError, as all here do."""
    told = host.run("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").output
    return str(told).strip()


def clock_ahead_ns(host: SshSeat) -> int:
    """How far its clock is ahead of this host's, by the quickest of a few answers."""
    answers = []
    for _ in range(_ASKED):
        asked_ns = time.time_ns()
        told_ns = int(host.run("date +%s%N").output)
        answered_ns = time.time_ns()
        answers.append((answered_ns - asked_ns, told_ns - (asked_ns + answered_ns) // 2))
    return min(answers)[1]


def address_seen_from(host: SshSeat) -> str:
    """The address of this host as the other end of the login sees it: where it finds this host's relay."""
    address = str(host.run("echo $SSH_CONNECTION").output.split()[0])
    if ":" in address:
        raise InfrastructureError(
            host.target.name,
            f"is logged in to over IPv6 (from {address}), and the relay to the server speaks IPv4",
            "give the host by its IPv4 address in the rig file",
        )
    return address
