"""Hosts that are reached by SSH: from the name in the rig file to a shell, one finding for each step.

The login is that of the run itself (`bench.pi.ssh`), so what is found here holds there.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.doctor.finding import Finding, missing, present
from bench.doctor.network import UnreachableError, addresses_of, connect
from bench.pi.ssh import SshSeat, SshTarget
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bench.rig.model import Login

LOGIN_WITHIN_S: Final = 15.0
COMMAND_WITHIN_S: Final = 30.0
"""A Pi that is busy, or emulated on a busy machine, takes its time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and between which times of this machine's clock it ran (s since 1970)."""

    output: str
    began_at_s: float
    ended_at_s: float


class Shell:
    """A login on a host. Commands only look."""

    def __init__(self, seat: SshSeat) -> None:
        self._seat = seat

    def run(self, command: str) -> Answer:
        """Run a command, whatever its status. Raises InfrastructureError when no answer comes in time."""
        began_at_s = time.time()
        try:
            finished = self._seat.run(command, timeout_s=COMMAND_WITHIN_S, check=False)
        except InfrastructureError as error:
            # A script is no help in a table.
            what = error.what.replace(f"`{command}`", "a command")
            raise InfrastructureError(error.seat, what, error.mend, retry_helps=error.retry_helps) from None
        return Answer(finished.output, began_at_s, time.time())


def host_findings(login: Login, look: Callable[[Shell], Iterable[Finding]]) -> Iterator[Finding]:
    """Go from a host's name to a shell, a finding for each step up to the first that fails; then `look`."""
    try:
        addresses = addresses_of(login.host)
        with closing(connect(login.host, login.port)):
            pass
    except UnreachableError as problem:
        mend = problem.mend or "start its SSH server (systemctl enable --now ssh), or set port in login"
        yield missing("connection", problem.what, mend)
        yield from _identity_findings(login)
        return
    name = "" if addresses == [login.host] else f" ({', '.join(addresses)})"
    yield present("connection", f"{login.host}:{login.port} answers{name}")
    identity = Path(login.identity).expanduser()
    try:
        target = SshTarget(login.host, login.host, login.port, login.user, identity, login.host_key)
    except InfrastructureError as error:
        yield missing("host key", error.what, error.mend)
        return
    with SshSeat(target) as seat:
        try:
            seat.connect(LOGIN_WITHIN_S)
            yield present("login", f"as {login.user}, by key; host key {target.fingerprint} as pinned")
            yield from look(Shell(seat))
        except InfrastructureError as error:
            yield missing("login" if not seat.connected else "commands", error.what, error.mend)


def _identity_findings(login: Login) -> Iterator[Finding]:
    """While the host is out of reach, at least whether there is a key to log in with."""
    identity = Path(login.identity).expanduser()
    if not identity.is_file():
        yield missing(
            "private key",
            f"no {login.identity}",
            f"ssh-keygen -t ed25519 -N '' -f {login.identity}, or set identity in login",
        )
