"""Loading order of kernel modules against its definition; the initial RAM disk against cpio."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pi.emulated.image_kernel import KernelModuleError, built_in, in_loading_order, initial_ram_disk
from bench.pi.emulated.image_recipe import INIT_SCRIPT

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 8

# Arrows only point to smaller numbers, so there is no circle.
graphs = st.tuples(
    *(
        st.frozensets(st.integers(0, number - 1)) if number else st.just(frozenset[int]())
        for number in range(COUNT)
    )
)


@given(graphs, st.frozensets(st.integers(0, COUNT - 1)), st.frozensets(st.integers(0, COUNT - 1)))
def test_each_module_comes_once_and_after_what_it_depends_on(
    graph: tuple[frozenset[int], ...], wanted: frozenset[int], in_kernel: frozenset[int]
) -> None:
    present = frozenset(map(str, in_kernel))
    order = in_loading_order(
        map(str, sorted(wanted)),
        lambda name: map(str, sorted(graph[int(name)])),
        map(str, range(COUNT)),
        present,
    )
    assert len(order) == len(set(order))
    assert not present & set(order)
    for place, name in enumerate(order):
        assert {str(needed) for needed in graph[int(name)]} <= {*order[:place], *present}
    reached = set(order)
    assert {str(number) for number in wanted} - present <= reached
    for name in reached - {str(number) for number in wanted}:
        assert any(int(name) in graph[int(other)] for other in reached)


def test_a_missing_module_is_named_with_what_needs_it() -> None:
    with pytest.raises(KernelModuleError, match=r"no module 'jbd2' \(needed by ext4\)"):
        in_loading_order(["ext4"], lambda _name: ["jbd2"], ["ext4"])


def test_a_circle_is_told() -> None:
    with pytest.raises(KernelModuleError, match="in a circle"):
        in_loading_order(["a"], lambda name: {"a": "b", "b": "a"}[name], ["a", "b"])


def test_what_the_kernel_has_in_itself() -> None:
    listing = "kernel/net/sched/sch_fq_codel.ko\nkernel/drivers/virtio/virtio-ring.ko\n"
    assert built_in(listing) == {"sch_fq_codel", "virtio_ring"}


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio: apt-get install cpio")
def test_cpio_unpacks_the_initial_ram_disk(tmp_path: Path) -> None:
    disk = initial_ram_disk(b"program", {"crc16": b"one", "ext4": b"three"})
    subprocess.run(
        ["cpio", "--extract", "--quiet", "--no-absolute-filenames"], cwd=tmp_path, input=disk, check=True
    )
    assert (tmp_path / "init").read_text() == INIT_SCRIPT
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin/busybox").read_bytes() == b"program"
    assert (tmp_path / "bin/sh").readlink().name == "busybox"
    assert (tmp_path / "modules/order").read_text() == "crc16.ko\next4.ko\n"
    assert (tmp_path / "modules/ext4.ko").read_bytes() == b"three"
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        "bin",
        "dev",
        "modules",
        "proc",
        "root",
    }
