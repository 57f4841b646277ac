"""Flashing an Uno by avrdude: the same command line for a real board and an emulated one."""

import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.rig.infrastructure import InfrastructureError
from bench.uno.boot_loader import BAUD
from bench.uno.build import hex_path
from bench.uno.image import FirmwareImage
from bench.uno.serial_port import BoardSilentError, check_port
from bench.uno.serial_port_bridge import bridged

_STILL_S: Final = 15.0
"""avrdude shows its progress all the time; silent for so long, it waits for a board that is gone."""
_UNANSWERED: Final = "programmer is not responding"
_PATIENCE: Final = 2
"""How often it may say so, each time after five seconds. It would go on for minutes, and a board that is
there answers at once."""
_TOLD_LINES: Final = 4
_SILENT: Final = ("not in sync", "not responding", "unable to open programmer", "read error", "timeout")
_DIFFERENT: Final = ("verification mismatch", "verification error")
"""Of avrdude's messages (7 and 6), those that tell that no board talks, and that its flash is another."""


class FlashingError(InfrastructureError):
    """avrdude could not do it, or is not there; the message has its last lines."""


def flash(seat: str, url: str, image: FirmwareImage) -> None:
    """Write the image and read it back. Raises InfrastructureError."""
    finished = _avrdude(seat, url, f"flash:w:{hex_path(image)}:i")
    if finished.status or "verified" not in finished.said:
        raise _failed(seat, url, finished.said)


def is_flashed(seat: str, url: str, image: FirmwareImage) -> bool:
    """Whether the board holds this image, by reading it. Raises InfrastructureError."""
    finished = _avrdude(seat, url, f"flash:v:{hex_path(image)}:i")
    if not finished.status:
        return True
    if any(words in finished.said for words in _DIFFERENT):
        return False
    raise _failed(seat, url, finished.said)


def flash_where_needed(seat: str, url: str, image: FirmwareImage) -> bool:
    """Flash unless the image is there already; True when it was written. Raises InfrastructureError."""
    if is_flashed(seat, url, image):
        return False
    flash(seat, url, image)
    return True


def avrdude_command(port: str, memory_operation: str) -> list[str]:
    """The command line for an Uno; `-D`: Optiboot erases page by page."""
    return [
        *("avrdude", "-p", "m328p", "-c", "arduino", "-P", port, "-b", str(BAUD), "-D"),
        *("-U", memory_operation),
    ]


@dataclass(frozen=True, slots=True)
class _Finished:
    """How avrdude ended: 0 is well; and what it said."""

    status: int
    said: str


def _avrdude(seat: str, url: str, memory_operation: str) -> _Finished:
    check_port(seat, url)
    with _avrdude_port(seat, url) as port:
        try:
            return _run(avrdude_command(port, memory_operation))
        except FileNotFoundError:
            raise FlashingError(seat, "avrdude is not installed", "apt-get install avrdude") from None


def _run(command: Sequence[str]) -> _Finished:
    """Runs avrdude to its end, or until it waits in vain."""
    said = ""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        descriptor = process.stderr.fileno()
        try:
            while select.select([descriptor], [], [], _STILL_S)[0]:
                news = os.read(descriptor, 4096)
                if not news:
                    return _Finished(process.wait(), said)
                said += news.decode(errors="replace")
                if said.count(_UNANSWERED) >= _PATIENCE:
                    break
        finally:
            process.kill()
    return _Finished(process.returncode, f"{said}\n{_UNANSWERED}")


@contextmanager
def _avrdude_port(seat: str, url: str) -> Iterator[str]:
    """What avrdude opens for a port. It knows devices and bare TCP, and no RFC 2217."""
    scheme, separator, address = url.partition("://")
    if not separator:
        yield url
    elif scheme == "socket":
        yield f"net:{address}"
    else:
        with bridged(seat, url) as path:
            yield path


def _failed(seat: str, url: str, said: str) -> InfrastructureError:
    lines = [line.strip() for line in said.splitlines() if line.strip() and "TIOCM" not in line]
    told = " | ".join(lines[-_TOLD_LINES:]) or "nothing"
    if any(words in said for words in _SILENT):
        return BoardSilentError(
            seat,
            f"the boot loader at {url} does not answer avrdude, which says: {told}",
            "see that the board is an Uno with Optiboot and has power, and press its reset button",
            retry_helps=True,
        )
    return FlashingError(
        seat, f"avrdude failed at {url} and says: {told}", "see to what it names", retry_helps=True
    )
