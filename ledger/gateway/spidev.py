"""The radio's wires on a Raspberry Pi: SPI by the spidev driver, DIO0 and reset by the GPIO character device.

The kernel's own interface (linux/spi/spidev.h, and version 2 of linux/gpio.h, since Linux 5.10) is spoken
with what Python brings, so that a Pi has nothing to compile for it. Pins are numbered as the processor's
GPIOs are (BCM numbers), which are the lines of the Pi's first GPIO chip.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SPEED_HZ: Final = 8_000_000
"""An SX1278 takes up to 10 MHz (datasheet, table 10); the Pi divides its clock by even numbers."""
GPIO_CHIP: Final = "/dev/gpiochip0"
MAX_TRANSFER_BYTES: Final = 4096
"""What the spidev driver takes in one message unless told otherwise (its parameter bufsiz)."""
_RESET_LOW_S: Final = 0.001
_RESET_WAIT_S: Final = 0.006
"""At least 100 us low, then 5 ms until the chip is ready (datasheet 7.2.2)."""
_CONSUMER: Final = b"dag-ledger"


class SpiTransfer(ctypes.Structure):
    """``struct spi_ioc_transfer``."""

    _fields_ = (
        ("tx_buf", ctypes.c_uint64),
        ("rx_buf", ctypes.c_uint64),
        ("len", ctypes.c_uint32),
        ("speed_hz", ctypes.c_uint32),
        ("delay_usecs", ctypes.c_uint16),
        ("bits_per_word", ctypes.c_uint8),
        ("cs_change", ctypes.c_uint8),
        ("tx_nbits", ctypes.c_uint8),
        ("rx_nbits", ctypes.c_uint8),
        ("word_delay_usecs", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
    )


class LineAttribute(ctypes.Structure):
    """``struct gpio_v2_line_config_attribute`` with the attribute laid flat."""

    _fields_ = (
        ("id", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("value", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
    )


class LineConfig(ctypes.Structure):
    """``struct gpio_v2_line_config``."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("num_attrs", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("attrs", LineAttribute * 10),
    )


