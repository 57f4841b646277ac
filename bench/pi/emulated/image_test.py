"""The image's cache: whole or absent, built once, its recipe named by a hash; what the host's apt says."""

from __future__ import annotations

import io
import os
import pwd
import select
import signal
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.pi.emulated import image, image_host
from bench.pi.emulated.image import build_image, default_cache, find_image
from bench.pi.emulated.image_host import PiImageError, check_tools, check_user, settings_of, sources_of
from bench.pi.emulated.image_recipe import FileOnCard, Recipe, archive, files_on_card


def finish(build: Any) -> None:
    """What a real build leaves, without the building."""
    result = build._work / "result"
    result.mkdir()
    (result / "identity").write_text("key")
    (result / "host_key.pub").write_text("ssh-ed25519 AAAA\n")


@pytest.fixture(autouse=True)
def _no_tools_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "check_tools", lambda: None)
    monkeypatch.setattr(image, "check_user", lambda: None)
    monkeypatch.setattr(image, "enable_foreign_programs", lambda: None)


def test_an_image_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []
    both_are_here = threading.Barrier(2)

    def run(build: Any) -> None:
        builds.append(build)
        finish(build)

    def build() -> None:
        both_are_here.wait()
        assert build_image(tmp_path).host_key == "ssh-ed25519 AAAA"

    monkeypatch.setattr("bench.pi.emulated.image._Build.run", run)
    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    found = find_image(tmp_path)
    assert found is not None
    assert found == build_image(tmp_path)
    assert found.folder.parent == tmp_path / "pi"
    assert find_image(tmp_path, replace(Recipe(), packages=("other",))) is None


@pytest.mark.parametrize("end", [PiImageError("broken"), KeyboardInterrupt()])
def test_a_build_that_ends_early_leaves_nothing(
    end: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(build: Any) -> None:
        finish(build)
        raise end

    monkeypatch.setattr("bench.pi.emulated.image._Build.run", run)
    with pytest.raises(type(end)):
        build_image(tmp_path)
    assert find_image(tmp_path) is None
    assert [path.suffix for path in (tmp_path / "pi").iterdir()] == [".lock"]


def test_what_a_killed_build_left_is_cleared_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "pi" / f".{Recipe().digest}.abcdef"
    (left / "root").mkdir(parents=True)
    monkeypatch.setattr("bench.pi.emulated.image._Build.run", finish)
    build_image(tmp_path)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "pi").write_text("in the way")
    with pytest.raises(PiImageError, match=f"cannot be written to {tmp_path}/pi/.*; make room there"):
        build_image(tmp_path)


def test_a_step_that_fails_tells_what_it_said(tmp_path: Path) -> None:
    build = image._Build(tmp_path, Recipe(), print)
    with pytest.raises(PiImageError, match=r"(?s)packager failed \(exit status 3\).*no such mirror"):
        build._run(["sh", "-c", "echo no such mirror >&2; exit 3"], "packager")


