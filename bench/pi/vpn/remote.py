"""WireGuard on a host that is reached by SSH: a Pi, real or emulated, or a real server.

The host keeps its configuration in ``/etc/wireguard/dag.conf``, for root's eyes only, and systemd brings the
tunnel up from it at every boot (``wg-quick@dag``). It needs no resolvconf, since no name servers are set.
"""

import shlex
from typing import TYPE_CHECKING, Final

from bench.pi.vpn.keys import PublicKey
from bench.pi.vpn.wireguard import (
    Interface,
    PeerStatus,
    parse_peers,
    peers_script,
    quick_text,
    wait_for_handshake,
)
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from bench.pi.ssh import Finished, SshSeat

NAME: Final = "dag"
UNIT: Final = f"wg-quick@{NAME}.service"
CONFIGURATION_FILE: Final = f"/etc/wireguard/{NAME}.conf"

_PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.5

# One round over SSH. The new file is on the card before it takes the place of the old one, so that a power
# cut leaves either.
_BRING_UP: Final = f"""
set -e
umask 077
command -v wg-quick >/dev/null || {{ echo "there is no command wg-quick" >&2; exit 90; }}
mkdir -p /etc/wireguard
changed=no
if ! cmp -s "$1" {CONFIGURATION_FILE}; then
    install -m 0600 -o root -g root "$1" {CONFIGURATION_FILE}.part
    sync {CONFIGURATION_FILE}.part
    mv {CONFIGURATION_FILE}.part {CONFIGURATION_FILE}
    changed=yes
fi
systemctl is-enabled -q {UNIT} || systemctl enable -q {UNIT}
if [ $changed = yes ]; then
    systemctl restart {UNIT}
elif ! systemctl is-active -q {UNIT}; then
    systemctl start {UNIT}
    changed=yes
fi
echo $changed
"""
_TAKE_DOWN: Final = f"""
systemctl disable -q --now {UNIT} 2>/dev/null
rm -f {CONFIGURATION_FILE} {CONFIGURATION_FILE}.part
"""
_NO_PROGRAM: Final = 90


class RemoteTunnel:
    """The tunnel of one host. Every call may raise InfrastructureError (the login, sudo, systemd)."""

    def __init__(self, seat: "SshSeat") -> None:
        self.seat = f"VPN of {seat.target.name}"
        self._ssh = seat

    def bring_up(self, interface: Interface) -> bool:
        """Bring the host to this configuration, with the tunnel up; return whether anything had to change."""
        stage = self._ssh.run("umask 077; mktemp -d /dev/shm/vpn.XXXXXXXXXX 2>/dev/null || mktemp -d").output
        path = f"{stage.strip()}/{NAME}.conf"
        try:
            self._ssh.put_bytes(quick_text(interface).encode(), path, 0o600)
            finished = self._as_root(_BRING_UP, path)
        finally:
            self._ssh.run(f"rm -rf {shlex.quote(stage.strip())}", check=False)
        if finished.status == _NO_PROGRAM:
            raise self._error(finished, "install it there: apt-get install wireguard-tools")
        if finished.status:
            raise self._error(
                finished,
                f"look at `journalctl -u {UNIT}` there; a kernel without WireGuard needs wireguard-go",
            )
        return finished.output.strip().endswith("yes")

    def take_down(self) -> None:
        """End the tunnel and forget its configuration, keys included; nothing happens if there is none."""
        self._as_root(_TAKE_DOWN)

    def is_up(self) -> bool:
        """Whether the interface is there and configured."""
        return self._as_root(f"systemctl is-active -q {UNIT}").status == 0

    def status(self) -> tuple[PeerStatus, ...]:
        """What WireGuard says of each peer."""
        finished = self._as_root(peers_script(NAME))
        if finished.status:
            raise self._error(finished, "bring the VPN up", retry_helps=True)
        return parse_peers(finished.output)

    def wait_for_handshake(self, peer: PublicKey, deadline_s: float, newer_than_s: int = 0) -> PeerStatus:
        """Wait until a handshake with this peer, later than `newer_than_s` (Unix time there), is done."""
        return wait_for_handshake(self, peer, deadline_s, newer_than_s, _POLL_S)

    def _as_root(self, script: str, *arguments: str) -> "Finished":
        return self._ssh.run_as_root(script, *arguments, timeout_s=_PATIENCE_S)

    def _error(self, finished: "Finished", mend: str, *, retry_helps: bool = False) -> InfrastructureError:
        return InfrastructureError(self.seat, finished.last_words, mend, retry_helps=retry_helps)
