"""The chip as drivers meet it: register sequences, in the order in which common Arduino drivers make them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.registers import FSK_RESET, LORA_RESET, SHARED_RESET, Irq, Mode
from bench.radio.sx1278 import Sx1278
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

MS = 1_000_000
SYMBOL_NS = 1_024_000
POLL_NS = 50_000
TEXT = b"twenty bytes of text"
TEXT_AIRTIME_NS = 56_576_000


class Bus:
    """A chip with the transactions a driver makes, and the edges of its DIO0."""

    def __init__(self, chip: Sx1278, clock: Simulation) -> None:
        self.chip = chip
        self.edges: list[tuple[int, bool]] = []
        chip.dio0 = lambda high: self.edges.append((clock.now_ns, high))

    def write(self, address: int, *values: int) -> None:
        self.chip.select()
        for octet in (address | 0x80, *values):
            self.chip.transfer(octet)
        self.chip.deselect()

    def read(self, address: int) -> int:
        return self.burst(address, 1)[0]

    def burst(self, address: int, count: int) -> bytes:
        self.chip.select()
        self.chip.transfer(address)
        octets = bytes(self.chip.transfer(0) for _ in range(count))
        self.chip.deselect()
        return octets


class Pair:
    """Two chips in one world, 80 dB apart."""

    def __init__(self, level_cdbm: int = -8000) -> None:
        self.clock = Simulation()
        self.records: list[Record] = []
        self.trace = Trace()
        self.trace.subscribe(self.records.append)
        medium = Medium(Stream(1, "medium"), self.trace, self.clock, FixedLinks(1000 - level_cdbm))
        self.uno = Bus(Sx1278("uno-1", medium, self.clock), self.clock)
        self.gateway = Bus(Sx1278("gateway", medium, self.clock, keeps_account=True), self.clock)

    def wait(self, duration_ns: int) -> None:
        self.clock.run(self.clock.now_ns + duration_ns)


def arduino_lora_begin(bus: Bus) -> None:
    """433.175 MHz, 10 dBm: LoRa bit in sleep, base addresses, LNA boost, AGC, power, then standby."""
    assert bus.read(0x42) == 0x12
    bus.write(0x01, 0x80)
    for address, value in ((0x06, 0x6C), (0x07, 0x4B), (0x08, 0x33), (0x0E, 0), (0x0F, 0)):
        bus.write(address, value)
    bus.write(0x0C, bus.read(0x0C) | 0x03)
    bus.write(0x26, 0x04)
    for address, value in ((0x4D, 0x84), (0x0B, 0x2B), (0x09, 0x88)):
        bus.write(address, value)
    bus.write(0x01, 0x81)
    bus.write(0x1E, bus.read(0x1E) | 0x04)


def arduino_lora_send(pair: Pair, bus: Bus, payload: bytes) -> int:
    """Begin, write and end a packet, polling as the driver does; returns the time it took."""
    began_ns = pair.clock.now_ns
    bus.write(0x01, 0x81)
    bus.write(0x1D, bus.read(0x1D) & 0xFE)
    bus.write(0x0D, 0)
    bus.write(0x22, 0)
    for octet in payload:
        bus.write(0x00, octet)
    bus.write(0x22, len(payload))
    bus.write(0x01, 0x83)
    while not bus.read(0x12) & 0x08:
        pair.wait(POLL_NS)
    bus.write(0x12, 0x08)
    return pair.clock.now_ns - began_ns


def arduino_lora_read_packet(bus: Bus) -> bytes | None:
    """What the driver does on RxDone: clear, check the CRC flag, set the pointer, read byte by byte."""
    flags = bus.read(0x12)
    bus.write(0x12, flags)
    if not flags & 0x40 or flags & 0x20:
        return None
    length = bus.read(0x13)
    bus.write(0x0D, bus.read(0x10))
    return bytes(bus.read(0x00) for _ in range(length))


def test_every_register_after_reset_has_the_datasheets_value() -> None:
    bus = Pair().uno
    for address, value in SHARED_RESET.items():
        assert bus.read(address) == value, hex(address)
    for address, value in FSK_RESET.items():
        assert bus.read(address) == value, hex(address)
    bus.write(0x01, 0x80)
    for address, value in LORA_RESET.items():
        assert bus.read(address) == value, hex(address)


def test_arduino_lora_sends_and_receives() -> None:
    pair = Pair(-9500)
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.gateway.write(0x40, 0x00)
    pair.gateway.write(0x01, 0x85)
    took_ns = arduino_lora_send(pair, pair.uno, TEXT)
    assert TEXT_AIRTIME_NS <= took_ns < TEXT_AIRTIME_NS + 2 * POLL_NS
    assert pair.uno.read(0x01) == 0x81
    assert pair.gateway.edges == [(TEXT_AIRTIME_NS, True)]
    assert round(pair.gateway.read(0x1A) * 16 / 15) - 164 == -95  # datasheet 5.5.5, SNR of 0 dB or more
    assert pair.gateway.read(0x19) == (11753 - 9500 + 12) // 25
    assert arduino_lora_read_packet(pair.gateway) == TEXT
    assert pair.gateway.edges[1:] == [(pair.clock.now_ns, False)]
    assert pair.gateway.read(0x12) == 0


def test_weak_packets_show_their_level_by_rssi_and_snr_together() -> None:
    pair = Pair(-12_450)
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.gateway.write(0x01, 0x85)
    arduino_lora_send(pair, pair.uno, TEXT)
    snr_quarters = pair.gateway.read(0x19) - 256
    assert snr_quarters == -28
    assert pair.gateway.read(0x1A) - 164 + snr_quarters / 4 == pytest.approx(-124.5, abs=0.5)


def test_arduino_lora_parse_packet_polls_single_receptions() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    received = None

    def send() -> None:
        pair.uno.write(0x0D, 0)
        pair.uno.write(0x00, *TEXT)
        pair.uno.write(0x22, len(TEXT))
        pair.uno.write(0x01, 0x83)

    pair.clock.at(300 * MS, "driver", send)
    timeouts = 0
    while received is None:
        timeouts += bool(pair.gateway.read(0x12) & 0x80)
        received = arduino_lora_read_packet(pair.gateway)
        if received is None and pair.gateway.read(0x01) != 0x86:
            pair.gateway.write(0x0D, 0)
            pair.gateway.write(0x01, 0x86)
        pair.wait(MS)
    assert received == TEXT
    assert timeouts == 2  # 100 symbols each, and the third window is open when the packet comes
    assert pair.gateway.read(0x01) == 0x81


def radiohead_init(bus: Bus) -> None:
    """RadioHead writes modes without the LoRa bit after its first sleep."""
    bus.write(0x01, 0x80)
    assert bus.read(0x01) == 0x80
    bus.write(0x0E, 0)
    bus.write(0x0F, 0)
    bus.write(0x01, 0x01)
    bus.write(0x1D, 0x72)
    bus.write(0x1E, 0x74)
    bus.write(0x26, 0x04)
    bus.write(0x20, 0)
    bus.write(0x21, 8)
    bus.write(0x06, 0x6C, 0x4B, 0x33)
    bus.write(0x09, 0x88)


def test_radiohead_keeps_lora_mode_without_its_bit_and_checks_the_header_for_crc() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        radiohead_init(bus)
    assert pair.uno.read(0x01) == 0x81
    pair.gateway.write(0x01, 0x05)
    pair.gateway.write(0x40, 0x00)
    pair.uno.write(0x01, 0x01)
    pair.uno.write(0x0D, 0)
    pair.uno.write(0x00, 0xFF, 0x01, 0x00, 0x00)  # four header bytes
    pair.uno.write(0x00, *TEXT)
    pair.uno.write(0x22, len(TEXT) + 4)
    pair.uno.write(0x40, 0x40)
    pair.uno.write(0x01, 0x03)
    pair.wait(100 * MS)
    assert [high for _, high in pair.uno.edges] == [True]
    assert pair.gateway.read(0x12) & 0xF0 == 0x50
    assert pair.gateway.read(0x1C) & 0x40
    length = pair.gateway.read(0x13)
    pair.gateway.write(0x0D, pair.gateway.read(0x10))
    assert pair.gateway.burst(0x00, length)[4:] == TEXT


def test_radiolib_and_lmic_start_by_calibrating_the_image_in_fsk_mode() -> None:
    pair = Pair()
    bus = pair.uno
    bus.write(0x01, 0x08)
    bus.write(0x01, 0x09)
    bus.write(0x3B, bus.read(0x3B) | 0x40)
    polls = 0
    while bus.read(0x3B) & 0x20:
        polls += 1
        pair.wait(MS)
    assert polls == 10
    assert bus.read(0x3B) == 0x82
    bus.write(0x01, 0x80)
    assert bus.read(0x3B) == 0x1D  # the LoRa page has another register there
    bus.write(0x01, 0xC1)
    assert bus.read(0x3B) == 0x82  # unless the shared page is asked for
    bus.write(0x01, 0x00)
    assert bus.read(0x01) == 0x00  # sleep without the bit leaves LoRa mode


def test_lmic_masks_interrupts_and_receives_with_a_symbol_timeout() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    gateway = pair.gateway
    pins: list[tuple[int, bool]] = []
    gateway.chip.dio1 = lambda high: pins.append((pair.clock.now_ns, high))
    gateway.write(0x1F, 8)
    gateway.write(0x40, 0x00)
    gateway.write(0x12, 0xFF)
    gateway.write(0x11, 0xFF & ~0xC0)
    gateway.write(0x01, 0x86)
    pair.wait(8 * SYMBOL_NS + 1)
    assert gateway.read(0x12) == 0x80
    assert gateway.read(0x01) == 0x81
    assert pins == [(8 * SYMBOL_NS, True)]
    gateway.write(0x12, 0xFF)
    gateway.write(0x01, 0x86)
    began_ns = pair.clock.now_ns
    arduino_lora_send(pair, pair.uno, TEXT)
    assert (
        gateway.read(0x12) == 0x40
    )  # neither ValidHeader nor a timeout, though the packet outlasts the window
    assert gateway.edges[-1] == (began_ns + TEXT_AIRTIME_NS, True)


def test_channel_activity_detection_raises_its_pins_and_ends_in_standby() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    gateway = pair.gateway
    gateway.write(0x40, 0x80)
    gateway.write(0x01, 0x87)
    pair.wait(MS)
    assert gateway.read(0x01) == 0x87
    pair.wait(MS)
    assert gateway.read(0x12) == Irq.CAD_DONE
    assert gateway.edges == [(1_280_000, True)]
    gateway.write(0x12, 0xFF)
    pair.uno.write(0x22, 20)
    pair.uno.write(0x01, 0x83)
    pair.wait(SYMBOL_NS)
    gateway.write(0x01, 0x87)
    pair.wait(2 * MS)
    assert gateway.read(0x12) == Irq.CAD_DONE | Irq.CAD_DETECTED
    assert gateway.chip.mode is Mode.STANDBY


def test_modem_status_rssi_and_counters_follow_a_reception() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    gateway = pair.gateway
    gateway.write(0x01, 0x85)
    pair.wait(MS)
    assert gateway.read(0x18) & 0x1F == 0x10
    assert gateway.read(0x1B) - 164 == -118  # the noise floor, -117.5 dBm
    pair.uno.write(0x22, 20)
    pair.uno.write(0x01, 0x83)
    statuses = []
    for _ in range(3):
        pair.wait(9 * SYMBOL_NS)
        statuses.append(gateway.read(0x18))
    assert statuses == [0x01, 0x07, 0x2F]
    assert gateway.read(0x1B) - 164 == -80
    pair.wait(60 * MS)
    assert gateway.burst(0x14, 4) == bytes([0, 1, 0, 1])
    assert gateway.read(0x18) == 0x30
    gateway.write(0x01, 0x80)
    assert gateway.burst(0x14, 4) == bytes(4)


def test_packets_follow_each_other_in_the_fifo_and_wrap() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.gateway.write(0x01, 0x85)
    seen = []
    for number in range(4):
        payload = bytes([number]) * 100
        arduino_lora_send(pair, pair.uno, payload)
        seen.append(pair.gateway.read(0x10))
        assert arduino_lora_read_packet(pair.gateway) == payload
    assert seen == [0, 100, 200, 300 - 256]


def test_a_spoiled_packet_raises_the_crc_flag_and_is_not_counted() -> None:
    pair = Pair()
    medium = pair.uno.chip._medium
    third = Bus(Sx1278("uno-2", medium, pair.clock), pair.clock)
    for bus in (pair.uno, pair.gateway, third):
        arduino_lora_begin(bus)
        bus.write(0x22, 20)
    pair.gateway.write(0x01, 0x85)
    pair.uno.write(0x01, 0x83)
    pair.wait(40 * MS)
    third.write(0x01, 0x83)
    pair.wait(40 * MS)
    assert pair.gateway.read(0x12) == 0x70
    assert pair.gateway.burst(0x14, 4) == bytes([0, 1, 0, 0])


def test_inverted_senders_are_heard_by_inverted_receivers_only() -> None:
    for receiver_inverted in (False, True):
        pair = Pair()
        for bus in (pair.uno, pair.gateway):
            arduino_lora_begin(bus)
        pair.uno.write(0x33, 0x66)
        pair.uno.write(0x3B, 0x19)
        if receiver_inverted:
            pair.gateway.write(0x33, 0x66)
        pair.gateway.write(0x01, 0x85)
        arduino_lora_send(pair, pair.uno, TEXT)
        assert (arduino_lora_read_packet(pair.gateway) == TEXT) is receiver_inverted


def test_longer_packets_than_allowed_are_refused() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.gateway.write(0x23, 19)
    pair.gateway.write(0x01, 0x85)
    arduino_lora_send(pair, pair.uno, TEXT)
    assert pair.gateway.read(0x12) == 0


def test_leaving_transmit_mode_cuts_the_packet_off() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.gateway.write(0x01, 0x85)
    pair.uno.write(0x22, 20)
    pair.uno.write(0x01, 0x83)
    pair.wait(30 * MS)
    pair.uno.write(0x01, 0x80)
    pair.wait(60 * MS)
    assert pair.uno.read(0x12) == 0
    assert pair.gateway.read(0x12) & 0x60 == 0x60


@pytest.mark.parametrize(
    ("pa_config", "pa_dac", "power_cdbm"),
    [(0x88, 0x84, 1000), (0x8F, 0x84, 1700), (0x8F, 0x87, 2000), (0x4F, 0x84, 1320), (0x70, 0x84, 0)],
)
def test_output_power_is_the_datasheets(pa_config: int, pa_dac: int, power_cdbm: int) -> None:
    pair = Pair()
    arduino_lora_begin(pair.uno)
    pair.uno.write(0x09, pa_config)
    pair.uno.write(0x4D, pa_dac)
    arduino_lora_send(pair, pair.uno, TEXT)
    pair.trace.settle()
    assert [r.fields["power_cdbm"] for r in pair.records if r.kind == "transmission"] == [power_cdbm]


@pytest.mark.parametrize(
    ("address", "value", "detail"),
    [
        (0x1D, 0xA2, "bandwidth code 10"),
        (0x1E, 0x54, "spreading factor 5"),
        (0x22, 0x00, "payload of 0 bytes"),
        (0x21, 0x05, "preamble of 5 symbols"),
    ],
)
def test_settings_the_chip_cannot_work_with_are_noted(address: int, value: int, detail: str) -> None:
    pair = Pair()
    arduino_lora_begin(pair.uno)
    pair.uno.write(address, value)
    pair.uno.write(0x01, 0x83)
    assert pair.uno.read(0x01) == 0x81
    pair.trace.settle()
    assert [r.kind for r in pair.records] == ["radio_misuse"]
    assert detail in str(pair.records[0].fields["detail"])


def test_fsk_transmission_is_noted_as_not_modelled() -> None:
    pair = Pair()
    pair.uno.write(0x01, 0x0B)
    pair.trace.settle()
    assert "FSK" in str(pair.records[0].fields["detail"])


def test_reset_stops_everything() -> None:
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.gateway.write(0x01, 0x85)
    arduino_lora_send(pair, pair.uno, TEXT)
    assert pair.gateway.edges[-1][1]
    pair.gateway.chip.reset()
    assert not pair.gateway.edges[-1][1]
    assert pair.gateway.read(0x01) == 0x09
    assert pair.gateway.chip.quiet


def test_fifo_is_out_of_reach_and_emptied_in_sleep() -> None:
    bus = Pair().uno
    arduino_lora_begin(bus)
    bus.write(0x0D, 0)
    bus.write(0x00, 1, 2, 3)
    bus.write(0x0D, 1)
    assert bus.burst(0x00, 2) == bytes([2, 3])
    assert bus.read(0x0D) == 3
    bus.write(0x01, 0x80)
    bus.write(0x00, 9)
    bus.write(0x01, 0x81)
    bus.write(0x0D, 0)
    assert bus.burst(0x00, 4) == bytes(4)


def test_read_only_registers_keep_their_values_and_burst_writes_advance() -> None:
    bus = Pair().uno
    arduino_lora_begin(bus)
    bus.write(0x42, 0x55)
    assert bus.read(0x42) == 0x12
    bus.write(0x20, 0x01, 0x02, 0x03)
    assert bus.burst(0x20, 3) == bytes([1, 2, 3])


def test_without_chip_select_nothing_happens() -> None:
    pair = Pair()
    assert [pair.uno.chip.transfer(octet) for octet in (0x42, 0x00)] == [0, 0]
    assert not pair.uno.chip.touches_medium(0x00)


def test_wideband_rssi_is_noise_that_repeats_with_the_seed() -> None:
    first, again = ([bus.read(0x2C) for _ in range(64)] for bus in (started(Pair()), started(Pair())))
    assert first == again
    assert len(set(first)) > 40


def started(pair: Pair) -> Bus:
    arduino_lora_begin(pair.uno)
    return pair.uno


# Running ahead of the world

MODES = st.sampled_from([0x80, 0x81, 0x82, 0x83, 0x85, 0x86, 0x87, 0x00, 0x09, 0xC1])
TRANSACTIONS = st.one_of(
    st.builds(lambda mode: (0x81, mode), MODES),
    st.builds(lambda mode: (0x81, mode), MODES),
    st.builds(
        lambda address, count: (address, *bytes(count)),
        st.sampled_from([0x00, 0x01, 0x0D, 0x10, 0x12, 0x17, 0x3B]),
        st.integers(1, 6),
    ),
    st.builds(
        lambda address, value: (address | 0x80, value),
        st.sampled_from([0x00, 0x0D, 0x0F, 0x11, 0x12, 0x1F, 0x23, 0x3B, 0x40]),
        st.sampled_from([0x00, 0x04, 0x40, 0x80, 0xFF]),
    ),
)
SCRIPT = st.lists(st.tuples(st.integers(1, 40 * MS), TRANSACTIONS), max_size=30)


def run_script(script: list[tuple[int, tuple[int, ...]]], ahead: bool) -> tuple[list[int], list[str], bool]:
    """Transfer the bytes at their times; when `ahead`, without waiting for the world where that may be."""
    pair = Pair()
    for bus in (pair.uno, pair.gateway):
        arduino_lora_begin(bus)
    pair.uno.write(0x22, 20)
    peer = pair.gateway

    def peer_sends() -> None:
        peer.write(0x12, 0xFF)
        peer.write(0x22, 20)
        peer.write(0x01, 0x83)
        pair.clock.at(pair.clock.now_ns + 97 * MS, "gateway", peer_sends)

    pair.clock.at(11 * MS, "gateway", peer_sends)
    misos, now_ns = [], 0
    chip = pair.uno.chip
    for gap_ns, octets in script:
        now_ns += gap_ns
        chip.select()
        for octet in octets:
            now_ns += 2000
            if not ahead or chip.touches_medium(octet):
                pair.clock.run(now_ns)
            misos.append(chip.transfer(octet))
        chip.deselect()
    pair.clock.run(now_ns + 200 * MS)
    pair.trace.settle()
    return misos, [record.line() for record in pair.records], chip.dio_level(0)


@settings(max_examples=300, deadline=None)
@given(SCRIPT)
def test_what_touches_nothing_shared_may_be_done_ahead_of_the_world(
    script: list[tuple[int, tuple[int, ...]]],
) -> None:
    assert run_script(script, ahead=True) == run_script(script, ahead=False)
