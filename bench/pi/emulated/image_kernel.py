"""Debian's kernel taken apart: which modules are needed, and the initial RAM disk that loads them.

The initial RAM disk is a cpio archive in the "newc" form: Linux, Documentation/driver-api/early-userspace/
buffer-format.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from elftools.elf.elffile import ELFFile

from bench.pi.emulated.image_recipe import INIT_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_FOLDER = 0o040755
_FILE = 0o100644
_PROGRAM = 0o100755
_LINK = 0o120777


class KernelModuleError(RuntimeError):
    """The kernel package lacks a module that the emulated Pi needs."""


def modules_in(folder: Path) -> dict[str, Path]:
    """Kernel module files below a folder by the name that the kernel gives them."""
    return {path.name.removesuffix(".ko").replace("-", "_"): path for path in folder.rglob("*.ko")}


def dependencies_of(module: Path) -> tuple[str, ...]:
    """The modules that one needs to be loaded before it, as its file tells (``depends=`` in .modinfo)."""
    with module.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".modinfo")
        entries = section.data().split(b"\0") if section is not None else []
    for entry in entries:
        if entry.startswith(b"depends="):
            return tuple(name.replace("-", "_") for name in entry[8:].decode().split(",") if name)
    return ()


def built_in(listing: str) -> frozenset[str]:
    """Names of what the kernel has in itself rather than as a module, as ``modules.builtin`` lists it."""
    return frozenset(
        line.rsplit("/", 1)[-1].removesuffix(".ko").replace("-", "_") for line in listing.split()
    )


def in_loading_order(
    wanted: Iterable[str],
    dependencies: Callable[[str], Iterable[str]],
    available: Iterable[str],
    present: frozenset[str] = frozenset(),
) -> list[str]:
    """The wanted modules and all that they depend on, each after what it depends on; each once.

    What the kernel has in itself (`present`) is left out. Raises KernelModuleError for one not `available`.
    """
    known = set(available)
    order: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in order or name in present:
            return
        if name not in known:
            raise KernelModuleError(
                f"the kernel has no module {name!r} (needed by {path[-1] if path else 'us'})"
            )
        if name in path:
            raise KernelModuleError(f"kernel modules depend on each other in a circle: {' '.join(path)}")
        for dependency in dependencies(name):
            visit(dependency, (*path, name))
        order[name] = None

    for name in wanted:
        visit(name, ())
    return list(order)


class _Entry(NamedTuple):
    name: str
    mode: int
    content: bytes = b""


def initial_ram_disk(busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The archive that the kernel unpacks and starts: busybox, `modules` in loading order, and ``/init``."""
    folders = ("bin", "dev", "modules", "proc", "root")
    entries = [
        *(_Entry(folder, _FOLDER) for folder in folders),
        _Entry("bin/busybox", _PROGRAM, busybox),
        _Entry("bin/sh", _LINK, b"busybox"),
        *(_Entry(f"modules/{name}.ko", _FILE, content) for name, content in modules.items()),
        _Entry("modules/order", _FILE, "".join(f"{name}.ko\n" for name in modules).encode()),
        _Entry("init", _PROGRAM, INIT_SCRIPT.encode()),
        _Entry("TRAILER!!!", 0),
    ]
    return b"".join(_newc(number, entry) for number, entry in enumerate(entries, start=1))


def _newc(number: int, entry: _Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links, modified, owner = 1, 0, 0
    fields = (number, entry.mode, owner, owner, links, modified, len(entry.content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return _padded(header) + _padded(entry.content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
