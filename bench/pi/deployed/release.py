"""The ledger made ready for a Pi: its own modules and the wheels it needs in one archive, no network wanted
there.

The archive holds ``site/`` (what Python imports), ``bin/ledger`` (the command) and ``release.json`` (what it
is). Its name is the digest of its content, so the same checkout and the same wheels give the same release,
byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import ledger
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SEAT: Final = "release"
LEDGER: Final = Path(ledger.__file__).parent
PLATFORMS: Final = ("aarch64", "x86_64")
OLDEST_GLIBC, NEWEST_GLIBC = 17, 36
"""Minor versions of glibc 2 for which wheels are taken: from manylinux2014 to that of Debian 12."""

DIGEST_CHARACTERS: Final = 24
PATIENCE_S: Final = 600
_NOT_DEPLOYED: Final = ("_test.py", "_benchmark.py", "conftest.py")
_TEST_HELPERS: Final = ("ledger/fleet.py", "ledger/service/process_pair.py", "ledger/service/proxy.py")
"""Modules that tests alone import."""

_LAUNCHER: Final = """\
#!/usr/bin/python3 -IS
# Neither the user's nor the system's packages: what runs is what was tested.
import os
import sys

here = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), "site"))
from ledger.cli import main

sys.exit(main())
"""

_COMPILE: Final = """
import py_compile, sys
from pathlib import Path
root = Path(sys.argv[1])
for source in sorted(root.rglob("*.py")):
    shown = "/opt/dag-ledger/current/site/" + source.relative_to(root).as_posix()
    try:
        py_compile.compile(
            str(source), dfile=shown, doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    except py_compile.PyCompileError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Release:
    """One archive ready to be deployed."""

    archive: Path
    digest: str
    python_version: str
    """Major and minor version, as "3.11"."""
    platform: str
    """Machine as `uname -m` names it."""
    unpacked_bytes: int
    wheels: tuple[str, ...]

    @property
    def archive_bytes(self) -> int:
        """Size of the archive."""
        return self.archive.stat().st_size


def build_release(cache: Path, python_version: str = "3.11", platform: str = "aarch64") -> Release:
    """Build the release of this checkout for a Pi with that Python, or find it in the cache.

    The wheels are fetched once for each set of requirements and lie in the cache from then on; later
    releases need no network. Raises InfrastructureError when they cannot be fetched, do not exist for the
    platform, or the cache cannot be written.
    """
    if platform not in PLATFORMS:
        raise InfrastructureError(
            SEAT,
            f"there are no wheels for the platform {platform!r}",
            f"take a host with a 64-bit system: {' or '.join(PLATFORMS)}",
        )
    try:
        return _built(cache, python_version, platform)
    except OSError as error:
        raise InfrastructureError(
            SEAT,
            f"the release cannot be built in {cache} ({_reason(error)})",
            "make room there, or mend its owner, and build again",
        ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, shutil.Error):
        # Of a whole tree: a source, a target and a reason for each file.
        return str(error.args[0][0][2])
    return error.strerror or str(error)


def _built(cache: Path, python_version: str, platform: str) -> Release:
    project = tomllib.loads((LEDGER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wheels = _wheels(cache, project["dependencies"], python_version, platform)
    foreign = _foreign_site(cache, wheels, python_version)
    own = own_modules(LEDGER)
    facts = {
        "ledger": project["version"],
        "python": python_version,
        "machine": platform,
        "wheels": [wheel.name for wheel in wheels],
    }
    with tempfile.TemporaryDirectory(prefix="release-", dir=cache) as name:
        tree = Path(name)
        shutil.copytree(foreign, tree / "site")
        for path, content in own.items():
            _write(tree / "site" / path, content)
        _compile(tree / "site" / "ledger", python_version)
        _write(tree / "bin" / "ledger", _LAUNCHER.encode(), mode=0o755)
        _write(tree / "release.json", json.dumps(facts, indent=2).encode())
        files = _files_of(tree)
        digest = digest_of(files)
        archive = cache / "releases" / f"{digest}.tar.gz"
        if not archive.exists():
            _replace(archive, archive_of(files))
    return Release(
        archive,
        digest,
        python_version,
        platform,
        sum(len(content) for content, _ in files.values()),
        tuple(facts["wheels"]),
    )


def own_modules(root: Path) -> dict[str, bytes]:
    """Return the ledger's modules, without tests and what serves only them, by their path below ``site/``.

    They are the packages that its pyproject.toml lists, so a package forgotten there is missing on the Pi
    too.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    modules = {}
    for package in project["tool"]["setuptools"]["packages"]:
        folder = root.joinpath(*package.split(".")[1:])
        for path in sorted([*folder.glob("*.py"), *folder.glob("py.typed")]):
            name = "/".join((*package.split("."), path.name))
            if not path.name.endswith(_NOT_DEPLOYED) and name not in _TEST_HELPERS:
                modules[name] = path.read_bytes()
    return modules


def digest_of(files: Mapping[str, tuple[bytes, int]]) -> str:
    """Return the digest over paths, modes and contents, in the order of paths."""
    total = hashlib.sha256()
    for path, (content, mode) in sorted(files.items()):
        total.update(f"{path}\0{mode:o}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()[:DIGEST_CHARACTERS]


def _wheels(cache: Path, requirements: Sequence[str], python_version: str, platform: str) -> list[Path]:
    wanted = "\n".join((*sorted(requirements), python_version, platform))
    folder = cache / "wheels" / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as name:
            _fetch(Path(name) / "wheels", requirements, python_version, platform)
            _rename(Path(name) / "wheels", folder)
    return sorted(folder.glob("*.whl"))


def _fetch(folder: Path, requirements: Sequence[str], python_version: str, platform: str) -> None:
    folder.mkdir()
    tag = f"cp{python_version.replace('.', '')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--dest", str(folder), "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", python_version]
    for abi in (tag, "abi3", "none"):
        command += ["--abi", abi]
    for glibc in range(OLDEST_GLIBC, NEWEST_GLIBC + 1):
        command += ["--platform", f"manylinux_2_{glibc}_{platform}"]
    command += ["--platform", f"manylinux2014_{platform}", *requirements]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise _no_wheels("the package index did not answer", folder) from None
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
        raise _no_wheels(said[-1] if said else f"pip ended with {run.returncode}", folder)


def _no_wheels(what: str, folder: Path) -> InfrastructureError:
    return InfrastructureError(
        SEAT,
        f"the wheels for the Pi cannot be fetched ({what})",
        f"build the release once with a network, the cache {folder.parent.parent} then serves without one",
        retry_helps=True,
    )


def _foreign_site(cache: Path, wheels: Iterable[Path], python_version: str) -> Path:
    """Return the folder with all wheels unpacked and compiled."""
    key = hashlib.sha256()
    for wheel in wheels:
        key.update(hashlib.sha256(wheel.read_bytes()).digest())
    key.update(f"{python_version} compiled {_same_python(python_version)}".encode())
    folder = cache / "sites" / key.hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpack-", dir=folder.parent) as name:
            site = Path(name) / "site"
            for wheel in wheels:
                for path, content in unpacked(wheel).items():
                    _write(site / path, content)
            _compile(site, python_version)
            _rename(site, folder)
    return folder


def unpacked(wheel: Path) -> dict[str, bytes]:
    """Return what a wheel puts where Python imports from, by path (binary distribution format, PyPA).

    Scripts and headers are left out: the Pi has no use for them. Raises InfrastructureError for a broken
    wheel.
    """
    files = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                path = _place_of(name)
                if path is not None:
                    files[path] = archive.read(name)
    except (zipfile.BadZipFile, OSError) as error:
        raise InfrastructureError(
            SEAT, f"{wheel} is no whole wheel ({error})", f"delete the folder {wheel.parent} and build again"
        ) from None
    return files


def _place_of(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    if name.endswith("/") or name.startswith("/") or ".." in parts:
        return None
    if parts[0].endswith(".data"):
        return "/".join(parts[2:]) if parts[1] in ("purelib", "platlib") else None
    return name


def _same_python(python_version: str) -> bool:
    return python_version == f"{sys.version_info.major}.{sys.version_info.minor}"


def _compile(folder: Path, python_version: str) -> None:
    """Compile ahead where this is the Pi's Python: the service may not write beside its modules."""
    if _same_python(python_version):
        # A process of its own with a fixed hash seed: constants that are sets then come out in one order.
        run = subprocess.run(
            [sys.executable, "-c", _COMPILE, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            said = run.stderr.strip().splitlines()
            raise InfrastructureError(
                SEAT,
                f"the modules in {folder} cannot be compiled"
                f" ({said[-1] if said else f'Python ended with {run.returncode}'})",
                "make room there and build again",
            )


def _files_of(tree: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(tree).as_posix(): (
            path.read_bytes(),
            0o755 if path.stat().st_mode & 0o100 else 0o644,
        )
        for path in tree.rglob("*")
        if path.is_file()
    }


def archive_of(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Return the compressed archive of files (content and mode by path), always the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _rename(source: Path, target: Path) -> None:
    """Put a finished folder in its place, unless another process was first."""
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise
