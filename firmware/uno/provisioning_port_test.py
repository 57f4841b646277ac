"""Provisioning over the console, on the emulated chip: what is taken, what is refused, and power cuts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.uno.atmega328p import Pin, ResetCause
from bench.uno.console import PROMPT, provisioning_message
from bench.uno.marker import Marker
from bench.uno.provisioning import (
    EEPROM_BYTES,
    Provisioning,
    ProvisioningError,
    crc16,
    eeprom_image,
    stored_epochs,
)

if TYPE_CHECKING:
    from firmware.conftest import Table, Workbench

KEY, NEXT_KEY, OTHER_KEY = (bytes([n]) * 15 + b"\x3c" for n in (1, 2, 3))
HELD = Provisioning(uno_id=17, key=KEY, interval_s=1, journal_intervals=1)
NEXT = replace(HELD, uno_id=300, key=NEXT_KEY)
BLANK = b"\xff" * EEPROM_BYTES
KEY_MARK = slice(50, 54)
EPOCHS = slice(64, 80)
RECORD_BYTES = 50

chip = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_lost_epochs(eeprom: bytes) -> bytes:
    return eeprom[: EPOCHS.start] + b"\x77" * 16 + eeprom[EPOCHS.stop :]


def prompted(workbench: Workbench, eeprom: bytes) -> Table:
    """A board that was reset by pin and has said its prompt."""
    table = workbench.uno(eeprom)
    for pin in (Pin.PD3, Pin.PD4, Pin.PD5, Pin.PD6, Pin.PD0):
        table.core.set_pin(pin, True)
    table.core.reset(ResetCause.EXTERNAL)
    table.run_ms(200, until=lambda: table.console.endswith(b"\n"))
    assert table.console == f"{PROMPT}\r\n".encode()
    table.console = b""
    return table


def answer(table: Table, message: bytes) -> str:
    """The line that answers a message."""
    table.console = b""
    table.core.uart_send(message)
    table.run_ms(2_000, until=lambda: table.console.endswith(b"\n"))
    return table.console.decode().rstrip()


def greeting(table: Table) -> str:
    table.console = b""
    table.run_ms(2_000, until=lambda: table.console.endswith(b"\n"))
    return table.console.decode().rstrip()


def booted(workbench: Workbench, eeprom: bytes) -> Table:
    """A plain power-on, to where the board runs or has stopped."""
    table = workbench.uno(eeprom)
    table.run_ms(300, until=lambda: bool(table.marks))
    return table


def test_a_plain_power_on_asks_for_nothing(workbench: Workbench) -> None:
    table = booted(workbench, eeprom_image(HELD))
    assert table.console.startswith(b"uno 17 collect, epoch 2")


def test_a_blank_board_is_provisioned_and_runs(workbench: Workbench) -> None:
    table = prompted(workbench, BLANK)
    assert answer(table, provisioning_message(NEXT)) == "provisioned 300"
    assert greeting(table) == "uno 300 collect, epoch 2, 4 S0, 0 AC, every 1 s, ring 35, registers new"
    assert Provisioning.decode(table.core.eeprom) == NEXT
    table.run_ms(1_500, until=lambda: bool(table.of(Marker.SNAPSHOT)))
    assert table.of(Marker.SNAPSHOT)


def test_without_a_message_it_goes_on_as_it_was(workbench: Workbench) -> None:
    table = prompted(workbench, eeprom_image(HELD))
    assert greeting(table).startswith("uno 17 collect, epoch 2")
    assert table.core.cycle < 16_000 * 800


def test_epochs_go_on_and_registers_begin_at_zero(workbench: Workbench) -> None:
    table = workbench.uno(eeprom_image(HELD))
    table.core.set_pin(Pin.PD3, True)
    table.pulses(Pin.PD3, [200, 300, 400])
    table.run_ms(3_600, until=lambda: len(table.of(Marker.JOURNAL)) == 3)
    table = prompted(workbench, table.core.eeprom)
    table.pulses(Pin.PD3, [table.core.cycle / 16_000 + 20 + 80 * n for n in range(3)])
    table.run_ms(280)
    assert answer(table, provisioning_message(replace(NEXT, s0_count=4))) == "provisioned 300"
    assert greeting(table).startswith("uno 300 collect, epoch 3, 4 S0")
    table.run_ms(2_000, until=lambda: bool(table.of(Marker.SNAPSHOT)))
    assert int.from_bytes(table.plaintexts[0][5:9], "big") == 0


def test_pulses_count_while_a_message_is_awaited(workbench: Workbench) -> None:
    table = prompted(workbench, eeprom_image(HELD))
    table.pulses(Pin.PD3, [table.core.cycle / 16_000 + 20 + 80 * n for n in range(4)])
    table.run_ms(2_500, until=lambda: bool(table.of(Marker.SNAPSHOT)))
    assert int.from_bytes(table.plaintexts[0][5:9], "big") == 4


def test_the_receiver_is_off_after_the_window(workbench: Workbench) -> None:
    table = prompted(workbench, eeprom_image(HELD))
    assert greeting(table).startswith("uno 17")
    before = table.core.eeprom
    table.core.uart_send(provisioning_message(NEXT))
    table.run_ms(400)
    assert table.core.eeprom == before
    assert b"provisioned" not in table.console


def spoilt(record: bytes, at: int, value: int) -> bytes:
    """A record with one byte replaced and a checksum that fits."""
    body = record[:at] + bytes([value]) + record[at + 1 : 48]
    return body + crc16(body).to_bytes(2, "little")


def framed(record: bytes) -> bytes:
    body = bytes([len(record)]) + record
    return b"\xa5\x5a" + body + crc16(body).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (framed(NEXT.encode()[:-1]), "message of another length"),
        (framed(NEXT.encode() + b"\0"), "message of another length"),
        (framed(b""), "message of another length"),
        (framed(NEXT.encode())[:-1], "message cut short"),
        (framed(NEXT.encode())[:2], "message cut short"),
        (framed(NEXT.encode())[:-1] + b"\0", "message damaged (CRC)"),
        (framed(spoilt(NEXT.encode(), 0, 0x4D ^ 1)), "message holds no provisioning record"),
        (framed(spoilt(NEXT.encode(), 4, 2)), "provisioning record is of another version"),
        (framed(NEXT.encode()[:-2] + b"\0\0"), "provisioning record is damaged (CRC)"),
        (framed(spoilt(NEXT.encode(), 5, 13)), "provisioning record has a value out of range"),
        (framed(spoilt(NEXT.encode(), 32, 6)), "provisioning record has a value out of range"),
    ],
)
def test_what_is_refused_changes_nothing_and_may_be_repeated(
    workbench: Workbench, message: bytes, reason: str
) -> None:
    table = prompted(workbench, eeprom_image(HELD))
    before = table.core.eeprom
    assert answer(table, message) == f"refused: {reason}"
    assert table.core.eeprom == before
    assert answer(table, provisioning_message(NEXT)) == "provisioned 300"


def test_a_key_of_another_length_does_not_get_as_far() -> None:
    for key in (b"", KEY[:-1], KEY + b"\0"):
        with pytest.raises(ProvisioningError, match=f"key has {len(key)} bytes"):
            replace(NEXT, key=key)


@chip
@given(st.data())
def test_a_damaged_message_is_never_taken(workbench: Workbench, data: st.DataObject) -> None:
    """CRC-16 finds every burst of up to 16 bits, and so every damaged byte."""
    message = provisioning_message(NEXT)
    at = data.draw(st.integers(0, len(message) - 1))
    flipped = message[at] ^ data.draw(st.integers(1, 255))
    table = prompted(workbench, eeprom_image(HELD))
    before = table.core.eeprom
    table.core.uart_send(message[:at] + bytes([flipped]) + message[at + 1 :])
    table.run_ms(450)
    assert b"provisioned" not in table.console
    assert table.core.eeprom == before


@chip
@given(st.binary(max_size=300))
def test_noise_before_a_message_does_no_harm(workbench: Workbench, noise: bytes) -> None:
    table = prompted(workbench, eeprom_image(HELD))
    before = table.core.eeprom
    table.core.uart_send(noise)
    table.run_ms(30 + len(noise) // 10)
    assert table.core.eeprom == before
    # What noise has begun ends with its message cut short, or with as many bytes.
    table.core.uart_send(bytes(54))
    table.run_ms(10)
    assert answer(table, provisioning_message(NEXT)).endswith("provisioned 300")


def test_a_babbling_line_keeps_no_board_from_starting(workbench: Workbench) -> None:
    table = prompted(workbench, eeprom_image(HELD))
    for _ in range(52):
        table.core.uart_send(b"\x55")
        table.run_ms(200)
    assert b"uno 17 collect" in table.console


# ---- nonces ----


def test_lost_epochs_begin_anew_for_a_new_key_only(workbench: Workbench) -> None:
    table = prompted(workbench, with_lost_epochs(eeprom_image(HELD)))
    before = table.core.eeprom
    assert "key was in use" in answer(table, provisioning_message(replace(NEXT, key=KEY)))
    assert table.core.eeprom == before
    assert answer(table, provisioning_message(NEXT)) == "provisioned 300"
    assert stored_epochs(table.core.eeprom) == (1, 0)
    assert greeting(table).startswith("uno 300 collect, epoch 2")
    # The key given up stays so, although the epochs are readable again.
    table = prompted(workbench, table.core.eeprom)
    assert "key was in use" in answer(table, provisioning_message(HELD))
    assert answer(table, provisioning_message(replace(NEXT, key=OTHER_KEY))) == "provisioned 300"


def test_a_stranger_s_eeprom_is_taken(workbench: Workbench) -> None:
    table = prompted(workbench, bytes(n * 7 & 0xFF for n in range(EEPROM_BYTES)))
    assert answer(table, provisioning_message(NEXT)) == "provisioned 300"


def test_a_record_that_cannot_be_read_hides_a_key_that_may_be_this_one(workbench: Workbench) -> None:
    eeprom = with_lost_epochs(eeprom_image(HELD))
    table = prompted(workbench, eeprom[:13] + bytes([eeprom[13] ^ 1]) + eeprom[14:])
    assert "write the EEPROM with a programmer" in answer(table, provisioning_message(NEXT))
    assert "write the EEPROM with a programmer" in answer(table, provisioning_message(HELD))


@dataclass
class Ledger:
    """Which epochs each key was used with."""

    used: dict[bytes, set[int]] = field(default_factory=dict)

    def note(self, table: Table) -> None:
        """The boot that the board has made, if it made one."""
        boots = table.of(Marker.BOOT)
        if not boots:
            return
        key = Provisioning.decode(table.core.eeprom).key
        (epoch,) = {mark.argument for mark in boots}
        assert epoch not in self.used.setdefault(key, set()), f"epoch {epoch} was used before"
        self.used[key].add(epoch)


def with_noise(written: bytes, torn: bytes, noise: int) -> bytes:
    """A byte that a power cut tore holds anything."""
    return bytes(now if now == then else noise for now, then in zip(torn, written, strict=True))


def cut(workbench: Workbench, eeprom: bytes, after_cycles: int, noise: int) -> tuple[bytes, bool]:
    """What a provisioning leaves that is cut so many cycles after its message, and whether it was done."""
    table = prompted(workbench, eeprom)
    table.core.uart_send(provisioning_message(NEXT))
    table.run_ms(6)  # 55 bytes take 4.7 ms, and nothing is written before the last
    assert table.core.eeprom == eeprom
    table.run_to(table.core.cycle - 20_000 + after_cycles, until=lambda: b"provisioned" in table.console)
    done = b"provisioned" in table.console
    written = table.core.eeprom
    table.core.reset(ResetCause.POWER_ON)
    return with_noise(written, table.core.eeprom, noise), done


def check_a_cut(workbench: Workbench, eeprom: bytes, after_cycles: int, noise: int) -> bool:
    """Cuts the power, looks at what is left, and provisions again. True when the cut came too late."""
    ledger = Ledger()
    ledger.note(booted(workbench, eeprom))
    eeprom_before = booted(workbench, eeprom).core.eeprom
    left, done = cut(workbench, eeprom_before, after_cycles, noise)
    after = booted(workbench, left)
    ledger.note(after)
    if after.of(Marker.BOOT):
        record = Provisioning.decode(after.core.eeprom)
        assert record in (HELD, NEXT), "a half record was accepted"
    elif not done:
        assert [mark.code for mark in after.marks] == [Marker.FAULT]
    again = prompted(workbench, after.core.eeprom)
    assert answer(again, provisioning_message(NEXT)) == "provisioned 300"
    greeting(again)
    again.run_ms(50, until=lambda: bool(again.marks))
    assert Provisioning.decode(again.core.eeprom) == NEXT
    ledger.note(again)
    return done


WRITE_CYCLES = 54_400
"""3.4 ms (ATmega328P datasheet, table 8-1); torn differently in its two halves."""


@pytest.mark.parametrize("start", ["blank", "in use", "epochs lost"])
def test_a_power_cut_at_every_write_reuses_no_epoch_and_leaves_no_half_record(
    workbench: Workbench, start: str
) -> None:
    eeprom = {
        "blank": BLANK,
        "in use": eeprom_image(HELD),
        "epochs lost": with_lost_epochs(eeprom_image(HELD)),
    }[start]
    cuts = 0
    while not check_a_cut(workbench, eeprom, 10_000 + cuts * WRITE_CYCLES // 2, (cuts * 73) & 0xFF):
        cuts += 1
    assert cuts > 40


@settings(chip, max_examples=30)
@given(st.integers(0, 60 * WRITE_CYCLES), st.integers(0, 255))
def test_the_key_given_up_is_refused_whenever_the_power_goes(
    workbench: Workbench, after_cycles: int, noise: int
) -> None:
    """Until its own record is gone it is the key in use, and from then on it is marked."""
    lost = with_lost_epochs(eeprom_image(HELD))
    left, _ = cut(workbench, lost, after_cycles, noise)
    table = prompted(workbench, left)
    assert "key was in use" in answer(table, provisioning_message(HELD))
    assert "provisioned" in answer(table, provisioning_message(NEXT))


@settings(chip, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 45 * WRITE_CYCLES), st.integers(0, 255)), max_size=4))
def test_several_cuts_in_a_row(workbench: Workbench, cuts: list[tuple[int, int]]) -> None:
    eeprom = eeprom_image(HELD)
    ledger = Ledger()
    for after_cycles, noise in cuts:
        eeprom, _ = cut(workbench, eeprom, after_cycles, noise)
        table = booted(workbench, eeprom)
        ledger.note(table)
        eeprom = table.core.eeprom
    table = prompted(workbench, eeprom)
    assert answer(table, provisioning_message(NEXT)) == "provisioned 300"
    assert greeting(table).startswith("uno 300 collect, epoch ")
    table.run_ms(50, until=lambda: bool(table.marks))
    ledger.note(table)


def test_the_stack_of_provisioning_leaves_sram_free(workbench: Workbench) -> None:
    table = prompted(workbench, with_lost_epochs(eeprom_image(HELD)))
    table.core.schedule_edges(
        Pin.PD3, range(table.core.cycle + 100, table.core.cycle + 8_000_000, 1_237), first_high=False
    )
    assert answer(table, provisioning_message(NEXT)) == "provisioned 300"
    assert table.free_sram_bytes >= 128
