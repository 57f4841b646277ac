"""Builds the emulated Pi's image once, into a cache: Debian 12 for arm64, its kernel, and the keys to log in.

The image is made by mmdebstrap out of the packages that this host's apt is set up for; package scripts run by
qemu-user. The kernel package is only taken apart: its own installation would build an initial RAM disk by
emulation, which alone takes longer than all the rest.

Nothing of this is in the repository. A folder of the cache is complete or absent: it is filled under another
name and then renamed. Two builders of one image wait for each other.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.pi.emulated.image_host import (
    PiImageError,
    check_tools,
    check_user,
    enable_foreign_programs,
    package_settings,
    package_sources,
)
from bench.pi.emulated.image_kernel import (
    KernelModuleError,
    built_in,
    dependencies_of,
    in_loading_order,
    initial_ram_disk,
    modules_in,
)
from bench.pi.emulated.image_recipe import (
    ARCHITECTURE,
    RELEASE,
    USER,
    USER_ID,
    Recipe,
    archive,
    files_on_card,
)
from bench.pi.emulated.machine_lifeline import command_with_lifeline

Tell = Callable[[str], None]
"""Takes a line of progress for a person."""

_SHORTEST_LOG = 15


@dataclass(frozen=True, slots=True)
class PiImage:
    """A finished image: a folder of the cache.

    `card` is the root file system (raw, ext4, sparse), never written to after the build; `identity` the
    private key of the account `user`, readable by its owner alone; `host_key` the machine's public key as it
    stands in a known_hosts file after the host's name ("ssh-ed25519 AAAA...").
    """

    folder: Path
    user: str
    host_key: str

    @property
    def card(self) -> Path:
        """The root file system."""
        return self.folder / "card.raw"

    @property
    def kernel(self) -> Path:
        """Linux for arm64."""
        return self.folder / "kernel"

    @property
    def initial_ram_disk(self) -> Path:
        """What the kernel starts before the card is mounted."""
        return self.folder / "initial-ram-disk"

    @property
    def identity(self) -> Path:
        """The private key to log in with."""
        return self.folder / "identity"

    @property
    def size_bytes(self) -> int:
        """Room that the image takes on this host's disk."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())

    @property
    def versions(self) -> dict[str, str]:
        """Packages on the card with their versions, and the kernel's."""
        versions: dict[str, str] = json.loads((self.folder / "versions.json").read_text(encoding="utf-8"))
        return versions


def default_cache() -> Path:
    """Where images are kept unless said otherwise: below $XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache") / "dag-bench"


def _say_nothing(_line: str) -> None:
    """Progress that nobody wants to hear."""


def find_image(cache: Path | None = None, recipe: Recipe | None = None) -> PiImage | None:
    """The image if it has been built, else None."""
    folder = _place(cache, recipe or Recipe())
    host_key = folder / "host_key.pub"
    if not host_key.exists():
        return None
    return PiImage(folder, USER, host_key.read_text(encoding="ascii").strip())


def build_image(
    cache: Path | None = None, tell: Tell = _say_nothing, recipe: Recipe | None = None
) -> PiImage:
    """The image, built first where it is not in the cache yet (some minutes). `tell` hears how far it is.

    Raises PiImageError with the mend.
    """
    recipe = recipe or Recipe()
    folder = _place(cache, recipe)
    image = find_image(cache, recipe)
    if image is not None:
        return image
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_builder_of(folder, tell):
            if find_image(cache, recipe) is None:
                _build_into(folder, recipe, tell)
    except OSError as error:
        raise PiImageError(
            f"the Pi's image cannot be written to {folder}: {error.strerror}; make room there, or set "
            "XDG_CACHE_HOME to a folder with 2 GB free"
        ) from error
    image = find_image(cache, recipe)
    assert image is not None
    return image


def _place(cache: Path | None, recipe: Recipe) -> Path:
    return (default_cache() if cache is None else cache) / "pi" / recipe.digest


@contextmanager
def _only_builder_of(folder: Path, tell: Tell) -> Iterator[None]:
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process is building the same image; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_into(folder: Path, recipe: Recipe, tell: Tell) -> None:
    check_tools()
    check_user()
    enable_foreign_programs()
    for abandoned in folder.parent.glob(f".{folder.name}.*"):
        _remove(abandoned)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        work.chmod(0o755)
        _Build(work, recipe, tell).run()
        (work / "result").rename(folder)
    finally:
        _remove(work)


def _remove(work: Path) -> None:
    card = work / "root"
    if card.exists():
        # The folder itself stands in one of the user's own, from which the card's owner may not remove it.
        subprocess.run(
            [*_as_owner_of_the_card(), "find", str(card), "-mindepth", "1", "-delete"], check=False
        )
    shutil.rmtree(work, ignore_errors=True)


def _as_owner_of_the_card() -> list[str]:
    """Who is not root sees the card's files as their owner only in a user namespace."""
    return [] if os.geteuid() == 0 else ["mmdebstrap", "--unshare-helper"]


