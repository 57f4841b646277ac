"""Greeting and provisioning with the sketch itself, on an emulated board."""

from dataclasses import replace

import pytest

from bench.uno.conftest import KEY, Desk, firmware, programmed
from bench.uno.console import (
    BoardStoppedError,
    Greeting,
    ProvisioningRefusedError,
    WrongFirmwareError,
    boot,
    provision,
    provisioning_message,
)
from bench.uno.core.assembly import assemble
from bench.uno.image import FirmwareImage
from bench.uno.provisioning import Provisioning, crc16, eeprom_image
from bench.uno.serial_port import UnoPort

PROVISIONING = Provisioning(uno_id=7, key=KEY, interval_s=30, s0_count=5)

HELLO = """
    ldi r16, 0x02
    sts UCSR0A, r16
    ldi r16, 16
    sts UBRR0L, r16
    ldi r16, 0x08
    sts UCSR0B, r16
    ldi r30, lo8(text)
    ldi r31, hi8(text)
next: lpm r17, Z+
    tst r17
    breq done
wait: lds r16, UCSR0A
    sbrs r16, 5
    rjmp wait
    sts UDR0, r17
    rjmp next
done: rjmp done
text: .asciz "Blink 1.0\\r\\n"
"""


def test_a_greeting_is_read_field_by_field() -> None:
    line = "uno 17 collect, epoch 2, 4 S0, 1 AC, every 5 s, ring 35, registers new"
    assert Greeting.parse(line) == Greeting(17, "collect", 2, 4, 1, 5, 35, registers_restored=False)
    assert Greeting.parse("uno 17 collect") is None
    assert Greeting.parse("uno stopped: EEPROM holds no provisioning record") is None


def test_a_message_holds_the_record_with_length_and_checksum() -> None:
    message = provisioning_message(PROVISIONING)
    assert message[:3] == b"\xa5\x5a\x32"
    assert message[3:53] == PROVISIONING.encode()
    assert crc16(message[2:53]) == int.from_bytes(message[53:], "little")


def test_a_board_is_provisioned_and_again_without_repeating_an_epoch(desk: Desk) -> None:
    board = desk.running(programmed(firmware()))
    with UnoPort(board.port, "uno-1") as port:
        with pytest.raises(BoardStoppedError, match="EEPROM holds no provisioning record; provision it"):
            boot(port)
        first = provision(port, PROVISIONING)
        assert (first.uno_id, first.s0_count, first.interval_s) == (7, 5, 30)
        second = provision(port, replace(PROVISIONING, uno_id=8))
        third = boot(port)
    assert (second.uno_id, third.uno_id) == (8, 8)
    assert first.epoch < second.epoch < third.epoch
    assert KEY.hex() not in "".join(port.log)


def test_a_refusal_comes_with_the_board_s_reason(desk: Desk) -> None:
    memory = programmed(firmware(), PROVISIONING)
    lost = eeprom_image(PROVISIONING)[:64] + bytes(16) + eeprom_image(PROVISIONING)[80:]
    board = desk.running(replace(memory, eeprom=lost))
    with (
        UnoPort(board.port, "uno-1") as port,
        pytest.raises(
            ProvisioningRefusedError, match="key was in use and its boot epochs are lost"
        ) as caught,
    ):
        provision(port, PROVISIONING)
    assert not caught.value.retry_helps


def test_other_firmware_is_told_by_what_it_says(desk: Desk) -> None:
    board = desk.running(programmed(FirmwareImage("blink", assemble(HELLO))))
    with (
        UnoPort(board.port, "uno-1") as port,
        pytest.raises(WrongFirmwareError, match=r"runs other firmware: it says 'Blink 1\.0'; flash it"),
    ):
        boot(port)
