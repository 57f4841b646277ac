"""The collect sketch as a whole, on the emulated chip with a scripted radio and gateway."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.sensors.signal import AnalogSegment
from bench.uno.atmega328p import Pin, ResetCause
from bench.uno.marker import MarkedFault, Marker
from bench.uno.provisioning import Provisioning, crc16, eeprom_image, stored_epochs
from ledger.frame import FrameId, Kind, Snapshot, Status, data_frame_id, open_frame, seal_ack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from firmware.conftest import Table, Workbench

KEY = bytes.fromhex("8c1f6b2e90d3475aa4e87712cc35f06d")
UNO_ID = 17
CYCLES_PER_SECOND = 16_000_000
STATUS_REGISTER, INTERRUPTS_ON = 0x5F, 0x80
S0_PINS = (
    Pin.PD3,
    Pin.PD4,
    Pin.PD5,
    Pin.PD6,
    Pin.PD7,
    Pin.PB0,
    Pin.PC0,
    Pin.PC1,
    Pin.PC2,
    Pin.PC3,
    Pin.PC4,
    Pin.PC5,
)


def provisioned(**changed: int) -> bytes:
    return eeprom_image(replace(Provisioning(uno_id=UNO_ID, key=KEY, interval_s=5), **changed))  # type: ignore[arg-type]  # numbers only


def uno(workbench: Workbench, **changed: int) -> Table:
    table = workbench.uno(provisioned(**changed))
    for pin in S0_PINS:
        table.core.set_pin(pin, True)
    return table


def acknowledge(frame: bytes) -> Iterable[bytes]:
    return (seal_ack(KEY, data_frame_id(frame)),)


def arguments(table: Table, code: Marker) -> list[int]:
    return [mark.argument for mark in table.of(code)]


def test_a_boot_tells_who_it_is(workbench: Workbench) -> None:
    table = uno(workbench)
    table.run_ms(200)
    assert table.console == b"uno 17 collect, epoch 2, 4 S0, 0 AC, every 5 s, ring 35, registers new\r\n"
    assert arguments(table, Marker.BOOT) == [2]
    assert stored_epochs(table.core.eeprom) == (1, 2)


def test_frames_carry_the_exact_pulse_counts(workbench: Workbench) -> None:
    table = uno(workbench, s0_count=12, interval_s=2)
    table.radio.gateway = acknowledge
    for channel, pin in enumerate(S0_PINS):
        # From sparse to the densest train that S0 allows: 30 ms low, 30 ms high.
        step_ms = 60 + 90 * channel
        falls = range(300 + 7 * channel, 5_900, step_ms)
        table.pulses(pin, list(falls))
    table.run_ms(10_000)
    assert arguments(table, Marker.SNAPSHOT) == [0, 1, 2, 3]
    opened = [open_frame(KEY, frame) for _, frame in table.radio.sent]
    assert [frame.frame_id for frame in opened] == [
        FrameId(UNO_ID, 2, counter) for counter in range(len(opened))
    ]
    assert [frame.snapshot.encode() for frame in opened] == table.plaintexts[: len(opened)]
    last = Snapshot.decode(table.plaintexts[3])
    assert last.pulses == tuple(len(range(300 + 7 * c, 5_900, 60 + 90 * c)) for c in range(12))
    for counter, plaintext in enumerate(table.plaintexts):
        end_ms = 2_000 * (counter + 1)
        for channel, counted in enumerate(Snapshot.decode(plaintext).pulses):
            before = [t for t in range(300 + 7 * channel, 5_900, 60 + 90 * channel) if t < end_ms]
            # A pulse counts once it has been low for the debounce time, 11.3 ms at most.
            assert len([t for t in before if t < end_ms - 12]) <= counted <= len(before)


def test_snapshots_keep_to_the_grid_of_the_unos_own_clock(workbench: Workbench) -> None:
    table = uno(workbench, interval_s=1, journal_intervals=3)
    table.radio.gateway = acknowledge
    table.run_ms(31_000)
    snapshots = table.of(Marker.SNAPSHOT)
    assert len(snapshots) == 30
    first = snapshots[0].cycle
    for number, mark in enumerate(snapshots):
        assert abs(mark.cycle - first - number * CYCLES_PER_SECOND) < 16_000  # 1 ms, not growing


def test_an_unanswered_frame_is_repeated_unchanged_until_its_ack(workbench: Workbench) -> None:
    table = uno(workbench)
    heard: list[bytes] = []

    def gateway(frame: bytes) -> Iterable[bytes]:
        heard.append(frame)
        return acknowledge(frame) if len(heard) == 4 else ()

    table.radio.gateway = gateway
    table.run_ms(60_000, until=lambda: bool(table.of(Marker.ACKED)))
    assert len(heard) == 4
    assert len(set(heard)) == 1
    assert arguments(table, Marker.SENT) == [0] * 4
    gaps = [
        (b[0] - a[0]) / CYCLES_PER_SECOND
        for a, b in zip(table.radio.sent, table.radio.sent[1:], strict=False)
    ]
    # 92 ms on air, 500 ms for the ACK, then half to one and a half of a window of 1, 2, 4 s.
    for gap, window_s in zip(gaps, (1, 2, 4), strict=True):
        assert 0.59 + window_s / 2 <= gap <= 0.61 + window_s * 3 / 2


def test_a_backlog_drains_at_once_after_the_first_ack(workbench: Workbench) -> None:
    table = uno(workbench, interval_s=5)
    table.run_ms(31_000)
    table.radio.gateway = acknowledge
    table.run_ms(9_000)
    acked = table.of(Marker.ACKED)
    assert [mark.argument for mark in acked] == list(range(len(acked)))
    assert len(acked) >= 6
    assert acked[4].cycle - acked[0].cycle < 4 * 0.15 * CYCLES_PER_SECOND
    snapshots = [Snapshot.decode(plaintext) for plaintext in table.plaintexts]
    assert [snapshot.pending for snapshot in snapshots[:6]] == [0, 1, 2, 3, 4, 5]


def test_nothing_is_sent_after_everything_is_acknowledged(workbench: Workbench) -> None:
    table = uno(workbench, interval_s=20)
    table.radio.gateway = acknowledge
    table.run_ms(39_900)
    assert arguments(table, Marker.SENT) == [0]
    assert arguments(table, Marker.ACKED) == [0]
    assert table.radio.registers[table.radio.MODE] == table.radio.SLEEP


NOT_ACKS: dict[str, Callable[[FrameId, bytes], bytes]] = {
    "another Uno": lambda own, _: seal_ack(KEY, replace(own, uno_id=own.uno_id + 1)),
    "another counter": lambda own, _: seal_ack(KEY, replace(own, counter=own.counter + 1)),
    "another epoch": lambda own, _: seal_ack(KEY, replace(own, boot_epoch=own.boot_epoch - 1)),
    "another key": lambda own, _: seal_ack(bytes(16), own),
    "a flipped tag bit": lambda own, _: seal_ack(KEY, own)[:-1] + bytes([seal_ack(KEY, own)[-1] ^ 1]),
    "a DATA frame": lambda _, frame: frame,
    "cut short": lambda own, _: seal_ack(KEY, own)[:-1],
    "too long": lambda own, _: seal_ack(KEY, own) + b"\0",
    "empty": lambda _own, _: b"",
    "the tag of the DATA frame": lambda own, frame: own.header(Kind.ACK) + frame[-16:-8],
}


@pytest.mark.parametrize("what", NOT_ACKS)
def test_a_packet_that_is_no_ack_of_this_frame_is_ignored(workbench: Workbench, what: str) -> None:
    table = uno(workbench)
    make = NOT_ACKS[what]
    table.radio.gateway = lambda frame: (make(data_frame_id(frame), frame),)
    table.run_ms(30_000, until=lambda: len(table.radio.sent) == 2)
    assert not table.of(Marker.ACKED)
    # The receiver is still open for the true one behind it.
    table.radio.gateway = lambda frame: (make(data_frame_id(frame), frame), *acknowledge(frame))
    table.run_ms(30_000, until=lambda: bool(table.of(Marker.ACKED)))
    assert arguments(table, Marker.ACKED) == [0]
    assert len(table.radio.sent) <= 3


def test_a_packet_with_a_crc_error_is_ignored(workbench: Workbench) -> None:
    table = uno(workbench)
    table.radio.gateway = acknowledge
    table.radio.spoil_crc = True
    table.run_ms(20_000)
    assert len(table.radio.sent) > 1
    assert not table.of(Marker.ACKED)


def test_a_full_ring_drops_the_oldest_and_says_so(workbench: Workbench) -> None:
    table = uno(workbench, s0_count=12, interval_s=1)
    table.run_ms(30_500)
    capacity = table.peek("ring_capacity")[0]
    dropped = table.of(Marker.DROPPED)
    assert [mark.argument for mark in dropped] == list(range(30 - capacity))
    last = Snapshot.decode(table.plaintexts[-1])
    assert (last.dropped, last.pending) == (30 - capacity, capacity - 1)
    table.radio.gateway = acknowledge
    table.run_ms(10_000)
    acked = arguments(table, Marker.ACKED)
    lost = arguments(table, Marker.DROPPED)
    assert sorted(acked + lost) == list(range(len(acked) + len(lost)))
    assert len(acked) >= capacity
    for _, frame in table.radio.sent:
        opened = open_frame(KEY, frame)
        assert opened.snapshot.encode() == table.plaintexts[opened.frame_id.counter]


def test_registers_survive_resets_and_say_so(workbench: Workbench) -> None:
    table = uno(workbench, interval_s=1, journal_intervals=1)
    table.pulses(Pin.PD3, [200 + 100 * i for i in range(8)])
    table.pulses(Pin.PD6, [250 + 100 * i for i in range(3)])
    table.run_ms(1_400)
    assert arguments(table, Marker.JOURNAL) == [0]
    first = Snapshot.decode(table.plaintexts[-1])
    assert first.pulses == (8, 0, 0, 3)
    assert first.status == Status.FIRST_AFTER_BOOT | Status.POWER_ON

    for cause, status in (
        (ResetCause.EXTERNAL, Status.EXTERNAL_RESET),
        (ResetCause.BROWN_OUT, Status.BROWN_OUT),
        (ResetCause.POWER_ON, Status.POWER_ON),
    ):
        table.core.reset(cause)
        count = len(table.plaintexts)
        table.run_ms(2_600, until=lambda: len(table.plaintexts) == count + 2)  # noqa: B023  # used at once
        again, second = (Snapshot.decode(plaintext) for plaintext in table.plaintexts[count:])
        assert again.pulses == second.pulses == (8, 0, 0, 3)
        assert again.status == Status.FIRST_AFTER_BOOT | Status.RESTORED_FROM_JOURNAL | status
        assert second.status == Status.RESTORED_FROM_JOURNAL | status
    assert b"registers restored" in table.console


def test_a_journal_of_other_channels_is_not_restored(workbench: Workbench) -> None:
    table = uno(workbench, interval_s=1, journal_intervals=1)
    table.pulses(Pin.PD3, [200, 300])
    table.run_ms(1_500)
    other = Provisioning(uno_id=UNO_ID, key=KEY, interval_s=1, s0_count=5).encode() + table.core.eeprom[50:]
    table = workbench.uno(other)
    for pin in S0_PINS:
        table.core.set_pin(pin, True)
    table.run_ms(1_300)
    assert Snapshot.decode(table.plaintexts[0]).pulses == (0,) * 5
    assert b"registers new" in table.console


@pytest.mark.parametrize("seed", range(4))
def test_no_nonce_is_used_twice_over_resets_and_power_cuts(workbench: Workbench, seed: int) -> None:
    """Cuts at random moments, many of them while the EEPROM is being written."""
    chance = random.Random(seed)
    table = uno(workbench, interval_s=1, journal_intervals=1)
    sealed: dict[FrameId, bytes] = {}
    epochs: list[int] = []
    for _ in range(25):
        marks, sent = len(table.marks), len(table.radio.sent)
        table.run_ms(chance.choice((70, 75, 80, 85, 90, 95, 300, 1_100, 2_100)) + chance.randrange(5))
        epochs += [mark.argument for mark in table.marks[marks:] if mark.code == Marker.BOOT]
        assert not [mark for mark in table.marks[marks:] if mark.code == Marker.FAULT]
        for _, frame in table.radio.sent[sent:]:
            assert sealed.setdefault(data_frame_id(frame), frame) == frame
        table.core.reset(chance.choice(list(ResetCause)))
    assert epochs == sorted(set(epochs))
    assert len(epochs) > 5


@pytest.mark.parametrize(
    ("spoil", "fault", "words"),
    [
        (lambda _: b"\xff" * 1024, MarkedFault.PROVISIONING_MAGIC, b"EEPROM holds no provisioning record"),
        (lambda e: e[:4] + b"\x02" + e[5:], MarkedFault.PROVISIONING_VERSION, b"of another version"),
        (lambda e: e[:12] + bytes([e[12] ^ 4]) + e[13:], MarkedFault.PROVISIONING_CRC, b"is damaged (CRC)"),
        (
            lambda e: e[:64] + b"\xff" * 16 + e[80:],
            MarkedFault.EPOCH_LOST,
            b"boot epoch slots are unreadable",
        ),
        (lambda e: _with_s0_count(e, 13), MarkedFault.PROVISIONING_VALUE, b"value out of range"),
    ],
)
def test_a_uno_that_must_not_run_says_why_and_sleeps(
    workbench: Workbench, spoil: object, fault: MarkedFault, words: bytes
) -> None:
    assert callable(spoil)
    table = workbench.uno(spoil(provisioned()))
    table.run_ms(30_000)
    assert table.halted
    assert [(mark.code, mark.argument) for mark in table.marks] == [(Marker.FAULT, fault)]
    assert table.console.startswith(b"uno stopped: ")
    assert words in table.console
    assert not table.radio.sent


def _with_s0_count(eeprom: bytes, count: int) -> bytes:
    body = eeprom[:5] + bytes([count]) + eeprom[6:48]
    return body + crc16(body).to_bytes(2, "little") + eeprom[50:]


def test_a_missing_radio_costs_no_reading_when_it_comes_back(workbench: Workbench) -> None:
    table = uno(workbench)
    table.radio.present = False
    table.radio.gateway = acknowledge
    table.run_ms(30_000)
    assert set(arguments(table, Marker.FAULT)) == {MarkedFault.RADIO_ABSENT}
    assert arguments(table, Marker.SNAPSHOT) == list(range(5))
    table.radio.present = True
    table.run_ms(20_000)
    assert arguments(table, Marker.ACKED)[:6] == list(range(6))


def test_a_radio_that_never_finishes_sending_is_set_up_again(workbench: Workbench) -> None:
    table = uno(workbench)
    table.radio.gateway = acknowledge
    table.radio.deaf_to_tx = True
    table.run_ms(30_000, until=lambda: bool(table.radio.sent))
    table.radio.deaf_to_tx = False
    table.run_ms(80_000, until=lambda: bool(table.of(Marker.ACKED)))
    assert MarkedFault.RADIO_STUCK in arguments(table, Marker.FAULT)
    assert arguments(table, Marker.ACKED) == [0]


def test_unos_that_start_together_send_at_different_times(workbench: Workbench) -> None:
    first_sent = []
    for uno_id in range(1, 9):
        table = workbench.uno(eeprom_image(Provisioning(uno_id=uno_id, key=KEY, interval_s=60)))
        table.run_ms(120_000, until=lambda: bool(table.of(Marker.SENT)))  # noqa: B023  # used at once
        first_sent.append(table.of(Marker.SENT)[0].cycle // CYCLES_PER_SECOND)
    assert all(60 <= second < 106 for second in first_sent)
    assert len(set(first_sent)) >= 6


def test_the_radio_is_set_up_as_provisioned(workbench: Workbench) -> None:
    table = uno(
        workbench, spreading_factor=12, bandwidth_hz=125_000, coding_rate=8, tx_power_dbm=14, sync_word=0x34
    )
    table.run_ms(200)
    registers = table.radio.registers
    step_hz = 32_000_000 / 2**19
    assert abs(int.from_bytes(registers[0x06:0x09], "big") * step_hz - 433_175_000) <= step_hz / 2
    assert registers[0x09] == 0x80 | 12
    assert registers[0x1D] == 7 << 4 | 4 << 1
    assert registers[0x1E] == 12 << 4 | 0x04
    assert registers[0x26] & 0x08
    assert (registers[0x20], registers[0x21], registers[0x39]) == (0, 8, 0x34)


@pytest.mark.parametrize(
    ("spreading_factor", "bandwidth_hz", "optimised"),
    [
        (10, 125_000, False),
        (11, 125_000, True),
        (11, 250_000, False),
        (12, 250_000, True),
        (12, 500_000, False),
    ],
)
def test_low_data_rate_optimisation_follows_the_symbol_length(
    workbench: Workbench, spreading_factor: int, bandwidth_hz: int, optimised: bool
) -> None:
    table = uno(workbench, spreading_factor=spreading_factor, bandwidth_hz=bandwidth_hz)
    table.run_ms(200)
    assert bool(table.radio.registers[0x26] & 0x08) is optimised


@pytest.mark.parametrize(("s0_count", "ac_count"), [(4, 0), (12, 0), (10, 1), (8, 2)])
def test_the_stack_leaves_sram_free(workbench: Workbench, s0_count: int, ac_count: int) -> None:
    table = uno(workbench, s0_count=s0_count, ac_count=ac_count, interval_s=1, journal_intervals=1)
    table.radio.gateway = acknowledge
    for channel in range(2 * ac_count):
        wave = AnalogSegment(0, 2_500_000, 1_400_000, 0, 2**64 * 50 // CYCLES_PER_SECOND)
        table.core.set_analog(channel, [wave])
    # Edges so dense that some fall on the deepest call, whatever it is.
    table.core.schedule_edges(S0_PINS[0], range(5_000_000, 40_000_000, 1_237), first_high=False)
    table.run_ms(3_500)
    table.core.reset(ResetCause.EXTERNAL)
    table.run_ms(1_500)
    assert table.of(Marker.ACKED)
    assert table.free_sram_bytes >= 128


def test_a_pulse_uno_is_awake_for_less_than_a_thousandth_of_the_time(workbench: Workbench) -> None:
    """Four channels of 1000 pulses per kWh at 2.4 kW each, one frame a minute, all acknowledged."""
    table = uno(workbench, interval_s=60)
    table.radio.gateway = acknowledge
    for pin in S0_PINS[:4]:
        table.pulses(pin, list(range(300, 600_000, 1_500)))
    table.run_ms(600_000)
    awake, asleep = table.spent()
    assert awake + asleep == table.core.cycle
    assert awake * 1_000 < table.core.cycle


def test_interrupts_are_never_off_for_long(workbench: Workbench) -> None:
    """Stepped by instruction: the worst is one handler that finds all its port's lines changed."""
    table = uno(workbench, s0_count=12, interval_s=1, journal_intervals=1)
    table.radio.gateway = acknowledge
    table.run_ms(120)
    for pin in S0_PINS:
        table.pulses(pin, [950 + 60 * i for i in range(3)])
    table.run_ms(820)
    core, longest, off_since = table.core, 0, None
    while core.cycle < 1_100 * 16_000:
        wake = core.wake_cycle()
        table.run_to(core.cycle + 1 if wake is None else max(wake, core.cycle + 1))
        if core.read_data(STATUS_REGISTER, 1)[0] & INTERRUPTS_ON:
            if off_since is not None:
                longest = max(longest, core.cycle - off_since)
            off_since = None
        elif off_since is None:
            off_since = core.cycle
    assert 300 < longest <= 640
