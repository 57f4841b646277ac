"""What a machine without these pins can show: layouts and numbers by the kernel's headers, and the errors."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.gateway import spidev
from ledger.gateway.spidev import ResetLine, RisingEdges, SpiDevice, SpidevPort, WiringError

STRUCTURES = {
    "spi_ioc_transfer": spidev.SpiTransfer,
    "gpio_v2_line_config_attribute": spidev.LineAttribute,
    "gpio_v2_line_config": spidev.LineConfig,
    "gpio_v2_line_request": spidev.LineRequest,
    "gpio_v2_line_values": spidev.LineValues,
    "gpio_v2_line_event": spidev.LineEvent,
}
NUMBERS = {
    "SPI_IOC_MESSAGE(1)": spidev.SPI_IOC_MESSAGE_1,
    "GPIO_V2_LINE_FLAG_INPUT": spidev.GPIO_V2_LINE_FLAG_INPUT,
    "GPIO_V2_LINE_FLAG_OUTPUT": spidev.GPIO_V2_LINE_FLAG_OUTPUT,
    "GPIO_V2_LINE_FLAG_EDGE_RISING": spidev.GPIO_V2_LINE_FLAG_EDGE_RISING,
    "GPIO_V2_LINE_FLAG_OPEN_DRAIN": spidev.GPIO_V2_LINE_FLAG_OPEN_DRAIN,
    **{
        name: getattr(spidev, name)
        for name in (
            "SPI_IOC_WR_MODE",
            "SPI_IOC_WR_BITS_PER_WORD",
            "SPI_IOC_WR_MAX_SPEED_HZ",
            "GPIO_V2_GET_LINE_IOCTL",
            "GPIO_V2_LINE_SET_VALUES_IOCTL",
            "GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES",
        )
    },
}
FLAT = {"id": "attr.id", "padding": "attr.padding", "value": "attr.values"}
"""Members of LineAttribute that lie one level deeper in the kernel's structure."""


def member(structure: type[ctypes.Structure], name: str) -> str:
    return FLAT.get(name, name) if structure is spidev.LineAttribute else name


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc (package gcc)")
@pytest.mark.skipif(
    not Path("/usr/include/linux/gpio.h").exists(), reason="needs kernel headers (package linux-libc-dev)"
)
def test_layouts_and_numbers_are_those_of_the_kernels_headers(tmp_path: Path) -> None:
    expressions = dict(NUMBERS)
    for name, structure in STRUCTURES.items():
        expressions[f"sizeof(struct {name})"] = ctypes.sizeof(structure)
        for field, *_ in structure._fields_:
            expressions[f"offsetof(struct {name}, {member(structure, field)})"] = getattr(
                structure, field
            ).offset
    source = tmp_path / "layouts.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <sys/ioctl.h>\n"
        "#include <linux/gpio.h>\n#include <linux/spi/spidev.h>\n"
        "int main(void) {\n"
        + "".join(f'  printf("%llu\\n", (unsigned long long)({expression}));\n' for expression in expressions)
        + "  return 0;\n}\n"
    )
    program = tmp_path / "layouts"
    subprocess.run(["gcc", "-o", program, source], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    assert dict(zip(expressions, map(int, printed), strict=True)) == expressions


def test_missing_devices_are_named_with_what_switches_them_on() -> None:
    with pytest.raises(WiringError, match=r"^/dev/spidev9.7: No such file.*raspi-config.*dtparam=spi=on"):
        SpiDevice(9, 7)
    with pytest.raises(WiringError, match=r"^/dev/gpiochip99 line 25: No such file"):
        RisingEdges(25, "/dev/gpiochip99")


def test_a_device_of_another_kind_is_named() -> None:
    with pytest.raises(WiringError, match=r"^/dev/null line 25: Inappropriate ioctl"):
        RisingEdges(25, "/dev/null")
    with pytest.raises(WiringError, match=r"^/dev/null line 17: Inappropriate ioctl"):
        ResetLine(17, lambda _seconds: None, "/dev/null")


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.EACCES, "must be in the group spi"),
        (errno.EBUSY, "another program"),
        (errno.EINVAL, "does not exist there"),
        (errno.EIO, "check that it is"),
    ],
)
def test_each_failure_has_its_mend(number: int, mend: str) -> None:
    error = spidev._spi_error("/dev/spidev0.0", OSError(number, os.strerror(number)))
    assert str(error).startswith(f"/dev/spidev0.0: {os.strerror(number)}; ")
    assert mend in str(error)
    assert "group gpio" in str(spidev._gpio_error("x", PermissionError(errno.EACCES, "")))


def test_a_port_without_its_devices_reads_zeros_says_why_and_tries_again() -> None:
    port = SpidevPort(9, 7, 25, 17, lambda _seconds: None)
    for _ in range(2):
        assert port.transfer(b"\x42\x00") == b"\x00\x00"
        assert (port.fault or "").startswith("/dev/spidev9.7: ")
        assert port.fileno() is None
        assert not port.take_rise()
        port.reset()
        port.keep_alive()
    port.close()


def test_no_descriptor_is_left_behind_by_what_failed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(WiringError):
            RisingEdges(25, "/dev/null")
    assert len(os.listdir("/proc/self/fd")) == before
