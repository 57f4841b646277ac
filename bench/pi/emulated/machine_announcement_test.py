"""Who runs a Pi tells others, and no longer than it runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.pi.emulated.machine_announcement import announce, announced
from bench.pi.ssh import SshTarget


def target(port: int) -> SshTarget:
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return SshTarget("pi", "127.0.0.1", port, "bench", Path("/cache/identity"), key.decode())


def test_a_pi_is_announced_while_it_runs(tmp_path: Path) -> None:
    assert announced(tmp_path) is None
    told = target(2022)
    with announce(told, tmp_path):
        assert announced(tmp_path) == told
    assert announced(tmp_path) is None


ANNOUNCER = """
import sys
from pathlib import Path
from bench.pi.emulated.machine_announcement import announce
from bench.pi.ssh import SshTarget
told = SshTarget("pi", "127.0.0.1", 2023, "bench", Path("/cache/identity"), sys.argv[2])
with announce(told, Path(sys.argv[1])):
    print("announced", flush=True)
    sys.stdin.read()
"""


def test_an_announcement_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    told = target(2023)
    command = [sys.executable, "-c", ANNOUNCER, str(tmp_path), told.host_key]
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    ) as announcer:
        assert announcer.stdout is not None
        assert announcer.stdout.readline() == b"announced\n"
        assert announced(tmp_path) == told
        announcer.kill()
        announcer.wait()
    assert list((tmp_path / "pi/running").iterdir()) != []
    assert announced(tmp_path) is None
    assert list((tmp_path / "pi/running").iterdir()) == []
