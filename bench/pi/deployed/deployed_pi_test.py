"""The gateway deployed to the emulated Pi: one boot for all tests here, from an empty card on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from bench.pi.deployed.deployment import (
    REGISTRY_FILE,
    SIGNING_KEY_FILE,
    STORE,
    UNIT,
    Deployment,
    GatewaySettings,
    deploy,
)
from bench.pi.deployed.gateway_service import GatewayService
from bench.pi.deployed.release_test import built_release
from bench.pi.emulated.image import default_cache, find_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.ssh import SshSeat
from bench.rig.infrastructure import InfrastructureError
from ledger.registry import Issuer, Registry
from ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.pi.deployed.release import Release

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-aarch64") is None,
    reason="needs qemu-system-aarch64: apt-get install qemu-system-arm",
)

DEADLINE_S = 600.0
RADIO = "/dev/virtio-ports/radio"
KEY = SigningKey(bytes(range(32)))
METER_KEY = bytes(range(100, 116))


def settings(folder: Path) -> GatewaySettings:
    registry = Registry(bytes(16), 1, {bytes(KEY.verify_key): Issuer("east")}, {1: METER_KEY})
    registry.save(folder / "registry.json")
    configuration = "\n".join(
        [
            'name = "east"',
            f'store = "{STORE}"',
            f'registry = "{REGISTRY_FILE}"',
            f'signing_key = "{SIGNING_KEY_FILE}"',
            "[radio]",
            f'port = "serial:{RADIO}"',
            "",
        ]
    )
    return GatewaySettings(configuration, (folder / "registry.json").read_bytes(), bytes(KEY), (RADIO,))


@pytest.fixture(scope="module")
def release() -> Release:
    return built_release(default_cache() / "release")


@pytest.fixture(scope="module")
def seat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshSeat]:
    image = find_image()
    if image is None:
        pytest.skip("the Pi's image is not built: bench pi image")
    with PiMachine(image, folder=tmp_path_factory.mktemp("card")) as machine:
        machine.start()
        machine.wait_until_reachable(DEADLINE_S)
        with SshSeat(machine.ssh_target) as seat:
            seat.connect(DEADLINE_S)
            yield seat


@pytest.fixture(scope="module")
def deployed(
    seat: SshSeat, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Deployment, GatewaySettings]:
    wanted = settings(tmp_path_factory.mktemp("settings"))
    return deploy(seat, release, wanted), wanted


@pytest.fixture
def service(seat: SshSeat, deployed: object) -> GatewayService:
    assert deployed
    service = GatewayService(seat)
    service.start()
    return service


def test_the_first_deployment_does_all_and_the_second_nothing(
    seat: SshSeat, release: Release, deployed: tuple[Deployment, GatewaySettings]
) -> None:
    first, wanted = deployed
    assert "user dag-ledger made" in first.changes
    assert f"{UNIT} is started at boot" in first.changes
    assert deploy(seat, release, wanted).changes == ()


def test_keys_belong_to_the_service_alone(seat: SshSeat, deployed: object) -> None:
    assert deployed
    assert seat.run("ls /etc/dag-ledger", check=False).status != 0
    command = "stat -c '%n %U:%G %a' /etc/dag-ledger /etc/dag-ledger/*"
    listed = seat.run(f'sudo sh -c "{command}"').output.split("\n")
    assert "/etc/dag-ledger root:dag-ledger 750" in listed
    assert f"{SIGNING_KEY_FILE} dag-ledger:dag-ledger 600" in listed
    assert f"{REGISTRY_FILE} root:dag-ledger 640" in listed
    journal = seat.run("sudo journalctl -q --no-pager", timeout_s=DEADLINE_S).output
    assert "installer.py install" in journal, "sudo writes down what it ran"
    for secret in (bytes(KEY).hex(), METER_KEY.hex()):
        assert secret not in journal
    assert seat.run("ls /dev/shm").output == ""


def test_it_runs_and_tells_its_figures_and_events(service: GatewayService) -> None:
    assert service.is_running()
    figures = service.figures()
    assert figures.active
    assert figures.boot_id == service.boot_id()
    assert figures.cpu_ns is not None
    assert figures.cpu_ns > 0
    assert figures.resident_bytes is not None
    assert 10_000_000 < figures.resident_bytes < 200_000_000
    assert figures.card_writes is not None
    assert figures.disk_free_bytes is not None
    events = [line.event for line in service.log().lines if line.event is not None]
    assert any(event.get("event") == "started" and event.get("name") == "east" for event in events)


def test_after_sigkill_it_is_back_with_a_whole_store(service: GatewayService, tmp_path: Path) -> None:
    boot_id, before = service.boot_id(), service.figures()
    cursor = service.log(limit=1).cursor
    service.kill()
    service.wait_until_ready()
    after = service.figures()
    assert after.restarts == before.restarts + 1
    assert after.cpu_ns is not None
    assert before.cpu_ns is not None
    assert after.cpu_ns > before.cpu_ns, "CPU time counts over restarts"
    assert service.boot_id() == boot_id
    assert service.verify()["clean"]
    assert any(line.event and line.event["event"] == "started" for line in service.log_after(cursor))
    service.fetch_store(tmp_path / "east.db")
    assert verify(tmp_path / "east.db").clean


def test_a_new_trial_begins_with_an_empty_store(service: GatewayService, seat: SshSeat) -> None:
    old = seat.run(f"sudo stat -c %i {STORE}").output
    service.erase_store()
    assert service.is_running()
    assert seat.run(f"sudo stat -c %i {STORE}").output != old or service.verify()["blocks"] == 0
    service.stop()
    assert not service.is_running()
    service.erase_store()
    assert not service.is_running()
    assert seat.run(f"sudo test -e {STORE}", check=False).status == 1


def test_changed_settings_restart_what_runs(
    service: GatewayService, seat: SshSeat, release: Release, deployed: tuple[Deployment, GatewaySettings]
) -> None:
    _, wanted = deployed
    pid = seat.run(f"sudo systemctl show {UNIT} -p MainPID --value").output
    changed = replace(wanted, configuration=wanted.configuration + "[batch]\nreadings = 32\n")
    assert f"{UNIT} restarted" in deploy(seat, release, changed).changes
    assert service.is_running()
    assert seat.run(f"sudo systemctl show {UNIT} -p MainPID --value").output != pid
    assert f"{UNIT} restarted" in deploy(seat, release, wanted).changes


def test_a_configuration_that_is_wrong_is_told_in_its_own_words(
    service: GatewayService, seat: SshSeat, release: Release, deployed: tuple[Deployment, GatewaySettings]
) -> None:
    _, wanted = deployed
    service.stop()
    deploy(seat, release, replace(wanted, configuration='name = "east"\n'))
    with pytest.raises(InfrastructureError, match=f"`systemctl start {UNIT}` ended with 1"):
        service.start()
    service.stop()
    deploy(seat, release, wanted)
    service.start()


def test_a_full_card_is_told_and_the_old_release_runs_on(
    service: GatewayService, seat: SshSeat, release: Release, deployed: tuple[Deployment, GatewaySettings]
) -> None:
    _, wanted = deployed
    seat.run("sudo fallocate -l $(($(df -k --output=avail / | tail -1) - 30000))K /filler", timeout_s=300)
    try:
        with pytest.raises(InfrastructureError, match="MB are free at /opt/dag-ledger"):
            deploy(seat, replace(release, digest="0" * 24), wanted)
        assert service.is_running()
    finally:
        seat.run("sudo rm /filler")
    assert deploy(seat, release, wanted).changes == ()


def test_the_release_on_the_pi_uses_no_package_of_the_system(seat: SshSeat, deployed: object) -> None:
    assert deployed
    shown = seat.run(
        "PYTHONPATH=/opt/dag-ledger/current/site python3 -S -P -c"
        " 'import json, ledger, nacl, cbor2; print(json.dumps([m.__file__ for m in (ledger, nacl, cbor2)]))'"
    ).output
    assert all(path.startswith("/opt/dag-ledger/current/site/") for path in json.loads(shown))
