"""What the bench and the Uno's sketch say to each other on the console (firmware/README.md, Console)."""

import re
import struct
from dataclasses import dataclass
from typing import Final, Self

from bench.rig.infrastructure import InfrastructureError
from bench.uno.provisioning import Provisioning, crc16
from bench.uno.serial_port import BoardSilentError, UnoPort

PROMPT: Final = "uno ready for provisioning"
BOOT_TIMEOUT_S: Final = 8.0
"""A boot loader waits 1 s, the sketch half a second for provisioning; the rest is for a busy host."""
_ANSWER_TIMEOUT_S: Final = 5.0
_START: Final = b"\xa5\x5a"
_GREETING: Final = re.compile(
    r"uno (?P<uno_id>\d+) (?P<profile>\w+), epoch (?P<epoch>\d+), "
    r"(?P<s0_count>\d+) S0, (?P<ac_count>\d+) AC, "
    r"every (?P<interval_s>\d+) s, ring (?P<ring>\d+), registers (?P<registers>new|restored)$"
)
_STOPPED: Final = "uno stopped: "


class WrongFirmwareError(InfrastructureError):
    """The board runs something else than the bench's firmware."""


class BoardStoppedError(InfrastructureError):
    """The sketch must not run as the board is, and says why."""


class ProvisioningRefusedError(InfrastructureError):
    """The board does not take a provisioning, and says why."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The line with which the sketch starts."""

    uno_id: int
    profile: str
    epoch: int
    s0_count: int
    ac_count: int
    interval_s: int
    ring: int
    """Frames that fit while no gateway answers."""
    registers_restored: bool

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """The greeting in a console line; None when it is none."""
        match = _GREETING.match(line)
        if match is None:
            return None
        return cls(
            profile=match["profile"],
            registers_restored=match["registers"] == "restored",
            **{
                name: int(match[name])
                for name in ("uno_id", "epoch", "s0_count", "ac_count", "interval_s", "ring")
            },
        )


def provisioning_message(provisioning: Provisioning) -> bytes:
    """What the sketch takes after its prompt: start, length, record, CRC-16 of both."""
    record = provisioning.encode()
    body = bytes([len(record)]) + record
    return _START + body + struct.pack("<H", crc16(body))


def boot(port: UnoPort) -> Greeting:
    """Reset the board and wait for its greeting. Raises InfrastructureError."""
    port.reset()
    return await_greeting(port)


def await_greeting(port: UnoPort) -> Greeting:
    """The greeting of a board that is booting. Raises InfrastructureError."""
    strange: list[str] = []
    try:
        while True:
            line = port.expect(r".+", BOOT_TIMEOUT_S).string
            if greeting := Greeting.parse(line):
                return greeting
            if line.startswith(_STOPPED):
                raise BoardStoppedError(
                    port.seat, f"the sketch stopped: {line.removeprefix(_STOPPED)}", "provision it"
                )
            if line != PROMPT:
                strange.append(line)
    except BoardSilentError as silent:
        if not strange:
            raise
        raise WrongFirmwareError(
            port.seat, f"the board at {port.url} runs other firmware: it says {strange[0]!r}", "flash it"
        ) from silent


def provision(port: UnoPort, provisioning: Provisioning) -> Greeting:
    """Give a board its id, key and settings; it boots on with them. Raises InfrastructureError.

    Boot epochs go on and registers begin at 0. A key that an Uno has given up must not be given to it again.
    """
    port.reset()
    port.expect(re.escape(PROMPT), BOOT_TIMEOUT_S)
    port.send(provisioning_message(provisioning))
    answer = port.expect(r"provisioned (?P<uno_id>\d+)$|refused: (?P<reason>.+)", _ANSWER_TIMEOUT_S)
    if answer["reason"] is not None:
        raise ProvisioningRefusedError(
            port.seat,
            f"the board refused its provisioning: {answer['reason']}",
            "see firmware/README.md, Provisioning",
            retry_helps=answer["reason"].startswith("message"),
        )
    return await_greeting(port)
