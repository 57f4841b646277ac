from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name = "east"
store = "/var/lib/dag-ledger/gateway.db"
registry = "/etc/dag-ledger/registry.json"
signing_key = "/etc/dag-ledger/signing.key"

[radio]
port = "spidev:0.0"
dio0_gpio = 25
"""


@pytest.mark.parametrize(
    ("config", "key", "told"),
    [
        (CONFIG.replace("dio0_gpio", "dio_gpio"), "0" * 64, "key radio.dio0_gpio is missing"),
        (CONFIG + "power = 10\n", "0" * 64, "key radio.power is not known here"),
        (CONFIG, "none", "is no key of"),
    ],
)
def test_a_mistake_in_a_file_is_told_before_any_login(
    config: str, key: str, told: str, tmp_path: Path
) -> None:
    files = {"config": config, "registry": "{}", "signing-key": key}
    command = [sys.executable, "-m", "bench", "pi", "deploy"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        command += [f"--{name}", str(tmp_path / name)]
    finished = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert told in finished.stderr
    assert "Traceback" not in finished.stderr
