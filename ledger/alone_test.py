"""The ledger installs alone on a Pi: it needs its own few dependencies and nothing of the bench."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

LEDGER = Path(__file__).parent
PROJECT = tomllib.loads((LEDGER / "pyproject.toml").read_text())

IMPORT_ALL = """
import importlib, pkgutil, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("bench", "reports", "pytest", "hypothesis", "numpy", "pydantic"):
            raise ImportError(f"the ledger must not need {name}")
sys.meta_path.insert(0, Wall())
import ledger
for module in pkgutil.walk_packages(ledger.__path__, "ledger."):
    if not module.name.endswith("_test"):
        importlib.import_module(module.name)
print(len([name for name in sys.modules if name.startswith("ledger.")]))
"""


def test_every_module_imports_without_the_bench() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=LEDGER.parent, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) > 10


def test_every_package_is_in_the_distribution() -> None:
    folders = {path.parent for path in LEDGER.rglob("__init__.py") if "build" not in path.parts}
    packages = {".".join(("ledger", *folder.relative_to(LEDGER).parts)) for folder in folders}
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"])
