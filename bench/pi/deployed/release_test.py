"""Releases are built here from wheels made up by the test, so that no network is needed; one test fetches
real ones.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from bench.pi.deployed import release as release_module
from bench.pi.deployed.release import LEDGER, Release, build_release, digest_of, own_modules, unpacked
from bench.rig.infrastructure import InfrastructureError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def built_release(cache: Path, python_version: str = "3.11", platform: str = "aarch64") -> Release:
    """A release of real wheels; the test is skipped where they cannot be fetched, and only there."""
    try:
        return build_release(cache, python_version, platform)
    except InfrastructureError as error:
        if not error.retry_helps:
            raise
        pytest.skip(str(error))


def made_up_wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def without_network(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In place of pip, which is asked once for a set of requirements."""
    fetched: list[Path] = []

    def fetch(folder: Path, requirements: object, python_version: str, platform: str) -> None:
        assert requirements
        folder.mkdir()
        fetched.append(folder)
        made_up_wheel(
            folder / f"other-1-cp{python_version}-{platform}.whl",
            {"other/__init__.py": "NAMES = {'b', 'a', 'c'}\n", "other-1.data/scripts/tool": "#!python\n"},
        )

    monkeypatch.setattr(release_module, "_fetch", fetch)
    return fetched


def contents(release: Release) -> dict[str, tuple[bytes, int]]:
    with tarfile.open(release.archive) as archive:
        found = {}
        for entry in archive:
            stream = archive.extractfile(entry)
            assert stream is not None
            found[entry.name] = (stream.read(), entry.mode)
        return found


def test_the_same_checkout_gives_the_same_archive(tmp_path: Path, without_network: list[Path]) -> None:
    one = build_release(tmp_path / "one", HERE)
    other = build_release(tmp_path / "other", HERE)
    assert one.digest == other.digest
    assert one.archive.read_bytes() == other.archive.read_bytes()
    assert len(without_network) == 2


def test_the_second_time_nothing_is_fetched(tmp_path: Path, without_network: list[Path]) -> None:
    assert build_release(tmp_path, HERE) == build_release(tmp_path, HERE)
    assert len(without_network) == 1
    build_release(tmp_path, HERE, "x86_64")
    assert len(without_network) == 2
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(("fetch-", "unpack-", "new-"))]


def test_a_release_holds_the_ledger_without_tests_and_what_wheels_bring(
    tmp_path: Path, without_network: list[Path]
) -> None:
    release = build_release(tmp_path, HERE)
    files = contents(release)
    assert without_network
    assert files["bin/ledger"][1] == 0o755
    assert "site/other/__init__.py" in files
    assert not [name for name in files if "scripts" in name or name.endswith("_test.py")]
    assert {"site/ledger/node.py", "site/ledger/measure/__main__.py", "site/ledger/py.typed"} <= set(files)
    assert any(name.startswith("site/ledger/__pycache__/node.") for name in files)
    assert digest_of(files) == release.digest
    assert sum(len(content) for content, _ in files.values()) == release.unpacked_bytes


def test_a_change_of_the_ledger_changes_the_digest() -> None:
    files = {"a": (b"x", 0o644), "b": (b"y", 0o644)}
    digests = {
        digest_of(files),
        digest_of({**files, "a": (b"z", 0o644)}),
        digest_of({**files, "a": (b"x", 0o755)}),
        digest_of({"a": (b"x", 0o644)}),
        digest_of({"a": (b"y", 0o644), "b": (b"x", 0o644)}),
    }
    assert len(digests) == 5
    assert digest_of(dict(reversed(files.items()))) == digest_of(files)


def test_every_package_of_the_distribution_is_in_a_release() -> None:
    project = tomllib.loads((LEDGER / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {package.replace(".", "/") for package in project["tool"]["setuptools"]["packages"]}
    assert {str(Path(path).parent) for path in own_modules(LEDGER)} == packages


def test_a_release_runs_with_nothing_but_itself(tmp_path: Path) -> None:
    """The wheels of this machine's kind, fetched for real; skipped without a package index."""
    release = built_release(tmp_path, HERE, "x86_64")
    with tarfile.open(release.archive) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    command = [sys.executable, "-I", "-S", str(tmp_path / "there/bin/ledger"), "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env={"LANG": "C.UTF-8"})
    assert finished.returncode == 0, finished.stderr
    assert "verify" in finished.stdout


def test_a_broken_wheel_is_named(tmp_path: Path) -> None:
    wheel = tmp_path / "torn-1-py3-none-any.whl"
    wheel.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InfrastructureError, match=r"torn-1-py3-none-any.whl is no whole wheel"):
        unpacked(wheel)


def test_nothing_in_a_wheel_leaves_its_folder(tmp_path: Path) -> None:
    wheel = made_up_wheel(
        tmp_path / "x-1-py3-none-any.whl",
        {
            "../out.py": "",
            "/etc/out": "",
            "x-1.data/headers/x.h": "",
            "x-1.data/purelib/x.py": "1",
            "y.py": "2",
        },
    )
    assert unpacked(wheel) == {"x.py": b"1", "y.py": b"2"}


def test_without_an_index_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(
        InfrastructureError, match=r"the wheels for the Pi cannot be fetched .*; build the release"
    ) as caught:
        build_release(tmp_path, HERE)
    assert caught.value.retry_helps
    assert not list((tmp_path / "wheels").iterdir())


def test_a_full_disk_is_told(
    tmp_path: Path, without_network: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(_source: Path, target: Path) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device"), (str(target), "", "too")])

    monkeypatch.setattr(shutil, "copytree", copy)
    with pytest.raises(InfrastructureError, match=r"No space left on device\); make room there") as caught:
        build_release(tmp_path, HERE)
    assert str(tmp_path) in caught.value.what
    assert without_network


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match=r"cannot be built in .*/file/cache \(Not a directory\)"):
        build_release(tmp_path / "file/cache", HERE)


def test_modules_that_cannot_be_compiled_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "__pycache__").touch()
    with pytest.raises(InfrastructureError, match=r"cannot be compiled \(.*__pycache__.*\); make room there"):
        release_module._compile(tmp_path, HERE)


def test_what_is_deployed_needs_nothing_that_is_not() -> None:
    deployed = own_modules(LEDGER)
    helpers = {"ledger.fleet", "ledger.service.process_pair", "ledger.service.proxy"}
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in deployed}
    for path, content in deployed.items():
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ledger":
                imported = {f"{node.module}.{alias.name}" for alias in node.names}
                assert node.module in names, f"{path} imports {node.module}"
                assert not imported & helpers, f"{path} imports {imported & helpers}"
    assert not names & helpers


def test_a_platform_without_wheels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="platform 'armv7l'; take a host with a 64-bit system"):
        build_release(tmp_path, HERE, "armv7l")
