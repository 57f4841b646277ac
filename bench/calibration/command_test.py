from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.calibration.command import spi_of
from bench.rig.model import Pi

LOGIN = {
    "host": "pi",
    "user": "bench",
    "identity": "key",
    "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
}
REAL = {"kind": "real", "login": LOGIN}


@pytest.mark.parametrize(
    ("pi", "spi"),
    [
        (REAL, "0.0"),
        (REAL | {"radio": "spidev:1.2"}, "1.2"),
        (REAL | {"radio": "serial:/dev/ttyUSB0"}, None),
        ({"kind": "emulated"}, None),
    ],
)
def test_a_radio_on_the_pis_own_pins_is_measured(pi: dict[str, Any], spi: str | None) -> None:
    assert spi_of(Pi.model_validate({"calibration": Path("pi3b.toml"), **pi})) == spi
