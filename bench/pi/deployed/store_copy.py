"""A node's store brought home from its host, also while the node writes to it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

    from bench.pi.ssh import SshSeat

COPY_S: Final = 300.0

# The copy belongs to the login, as its folder does.
_COPY: Final = """
import os, sqlite3, sys
source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
target = sqlite3.connect(sys.argv[2])
source.backup(target)
target.close()
os.chown(sys.argv[2], os.stat(os.path.dirname(sys.argv[2])).st_uid, -1)
"""


def fetch_store(host: SshSeat, store: str, target: Path) -> None:
    """Copy a store as it is at one moment. Raises InfrastructureError."""
    stage = host.run("umask 077; mktemp -d /var/tmp/fetch.XXXXXXXXXX").output.strip()
    copy = f"{stage}/store.db"
    try:
        script = f'exec python3 -I -c {shlex.quote(_COPY)} "$1" "$2"'
        finished = host.run_as_root(script, store, copy, timeout_s=COPY_S)
        if finished.status:
            raise InfrastructureError(
                host.target.name,
                f"its store {store} cannot be copied ({finished.last_words})",
                "see whether its card is full (df), and whether the ledger has run there",
            )
        target.write_bytes(host.get(copy))
    finally:
        host.run(f"rm -rf {shlex.quote(stage)}", check=False)
