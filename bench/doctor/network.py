"""From a host's name to a connection, step by step, so that it can be told which step fails."""

from __future__ import annotations

import errno
import socket
from typing import Final

CONNECT_WITHIN_S: Final = 5.0


class UnreachableError(RuntimeError):
    """A host that cannot be reached: what was found, and the mend when it does not depend on the service."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


def addresses_of(host: str) -> list[str]:
    """The addresses that a name stands for here. Raises UnreachableError."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise UnreachableError(
            f"the name {host} does not resolve{reason}",
            f"check its spelling, name {host} in DNS or /etc/hosts, or give its address in the rig file",
        ) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def connect(host: str, port: int) -> socket.socket:
    """A connection to the first of a host's addresses that answers. Raises UnreachableError."""
    last = UnreachableError(f"the name {host} has no address")
    for address in addresses_of(host):
        try:
            return socket.create_connection((address, port), timeout=CONNECT_WITHIN_S)
        except OSError as error:
            last = _problem(host, address, port, error)
    raise last


def _problem(host: str, address: str, port: int, error: OSError) -> UnreachableError:
    where = f"{host}:{port}" if host == address else f"{host}:{port} ({address})"
    if isinstance(error, TimeoutError):
        return UnreachableError(
            f"{where} does not answer within {CONNECT_WITHIN_S:g} s",
            "switch it on, and see that a firewall lets this port through",
        )
    if error.errno == errno.ECONNREFUSED:
        return UnreachableError(f"{where} refuses: the host is there, but nothing listens")
    return UnreachableError(
        f"{where} cannot be reached: {error.strerror or error}", "check cable, address and route"
    )
