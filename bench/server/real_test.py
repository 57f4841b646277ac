"""The emulated Pi stands for a host of the lab; skipped where it has no image (bench pi image)."""

import shutil
from pathlib import Path

import pytest

from bench.pi.deployed.deployment import install_release
from bench.pi.deployed.release_test import built_release
from bench.pi.emulated.image import default_cache, find_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.ledger_process import LedgerEvent, NodeSettings
from bench.pi.ssh import SshSeat
from bench.rig.infrastructure import InfrastructureError
from bench.server.emulated_test import Books
from bench.server.real import FILES, STORE, RealServer
from bench.world.patience import until
from ledger.verify import verify

PATIENCE_S = 300
ANSWER_S = 180
LISTEN = "127.0.0.1:7400"

pytestmark = [
    pytest.mark.skipif(
        shutil.which("qemu-system-aarch64") is None, reason="needs the package qemu-system-arm"
    ),
    pytest.mark.skipif(find_image() is None, reason="needs the emulated Pi's image: run bench pi image"),
]


def _settings(books: Books) -> NodeSettings:
    settings = books.settings("server", FILES, f'listen = "{LISTEN}"')
    return NodeSettings(
        settings.configuration.replace(str(FILES.store), STORE), settings.registry, settings.signing_key
    )


def test_a_server_on_a_host_is_deployed_killed_and_brought_home(tmp_path: Path) -> None:
    image = find_image()
    assert image is not None
    release = built_release(default_cache() / "release")
    told = list[LedgerEvent]()
    with PiMachine(image, name="server") as machine:
        machine.start()
        machine.wait_until_reachable(PATIENCE_S)
        with SshSeat(machine.ssh_target) as ssh:
            ssh.connect(PATIENCE_S)
            missing = RealServer("server", ssh, "/opt/nothing/bin/ledger", told.append)
            with pytest.raises(InfrastructureError, match="server: the ledger is not there as /opt/nothing"):
                missing.check()
            program = f"{install_release(ssh, release)}/bin/ledger"
            server = RealServer("server", ssh, program, told.append)
            server.check()
            assert not server.is_running()
            books = Books(tmp_path)
            server.deploy(_settings(books))
            server.start()
            server.start()
            assert server.is_running()
            server.kill()
            assert not server.is_running()
            server.restart()
            until(
                lambda: server.collect_events() >= 0 and sum(e.kind == "started" for e in told) == 2, ANSWER_S
            )
            assert server.collect_events() >= 0
            assert sum(event.kind == "started" for event in told) == 2
            server.fetch_store(tmp_path / "store.db")
            assert verify(tmp_path / "store.db").clean
            files = ssh.run(f"sudo stat -c '%a %U' {FILES.signing_key} {FILES.registry}").output.split()
            assert files == ["600", "dag-ledger-server"] * 2
            server.stop()
            assert not server.is_running()
            assert server.verify()
            server.erase_store()
            with pytest.raises(InfrastructureError, match="cannot be audited"):
                server.verify()
            broken = _settings(books)
            server.deploy(NodeSettings("name = 3", broken.registry, broken.signing_key))
            with pytest.raises(InfrastructureError, match="it does not start"):
                server.start()