class _Build:
    """One build in a folder of its own; what is to be kept ends in its subfolder `result`."""

    def __init__(self, work: Path, recipe: Recipe, tell: Tell) -> None:
        self._work = work
        self._recipe = recipe
        self._started_s = monotonic()
        self._say = tell
        self._root = work / "root"
        self._result = work / "result"
        self._packages = work / "kernel-packages"

    def run(self) -> None:
        """Carry out all steps."""
        self._result.mkdir()
        self._packages.mkdir()
        self._packages.chmod(0o777)
        host_key = self._new_keys()
        self._tell("fetching and installing Debian's packages for arm64")
        self._install()
        self._tell("taking the kernel apart")
        self._add_kernel()
        self._tell("writing the card")
        self._write_card()
        (self._result / "host_key.pub").write_text(f"{host_key}\n", encoding="ascii")
        self._tell("done")

    def _tell(self, line: str) -> None:
        self._say(f"{monotonic() - self._started_s:4.0f} s  {line}")

    def _new_keys(self) -> str:
        """Make host key and client key; returns the host's public one. The private ones stay in the cache."""
        host, client = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        identity = os.open(self._result / "identity", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(identity, "wb") as stream:
            stream.write(_private(client))
        files = files_on_card(self._recipe, _private(host), _public(host), _public(client))
        contents = os.open(self._work / "files.tar", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(contents, "wb") as stream:
            stream.write(archive(files))
        return _public(host)

    def _install(self) -> None:
        sources, settings = self._work / "debian.list", self._work / "apt.conf"
        sources.write_text(package_sources(RELEASE), encoding="utf-8")
        settings.write_text(package_settings(), encoding="utf-8")
        settings.chmod(0o600 if os.geteuid() == 0 else 0o644)
        refusal = "".join(
            f"Package: {package}\nPin: release *\nPin-Priority: -1\n\n"
            for package in self._recipe.refused_packages
        )
        (self._work / "refused").write_text(refusal, encoding="utf-8")
        # OpenSSH's package makes keys of all kinds, slowly under emulation, if no such files are there.
        placeholders = " ".join(f'"$1"/etc/ssh/ssh_host_{kind}_key' for kind in ("rsa", "ecdsa", "ed25519"))
        download = (
            f'cd "{self._packages}" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get -q download '
            f"busybox-static $(apt-cache depends linux-image-{ARCHITECTURE} | sed -n 's/^ *Depends: //p')"
        )
        self._run(
            [
                *_in_namespaces_of_its_own(),
                "mmdebstrap",
                "--verbose",
                f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
                f"--architectures={ARCHITECTURE}",
                "--variant=essential",
                "--format=directory",
                f"--aptopt={settings}",
                *(f"--dpkgopt=path-exclude={path}" for path in self._recipe.excluded_paths),
                f"--include={','.join(self._recipe.packages)}",
                "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
                f'--setup-hook=mkdir -p "$1"/etc/apt/preferences.d "$1"/etc/ssh && touch {placeholders}',
                f'--setup-hook=cp "{self._work / "refused"}" "$1"/etc/apt/preferences.d/refused',
                f"--essential-hook={download}",
                "--customize-hook=rm -f " + placeholders,
                f'--customize-hook=chroot "$1" useradd --uid {USER_ID} --create-home --shell /bin/bash '
                f"--password '*' --groups dialout,sudo {USER}",
                "",
                str(self._root),
                str(sources),
            ],
            "mmdebstrap",
        )
        self._on_card(
            "rm", "-rf", *(f"{self._root}/{part}" for part in ("etc/apt", "var/lib/apt", "var/cache/apt"))
        )
        self._on_card(
            "tar", "-C", str(self._root), "--keep-directory-symlink", "-xf", "-", input_path="files.tar"
        )
        self._on_card("chown", "-R", f"{USER_ID}:{USER_ID}", f"{self._root}/home/{USER}")
        self._on_card("chmod", "700", f"{self._root}/home/{USER}/.ssh")

    def _add_kernel(self) -> None:
        apart = self._work / "kernel"
        for package in self._packages.glob("*.deb"):
            self._run(["dpkg-deb", "--extract", str(package), str(apart)], "dpkg-deb")
        kernels = list((apart / "boot").glob("vmlinuz-*"))
        if len(kernels) != 1:
            raise PiImageError(
                f"Debian's kernel package holds {len(kernels)} kernels, expected one; update apt"
            )
        version = kernels[0].name.removeprefix("vmlinuz-")
        source = apart / "lib/modules" / version
        available = modules_in(source)
        present = built_in((source / "modules.builtin").read_text(encoding="ascii"))

        def needed(wanted: tuple[str, ...]) -> list[str]:
            return in_loading_order(wanted, lambda name: dependencies_of(available[name]), available, present)

        try:
            at_boot = needed(self._recipe.boot_modules)
            on_card = needed((*self._recipe.boot_modules, *self._recipe.card_modules))
        except KernelModuleError as error:
            raise PiImageError(f"{error}; the bench knows the kernel of Debian {RELEASE}") from error
        busybox = (apart / "bin/busybox").read_bytes()
        disk = initial_ram_disk(busybox, {name: available[name].read_bytes() for name in at_boot})
        (self._result / "initial-ram-disk").write_bytes(disk)
        shutil.copyfile(kernels[0], self._result / "kernel")
        folder = self._work / "modules/usr/lib/modules" / version
        for name in on_card:
            place = folder / available[name].relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(available[name], place)
        for listing in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            shutil.copyfile(source / listing, folder / listing)
        modules = self._work / "modules.tar"
        self._run(
            [
                "tar",
                "-C",
                str(self._work / "modules"),
                "--owner=0",
                "--group=0",
                "-cf",
                str(modules),
                "./usr",
            ],
            "tar",
        )
        self._on_card("tar", "-C", str(self._root), "-xf", "-", input_path="modules.tar")
        self._on_card("chroot", str(self._root), "/sbin/depmod", version)
        self._record_versions(version)

    def _record_versions(self, kernel: str) -> None:
        status = (self._root / "var/lib/dpkg/status").read_text(encoding="utf-8")
        versions = {"linux": kernel}
        for stanza in status.split("\n\n"):
            fields = dict(
                line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " "
            )
            if "Package" in fields:
                versions[fields["Package"]] = fields["Version"]
        (self._result / "versions.json").write_text(json.dumps(versions, indent=1), encoding="utf-8")

    def _write_card(self) -> None:
        # In a user namespace the card's owner is another one than the file's. Nobody else may read it, since
        # it holds the host's private key: only a process that is started in this folder reaches the file.
        folder = self._work / "private" / "card"
        folder.parent.mkdir(mode=0o700)
        folder.mkdir()
        folder.chmod(0o711)
        card = folder / "card.raw"
        with card.open("wb") as stream:
            stream.truncate(self._recipe.card_bytes)
        card.chmod(0o600 if os.geteuid() == 0 else 0o666)
        self._on_card(
            *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "card", "-b", "4096"),
            *("-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"),
            *("-d", str(self._root), card.name),
            folder=folder,
        )
        card.chmod(0o400)
        card.rename(self._result / card.name)

    def _on_card(self, *command: str, input_path: str | None = None, folder: Path | None = None) -> None:
        self._run([*_as_owner_of_the_card(), *command], command[0], input_path, folder)

    def _run(
        self, command: list[str], name: str, input_path: str | None = None, folder: Path | None = None
    ) -> None:
        """Run a step in a folder; what it says goes to a log, whose end is told when it fails."""
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        environment = os.environ | {"PATH": path, "LC_ALL": "C.UTF-8", "TMPDIR": str(self._work)}
        log_path = self._work / "log"
        with log_path.open("ab") as log, open(self._work / (input_path or "log"), "rb") as given:
            if input_path is None:
                process = subprocess.Popen(
                    command_with_lifeline(command),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    cwd=folder,
                )
            else:
                process = subprocess.Popen(
                    command, stdin=given, stdout=log, stderr=log, env=environment, cwd=folder
                )
            with process:
                try:
                    status = process.wait()
                except BaseException:
                    if process.stdin is not None:
                        process.stdin.close()
                    else:
                        process.kill()
                    process.wait()
                    raise
        if status != 0:
            said = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHORTEST_LOG:]
            raise PiImageError(
                f"{name} failed (exit status {status}) while the Pi's image was built; it said:\n  "
                + "\n  ".join(said)
                + "\nif it is about fetching packages, `apt-get update` on this host must work first"
            )


def _in_namespaces_of_its_own() -> list[str]:
    """For root: mounts of the build are its own, and all its processes end with the first.

    Who is not root gets the same from mmdebstrap's own user namespace.
    """
    if os.geteuid() != 0:
        return []
    return ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