INTERRUPTED = """
import signal
import sys
from pathlib import Path
# Where the tests run in the background, SIGINT is ignored, and so it would be here.
signal.signal(signal.SIGINT, signal.default_int_handler)
from bench.pi.emulated import image, image_host
from bench.pi.emulated.image_recipe import Recipe
print("ready", flush=True)
image._Build(Path(sys.argv[1]), Recipe(), print)._run(
    ["sh", "-c", "echo $$ > pid.part; mv pid.part pid; exec sleep 600"], "long step")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_step_ends_with_the_build(tmp_path: Path, how: signal.Signals) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == b"ready\n"
        while not (tmp_path / "pid").exists():
            assert bench.poll() is None
        step = int((tmp_path / "pid").read_text())
        ended = os.pidfd_open(step)
        bench.send_signal(how)
        bench.wait(300)
    with os.fdopen(ended):
        assert has_ended(ended)


def has_ended(process: int) -> bool:
    """Whether a process ends, by its descriptor, which is readable from then on."""
    return bool(select.select([process], [], [], 300)[0])


def test_nobody_else_reaches_a_card_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root mke2fs runs as another user, who stands for everybody else here."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    work = tmp_path / "work"
    (work / "result").mkdir(parents=True)
    work.chmod(0o755)
    written: list[Path] = []

    def write(_build: Any, *command: str, folder: Path, input_path: str | None = None) -> None:
        card = folder / command[-1]
        assert input_path is None
        assert Path(command[-1]) == Path(card.name), "found from the folder that mke2fs is started in"
        assert card.stat().st_mode & 0o777 == 0o666
        assert folder.stat().st_mode & 0o777 == 0o711
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert card.stat().st_size == Recipe().card_bytes
        written.append(card)

    monkeypatch.setattr("bench.pi.emulated.image._Build._on_card", write)
    image._Build(work, Recipe(), lambda _line: None)._write_card()
    card = work / "result/card.raw"
    assert card.stat().st_mode & 0o777 == 0o400
    assert written
    assert not written[0].exists()


def test_where_images_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_cache() == Path("/elsewhere/dag-bench")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache() == Path("/home/somebody/.cache/dag-bench")


def test_the_digest_tells_recipes_apart() -> None:
    recipe = Recipe()
    assert recipe.digest == Recipe().digest
    changed = [
        replace(recipe, packages=(*recipe.packages, "nftables")),
        replace(recipe, card_bytes=recipe.card_bytes * 2),
        replace(recipe, settings=(*recipe.settings, FileOnCard("etc/motd", b"hello"))),
    ]
    assert len({recipe.digest, *(other.digest for other in changed)}) == 4


def test_keys_lie_on_the_card_as_they_must() -> None:
    files = {file.path: file for file in files_on_card(Recipe(), b"secret", "ssh-ed25519 H", "ssh-ed25519 C")}
    assert files["etc/ssh/ssh_host_ed25519_key"].mode == 0o600
    assert files["etc/ssh/ssh_host_ed25519_key"].content == b"secret"
    assert files["home/bench/.ssh/authorized_keys"].content == b"ssh-ed25519 C\n"
    assert sum(b"secret" in file.content for file in files.values()) == 1
    with tarfile.open(fileobj=io.BytesIO(archive(tuple(files.values())))) as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
    assert members.keys() == files.keys()
    assert members["home/bench/.ssh/authorized_keys"].uid == 1000
    assert members["etc/systemd/system/systemd-logind.service"].linkname == "/dev/null"
    assert members["etc/sudoers.d/bench"].mode == 0o440


TARGETS = """\
http://mirror.example/debian/ bookworm main
http://mirror.example/debian/ bookworm-updates main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/security/ bookworm-security main
https://other.example/ nodistro main
https://other.example/pgdg bookworm-pgdg main
"""


def test_only_the_release_is_taken_from_the_host_sources() -> None:
    assert sources_of("bookworm", TARGETS) == (
        "deb http://mirror.example/debian/ bookworm main\n"
        "deb http://mirror.example/debian/ bookworm-updates main\n"
        "deb http://mirror.example/security/ bookworm-security main\n"
    )


def test_a_host_without_the_release_is_told() -> None:
    with pytest.raises(PiImageError, match="no source for Debian trixie main"):
        sources_of("trixie", TARGETS)


def test_how_packages_are_fetched_is_taken_from_the_host() -> None:
    dump = [
        'APT::Architecture "amd64";',
        'Acquire::http::Proxy "http://proxy.example:3142";',
        'Acquire::https::CaInfo "/etc/ssl/own.pem";',
        'Acquire::Check-Valid-Until "false";',
        'DPkg::Post-Invoke:: "rm -rf /";',
    ]
    assert settings_of(dump) == "".join(f"{line}\n" for line in dump[1:4])


def test_an_ordinary_user_needs_ids_for_the_files_of_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nobody = pwd.getpwnam("nobody")
    files = tmp_path / "subuid", tmp_path / "subgid"
    monkeypatch.setattr(image_host, "SUBORDINATES", files)
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    files[0].write_text("nobody:100000:65536\n")
    with pytest.raises(PiImageError, match=r"subgid grants nobody no ids .*: usermod --add-subuids"):
        check_user()
    files[1].write_text(f"{nobody.pw_uid}:100000:65536\n")
    check_user()


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_arguments, **_options: None)
    with pytest.raises(PiImageError, match="apt-get install mmdebstrap e2fsprogs"):
        check_tools()
