"""The builder of the core: it compiles every source, and only when one has changed."""

import os
from pathlib import Path

from bench.uno.core_build import SOURCE_FOLDER, core_builder, is_current


def test_no_source_is_left_out() -> None:
    _, _, _, arguments = core_builder(Path("somewhere"))._assigned_source
    assert sorted(arguments["sources"]) == sorted(
        f"somewhere/{path.name}" for path in SOURCE_FOLDER.glob("*.c")
    )
    assert "somewhere/core.h" in arguments["depends"]


def test_an_extension_older_than_a_source_is_not_current(tmp_path: Path) -> None:
    extension = tmp_path / "_core.so"
    assert not is_current(extension)
    extension.touch()
    assert is_current(extension)
    os.utime(extension, (0, 0))
    assert not is_current(extension)