class LineRequest(ctypes.Structure):
    """``struct gpio_v2_line_request``."""

    _fields_ = (
        ("offsets", ctypes.c_uint32 * 64),
        ("consumer", ctypes.c_char * 32),
        ("config", LineConfig),
        ("num_lines", ctypes.c_uint32),
        ("event_buffer_size", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("fd", ctypes.c_int32),
    )


class LineValues(ctypes.Structure):
    """``struct gpio_v2_line_values``."""

    _fields_ = (("bits", ctypes.c_uint64), ("mask", ctypes.c_uint64))


class LineEvent(ctypes.Structure):
    """``struct gpio_v2_line_event``."""

    _fields_ = (
        ("timestamp_ns", ctypes.c_uint64),
        ("id", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("seqno", ctypes.c_uint32),
        ("line_seqno", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 6),
    )


def _request_number(direction: int, group: int, number: int, size: int) -> int:
    # linux/asm-generic/ioctl.h: number, group, size, direction, from the lowest bits up.
    return direction << 30 | size << 16 | group << 8 | number


_TO_KERNEL, _BOTH_WAYS = 1, 3
SPI_IOC_MESSAGE_1: Final = _request_number(_TO_KERNEL, ord("k"), 0, ctypes.sizeof(SpiTransfer))
SPI_IOC_WR_MODE: Final = _request_number(_TO_KERNEL, ord("k"), 1, 1)
SPI_IOC_WR_BITS_PER_WORD: Final = _request_number(_TO_KERNEL, ord("k"), 3, 1)
SPI_IOC_WR_MAX_SPEED_HZ: Final = _request_number(_TO_KERNEL, ord("k"), 4, 4)
GPIO_V2_GET_LINE_IOCTL: Final = _request_number(_BOTH_WAYS, 0xB4, 0x07, ctypes.sizeof(LineRequest))
GPIO_V2_LINE_SET_VALUES_IOCTL: Final = _request_number(_BOTH_WAYS, 0xB4, 0x0F, ctypes.sizeof(LineValues))
GPIO_V2_LINE_FLAG_INPUT: Final = 1 << 2
GPIO_V2_LINE_FLAG_OUTPUT: Final = 1 << 3
GPIO_V2_LINE_FLAG_EDGE_RISING: Final = 1 << 4
GPIO_V2_LINE_FLAG_OPEN_DRAIN: Final = 1 << 6
GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES: Final = 2


class WiringError(RuntimeError):
    """A device of the Pi cannot be used; the message names it, the group that may, and the mend."""


def _wiring_error(device: str, group: str, switch_on: str, error: OSError) -> WiringError:
    match error.errno:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            mend = switch_on
        case errno.EACCES | errno.EPERM:
            mend = (
                f"the service's user must be in the group {group}"
                f" (`usermod -aG {group} USER`, then start it again)"
            )
        case errno.EBUSY:
            mend = "another program or an overlay in config.txt holds it: `gpioinfo` tells which"
        case errno.EINVAL:
            mend = "this pin or setting does not exist there: check the number"
        case _:
            mend = "check that it is what its name says"
    return WiringError(f"{device}: {error.strerror}; {mend}")


def _spi_error(device: str, error: OSError) -> WiringError:
    switch_on = (
        "switch SPI on: `raspi-config nonint do_spi 0`, or dtparam=spi=on in config.txt, then boot again"
    )
    return _wiring_error(device, "spi", switch_on, error)


def _gpio_error(device: str, error: OSError) -> WiringError:
    return _wiring_error(device, "gpio", f"check that the kernel has {GPIO_CHIP}", error)


class SpiDevice:
    """One chip select of one SPI bus, in mode 0. Raises WiringError."""

    def __init__(self, bus: int, chip_select: int, speed_hz: int = SPEED_HZ) -> None:
        self.path: Final = f"/dev/spidev{bus}.{chip_select}"
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _spi_error(self.path, error) from None
        self._sent = (ctypes.c_uint8 * MAX_TRANSFER_BYTES)()
        self._read = (ctypes.c_uint8 * MAX_TRANSFER_BYTES)()
        self._message = SpiTransfer(
            tx_buf=ctypes.addressof(self._sent),
            rx_buf=ctypes.addressof(self._read),
            speed_hz=speed_hz,
            bits_per_word=8,
        )
        try:
            fcntl.ioctl(self._descriptor, SPI_IOC_WR_MODE, b"\x00")
            fcntl.ioctl(self._descriptor, SPI_IOC_WR_BITS_PER_WORD, b"\x08")
            fcntl.ioctl(self._descriptor, SPI_IOC_WR_MAX_SPEED_HZ, speed_hz.to_bytes(4, sys.byteorder))
        except OSError as error:
            self.close()
            raise _spi_error(self.path, error) from None

    def transfer(self, data: bytes) -> bytes:
        """One selection of the chip. Raises ValueError when it is too long, WiringError when it fails."""
        if len(data) > MAX_TRANSFER_BYTES:
            raise ValueError(f"one transfer has at most {MAX_TRANSFER_BYTES} bytes, not {len(data)}")
        ctypes.memmove(self._sent, data, len(data))
        self._message.len = len(data)
        try:
            fcntl.ioctl(self._descriptor, SPI_IOC_MESSAGE_1, self._message)
        except OSError as error:
            raise _spi_error(self.path, error) from None
        return bytes(self._read[: len(data)])

    def close(self) -> None:
        """Let go of the device."""
        os.close(self._descriptor)


def _request_line(chip: str, line: int, flags: int, level: int | None = None) -> int:
    request = LineRequest(consumer=_CONSUMER, num_lines=1)
    request.offsets[0] = line
    request.config.flags = flags
    if level is not None:
        request.config.num_attrs = 1
        request.config.attrs[0] = LineAttribute(GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, 0, level, 1)
    try:
        descriptor = os.open(chip, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, GPIO_V2_GET_LINE_IOCTL, request)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _gpio_error(f"{chip} line {line}", error) from None
    return int(request.fd)


class RisingEdges:
    """The rising edges of one input line. Raises WiringError."""

    def __init__(self, line: int, chip: str = GPIO_CHIP) -> None:
        flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_EDGE_RISING
        self._descriptor = _request_line(chip, line, flags)

    def fileno(self) -> int:
        """Readable when there are edges to take."""
        return self._descriptor

    def take(self) -> bool:
        """Whether there were edges since the last call."""
        seen = False
        while select.select([self._descriptor], [], [], 0)[0]:
            # The kernel gives whole events only, as many as fit.
            seen |= bool(os.read(self._descriptor, 16 * ctypes.sizeof(LineEvent)))
        return seen

    def close(self) -> None:
        """Let go of the line."""
        os.close(self._descriptor)


class ResetLine:
    """The chip's reset pin: left floating, pulled low for a pulse. Raises WiringError."""

    def __init__(self, line: int, sleep_s: Callable[[float], None], chip: str = GPIO_CHIP) -> None:
        self._sleep_s = sleep_s
        self._name = f"{chip} line {line}"
        flags = GPIO_V2_LINE_FLAG_OUTPUT | GPIO_V2_LINE_FLAG_OPEN_DRAIN
        self._descriptor = _request_line(chip, line, flags, level=1)

    def pulse(self) -> None:
        """Reset the chip and wait until it is ready."""
        for level, wait_s in ((0, _RESET_LOW_S), (1, _RESET_WAIT_S)):
            try:
                fcntl.ioctl(self._descriptor, GPIO_V2_LINE_SET_VALUES_IOCTL, LineValues(level, 1))
            except OSError as error:
                raise _gpio_error(self._name, error) from None
            self._sleep_s(wait_s)

    def close(self) -> None:
        """Let go of the line."""
        os.close(self._descriptor)


class SpidevPort:
    """The radio's wires (:class:`ledger.gateway.port.RadioPort`) on the Pi's own pins.

    ``sleep_s`` waits for the chip after a reset. Devices that are missing are tried again at each
    :meth:`keep_alive`.
    """

    def __init__(
        self,
        bus: int,
        chip_select: int,
        dio0_gpio: int,
        reset_gpio: int | None,
        sleep_s: Callable[[float], None],
    ) -> None:
        self._bus, self._chip_select = bus, chip_select
        self._dio0_gpio, self._reset_gpio = dio0_gpio, reset_gpio
        self._sleep_s = sleep_s
        self._spi: SpiDevice | None = None
        self._dio0: RisingEdges | None = None
        self._reset: ResetLine | None = None
        self._fault: str | None = None
        self.keep_alive()

    @property
    def fault(self) -> str | None:
        """Which device cannot be used, and the mend."""
        return self._fault

    def fileno(self) -> int | None:
        """Readable when DIO0 has risen."""
        return None if self._dio0 is None else self._dio0.fileno()

    def transfer(self, data: bytes) -> bytes:
        """One selection of the chip; zeros while SPI cannot be used."""
        if self._spi is not None:
            try:
                return self._spi.transfer(data)
            except WiringError as error:
                self._lose(error)
        return bytes(len(data))

    def take_rise(self) -> bool:
        """Whether DIO0 has risen since the last call."""
        return self._dio0 is not None and self._dio0.take()

    def reset(self) -> None:
        """Pulse the reset pin, where there is one."""
        if self._reset is not None:
            try:
                self._reset.pulse()
            except WiringError as error:
                self._lose(error)

    def keep_alive(self) -> None:
        """Open whatever is not open."""
        if self._spi is None:
            try:
                self._spi = SpiDevice(self._bus, self._chip_select)
                self._dio0 = RisingEdges(self._dio0_gpio)
                if self._reset_gpio is not None:
                    self._reset = ResetLine(self._reset_gpio, self._sleep_s)
                self._fault = None
            except WiringError as error:
                self._lose(error)

    def close(self) -> None:
        """Let go of all devices."""
        for device in (self._spi, self._dio0, self._reset):
            if device is not None:
                device.close()
        self._spi = self._dio0 = self._reset = None

    def _lose(self, error: WiringError) -> None:
        self._fault = str(error)
        self.close()
