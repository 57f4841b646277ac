"""The installer as a process of its own, as on a Pi, below a scratch prefix."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bench.pi.deployed import installer
from bench.pi.deployed.release import archive_of, digest_of

INSTALLER = Path(installer.__file__)


def archive(folder: Path, text: str, size_bytes: int = 3000) -> tuple[Path, str, int]:
    files = {
        "bin/ledger": (b"#!/bin/sh\necho " + text.encode(), 0o755),
        "site/x.py": (text.encode().ljust(size_bytes), 0o644),
    }
    path = folder / f"{text}.tar.gz"
    path.write_bytes(archive_of(files))
    return path, digest_of(files), sum(len(content) for content, _ in files.values())


def request(prefix: Path, folder: Path, text: str, size_bytes: int = 3000, **changes: Any) -> dict[str, Any]:
    path, digest, unpacked_bytes = archive(folder, text, size_bytes)
    key = {
        "name": "signing.key",
        "content": base64.b64encode(b"secret").decode(),
        "mode": 0o600,
        "owner": "x",
    }
    values = {
        "prefix": str(prefix),
        "system": False,
        "digest": digest,
        "archive": str(path),
        "unpacked_bytes": unpacked_bytes,
        "activate": True,
        "files": [key],
        "devices": [],
        "unit_name": "dag-gateway.service",
        "unit": "[Service]\nSupplementaryGroups=@GROUPS@\n@DEVICES@",
    }
    return {**values, **changes}


def install(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    file = folder / "request.json"
    file.write_text(json.dumps(wanted), encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, "-I", str(INSTALLER), "install", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def releases(prefix: Path) -> set[str]:
    return set(os.listdir(prefix / "opt/dag-ledger/releases"))


def test_a_second_run_changes_nothing(tmp_path: Path, prefix: Path) -> None:
    wanted = request(prefix, tmp_path, "one")
    first = install(tmp_path, wanted)["changes"]
    assert any("unpacked" in change for change in first)
    before = {path: path.lstat().st_mtime_ns for path in prefix.rglob("*")}
    assert install(tmp_path, wanted) == {"changes": []}
    assert {path: path.lstat().st_mtime_ns for path in prefix.rglob("*")} == before
    assert (prefix / "opt/dag-ledger/current/bin/ledger").stat().st_mode & 0o777 == 0o755
    key = prefix / "etc/dag-ledger/signing.key"
    assert key.read_bytes() == b"secret"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_what_was_altered_by_hand_is_put_right_and_told(tmp_path: Path, prefix: Path) -> None:
    wanted = request(prefix, tmp_path, "one")
    install(tmp_path, wanted)
    key = prefix / "etc/dag-ledger/signing.key"
    key.chmod(0o644)
    assert install(tmp_path, wanted) == {"changes": [f"{key} written"]}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    key.symlink_to("/etc/passwd")
    assert install(tmp_path, wanted) == {"changes": [f"{key} written"]}
    assert not key.is_symlink()


def test_the_last_two_releases_are_kept(tmp_path: Path, prefix: Path) -> None:
    digests = []
    for text in ("one", "two", "three"):
        wanted = request(prefix, tmp_path, text)
        install(tmp_path, wanted)
        digests.append(wanted["digest"])
    assert releases(prefix) == set(digests[1:])
    assert (prefix / "opt/dag-ledger/current").readlink() == Path("releases") / digests[2]
    back = install(tmp_path, request(prefix, tmp_path, "two"))["changes"]
    assert back == [f"release {digests[1]} is current"]
    assert releases(prefix) == set(digests[1:])


def test_a_release_beside_leaves_what_is_in_use(tmp_path: Path, prefix: Path) -> None:
    install(tmp_path, request(prefix, tmp_path, "one"))
    link = (prefix / "opt/dag-ledger/current").readlink()
    beside = request(prefix, tmp_path, "two", activate=False, files=[], unit="")
    assert install(tmp_path, beside)["changes"] == [f"release {beside['digest']} unpacked"]
    assert (prefix / "opt/dag-ledger/current").readlink() == link
    assert (prefix / "etc/dag-ledger/signing.key").exists()


def test_releases_beside_do_not_grow_without_end_and_what_is_in_use_stays(
    tmp_path: Path, prefix: Path
) -> None:
    def beside(text: str) -> str:
        wanted = request(prefix, tmp_path, text, activate=False, files=[], unit="")
        install(tmp_path, wanted)
        return str(wanted["digest"])

    first = request(prefix, tmp_path, "one")
    install(tmp_path, first)
    running = beside("two")
    program = prefix / "opt/dag-ledger/releases" / running / "bin/ledger"
    program.write_text("#!/bin/sh\nread end\n", encoding="utf-8")
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE) as process:
        last = [beside(text) for text in ("three", "four", "five")]
        assert releases(prefix) == {first["digest"], running, *last[1:]}
        assert process.stdin is not None
        process.stdin.close()
    assert {first["digest"], last[2], beside("six")} == releases(prefix)


def test_a_device_that_is_missing_is_told_before_anything_is_changed(tmp_path: Path, prefix: Path) -> None:
    first = request(prefix, tmp_path, "one")
    install(tmp_path, first)
    key = base64.b64encode(b"another").decode()
    missing: dict[str, Any] = {
        "devices": ["/dev/spidev99.0"],
        "files": [{**first["files"][0], "content": key}],
    }
    install(tmp_path, request(prefix, tmp_path, "two", **missing))
    assert (prefix / "opt/dag-ledger/current").readlink() == Path("releases") / first["digest"]
    assert (prefix / "etc/dag-ledger/signing.key").read_bytes() == b"secret"


class Machine(installer.Installation):
    """A machine with systemd and a gateway that runs; `failing` are the calls of systemctl that do not
    succeed. What unit systemd has read stands in a file, as a machine outlives deployments.
    """

    def __init__(self, wanted: dict[str, Any], *failing: str) -> None:
        super().__init__(wanted)
        self.failing = failing
        self.asked: list[str] = []

    def _ensure_user(self) -> None:
        pass

    def _ids(self, *_: str, **__: str) -> tuple[int, int]:
        return os.geteuid(), os.getegid()

    def _run(self, command: list[str], *_: bool, **__: bool) -> str:
        self.asked.append(command[1])
        if command[1] in self.failing:
            raise installer.Refusal(f"{command[1]} fails", "again")
        known = Path(self._path("known.service"))
        unit = Path(self._path("etc/systemd/system", self.unit_name)).read_text(encoding="utf-8")
        if command[1] == "daemon-reload" or not known.exists():
            known.write_text(unit, encoding="utf-8")
        stale = "yes" if known.read_text(encoding="utf-8") != unit else "no"
        return {"is-enabled": "enabled", "is-active": "active", "show": stale}.get(command[1], "")


@pytest.mark.parametrize("failing", ["daemon-reload", "restart"])
def test_a_deployment_that_broke_off_is_made_good_by_the_next(
    tmp_path: Path, prefix: Path, failing: str
) -> None:
    Machine(request(prefix, tmp_path, "one", system=True)).carry_out()
    wanted = request(prefix, tmp_path, "one", system=True, unit="[Service]\nType=notify\n")
    with pytest.raises(installer.Refusal):
        Machine(wanted, failing).carry_out()
    second = Machine(wanted)
    assert second.carry_out() == ["dag-gateway.service restarted"]
    assert ("daemon-reload" in second.asked) == (failing == "daemon-reload")
    third = Machine(wanted)
    assert third.carry_out() == []
    assert not {"daemon-reload", "restart"} & set(third.asked)


def test_other_settings_restart_the_gateway_and_leave_systemds_units_alone(
    tmp_path: Path, prefix: Path
) -> None:
    wanted = request(prefix, tmp_path, "one", system=True)
    Machine(wanted).carry_out()
    [file] = wanted["files"]
    other = Machine({**wanted, "files": [{**file, "content": base64.b64encode(b"other").decode()}]})
    assert other.carry_out()[-1] == "dag-gateway.service restarted"
    assert "daemon-reload" not in other.asked


def test_a_deployment_that_met_a_full_card_is_made_good_by_the_next(
    tmp_path: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_file = installer.Installation._ensure_file

    def full(self: installer.Installation, path: str, *rest: Any, **more: Any) -> bool:
        if path.endswith(".service"):
            raise OSError(28, "No space left on device", path)
        return ensure_file(self, path, *rest, **more)

    Machine(request(prefix, tmp_path, "one", system=True)).carry_out()
    wanted = request(prefix, tmp_path, "two", system=True)
    with monkeypatch.context() as broken:
        broken.setattr(installer.Installation, "_ensure_file", full)
        with pytest.raises(OSError, match="No space left"):
            Machine(wanted).carry_out()
    assert Machine(wanted).carry_out() == ["dag-gateway.service restarted"]


def test_a_damaged_archive_changes_nothing(tmp_path: Path, prefix: Path) -> None:
    wanted = request(prefix, tmp_path, "one")
    install(tmp_path, wanted)
    other = request(prefix, tmp_path, "two")
    whole = Path(other["archive"]).read_bytes()
    for torn in (whole[: len(whole) // 2], whole[:99] + bytes(20) + whole[119:], b"", b"no archive at all"):
        Path(other["archive"]).write_bytes(torn)
        answer = install(tmp_path, other)
        assert "arrived damaged" in answer["refused"]["what"], answer
        assert releases(prefix) == {wanted["digest"]}


def test_another_content_than_announced_is_damage(tmp_path: Path, prefix: Path) -> None:
    wanted = request(prefix, tmp_path, "one", digest="0" * 24)
    assert install(tmp_path, wanted)["refused"]["what"] == "the release arrived damaged"
    assert releases(prefix) == set()


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, prefix: Path) -> None:
    wanted = request(prefix, tmp_path, "one")
    with tarfile.open(wanted["archive"], "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../outside"))
    assert "../../outside" in install(tmp_path, wanted)["refused"]["what"]
    assert not (prefix / "opt/outside").exists()


def test_a_full_card_is_told_before_anything_is_done(tmp_path: Path, prefix: Path) -> None:
    answer = install(tmp_path, request(prefix, tmp_path, "one", unpacked_bytes=10**15))
    assert "MB are free" in answer["refused"]["what"]
    assert "free some space" in answer["refused"]["mend"]
    assert releases(prefix) == set()


def test_a_card_that_fills_up_meanwhile_leaves_nothing_half_done(tmp_path: Path, prefix: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(prefix)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        wanted = request(prefix, tmp_path, "one", size_bytes=300_000, unpacked_bytes=-installer.SPARE_BYTES)
        answer = install(tmp_path, wanted)
        assert "No space left" in answer["refused"]["what"]
        assert releases(prefix) == set()
    finally:
        subprocess.run(["umount", str(prefix)], check=True)


def test_what_an_interrupted_run_left_is_cleared_away(tmp_path: Path, prefix: Path) -> None:
    left = prefix / "opt/dag-ledger/releases/.unfinished-abc"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    (prefix / "opt/dag-ledger/.current-new").symlink_to("nowhere")
    wanted = request(prefix, tmp_path, "one")
    install(tmp_path, wanted)
    assert releases(prefix) == {wanted["digest"]}
    assert (prefix / "opt/dag-ledger/current").is_dir()


def test_two_at_once_do_not_mix(tmp_path: Path, prefix: Path) -> None:
    base = prefix / "opt/dag-ledger"
    base.mkdir(parents=True)
    descriptor = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        answer = install(tmp_path, request(prefix, tmp_path, "one"))
    finally:
        os.close(descriptor)
    assert "another deployment is under way" in answer["refused"]["what"]


def test_the_unit_gets_the_groups_and_true_names_of_devices(tmp_path: Path, prefix: Path) -> None:
    link = tmp_path / "radio"
    link.symlink_to("/dev/null")
    install(tmp_path, request(prefix, tmp_path, "one", devices=[str(link)]))
    unit = (prefix / "etc/systemd/system/dag-gateway.service").read_text(encoding="utf-8")
    assert "DeviceAllow=/dev/null rw\n" in unit
    assert "@" not in unit


@pytest.mark.parametrize(
    ("device", "expected"),
    [("/dev/spidev99.0", "there is no device /dev/spidev99.0"), ("/etc/hosts", "is no device")],
)
def test_a_device_that_is_none_is_named(tmp_path: Path, prefix: Path, device: str, expected: str) -> None:
    assert (
        expected in install(tmp_path, request(prefix, tmp_path, "one", devices=[device]))["refused"]["what"]
    )


def test_the_probe_tells_the_machine(prefix: Path, tmp_path: Path) -> None:
    install(tmp_path, request(prefix, tmp_path, "one"))
    finished = subprocess.run(
        [sys.executable, "-I", str(INSTALLER), "probe", str(prefix)],
        capture_output=True,
        text=True,
        check=True,
    )
    machine = json.loads(finished.stdout)
    assert machine["machine"] == os.uname().machine
    assert machine["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert set(machine["releases"]) == releases(prefix)
    assert machine["root"] == (os.geteuid() == 0)


def test_the_installer_is_one_file_of_the_standard_library(tmp_path: Path) -> None:
    alone = tmp_path / "alone.py"
    shutil.copy(INSTALLER, alone)
    command = [sys.executable, "-I", "-S", str(alone), "probe", "/"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
