from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from ledger.service.systemd import Supervisor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("abstract", [False, True])
def test_it_tells_the_socket_that_systemd_names(tmp_path: Path, abstract: bool) -> None:
    name = f"@ledger-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if abstract else name)
        listening.settimeout(30)
        supervisor = Supervisor({"NOTIFY_SOCKET": name})
        for tell, word in (
            (supervisor.ready, b"READY=1"),
            (supervisor.alive, b"WATCHDOG=1"),
            (supervisor.stopping, b"STOPPING=1"),
        ):
            tell()
            assert listening.recv(100) == word


def test_without_systemd_it_tells_nobody(tmp_path: Path) -> None:
    Supervisor({}).ready()
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()


@pytest.mark.parametrize(
    ("environment", "watchdog_ns"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30_000_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30_000_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_counts_only_if_it_is_for_this_process(
    environment: dict[str, str], watchdog_ns: int | None
) -> None:
    assert Supervisor(environment).watchdog_ns == watchdog_ns
