"""The driver against a bare register file: what it writes, what it makes of what it reads."""

from __future__ import annotations

import pytest

from ledger.gateway.sx1278 import (
    Interrupt,
    Mode,
    RadioError,
    RadioSettingError,
    RadioSettings,
    ReceivedPacket,
    Sx1278,
)


class RegisterChip:
    """The SX1278's registers and FIFO behind an SPI port, with no radio: the test plays the air."""

    def __init__(self) -> None:
        self.registers = bytearray(128)
        self.registers[0x42] = 0x12
        self.fifo = bytearray(256)
        self.sent: list[bytes] = []
        self.modes: list[int] = []

    def transfer(self, data: bytes) -> bytes:
        address = data[0] & 0x7F
        answer = bytearray(1)
        for value in data[1:]:
            answer.append(self._access(address, value if data[0] & 0x80 else None))
            if address:
                address += 1
        return bytes(answer)

    def _access(self, address: int, written: int | None) -> int:
        registers = self.registers
        if address == 0x00:
            pointer = registers[0x0D]
            registers[0x0D] = (pointer + 1) % 256
            if written is not None:
                self.fifo[pointer] = written
            return self.fifo[pointer]
        if written is not None:
            registers[address] = registers[address] & ~written if address == 0x12 else written
            if address == 0x01:
                self.modes.append(written)
                if written == Mode.TRANSMIT:
                    start = registers[0x0E]
                    self.sent.append(bytes(self.fifo[start : start + registers[0x22]]))
        return registers[address]

    def packet_arrives(
        self, payload: bytes, *, at: int = 0, quarters: int = 20, strength: int = 60, flags: int = 0x40
    ) -> None:
        for offset, octet in enumerate(payload):
            self.fifo[(at + offset) % 256] = octet
        self.registers[0x10] = at
        self.registers[0x12] |= flags
        self.registers[0x13] = len(payload)
        self.registers[0x19] = quarters % 256
        self.registers[0x1A] = strength
        self.registers[0x1C] = 0x40

    def transmission_ends(self) -> None:
        self.registers[0x01] = Mode.STANDBY
        self.registers[0x12] |= 0x08

    def loses_supply(self) -> None:
        self.registers[:] = bytes(128)
        self.registers[0x42] = 0x12


@pytest.fixture
def chip() -> RegisterChip:
    return RegisterChip()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            RadioSettings(),
            {
                # 433.175 MHz * 2^19 / 32 MHz = 7097139.2 -> 0x6C4B33
                0x06: "6c4b33",
                0x09: "88",
                0x4D: "84",
                0x1D: "7274",
                0x20: "0008",
                0x26: "04",
                0x31: "43",
                0x36: "03",
                0x37: "0a",
                0x39: "12",
                0x11: "00",
            },
        ),
        (
            RadioSettings(434_000_000, 12, 125, 8, 10, 0x34, 20),
            {
                0x06: "6c8000",
                0x09: "8f",
                0x4D: "87",
                0x0B: "31",
                0x1D: "78c4",
                0x20: "000a",
                0x26: "0c",
                0x39: "34",
            },
        ),
        (
            RadioSettings(spreading_factor=11, bandwidth_khz=500, power_dbm=2),
            {0x09: "80", 0x0B: "2b", 0x1D: "92b4", 0x26: "04", 0x31: "c3", 0x36: "02", 0x3A: "7f"},
        ),
    ],
)
def test_register_values_of_settings(
    chip: RegisterChip, settings: RadioSettings, expected: dict[int, str]
) -> None:
    driver = Sx1278(chip, settings)
    driver.configure()
    driver.start_receiving()
    for address, value in expected.items():
        octets = bytes.fromhex(value)
        assert chip.registers[address : address + len(octets)] == octets, f"register 0x{address:02x}"
    assert chip.modes == [0x88, 0x88, 0x89, 0x89, 0x8D]
    assert driver.is_receiving()


@pytest.mark.parametrize(
    ("spreading_factor", "bandwidth_khz", "expected"),
    [(10, 125, False), (11, 125, True), (12, 125, True), (11, 250, False), (12, 250, True), (12, 500, False)],
)
def test_low_data_rate_optimize(spreading_factor: int, bandwidth_khz: int, expected: bool) -> None:
    settings = RadioSettings(spreading_factor=spreading_factor, bandwidth_khz=bandwidth_khz)
    assert settings.low_data_rate_optimize is expected


@pytest.mark.parametrize(
    ("spreading_factor", "bandwidth_khz", "coding_rate", "payload_bytes", "airtime_us"),
    [
        # LoRa Modem Calculator values, as tabled in the radio reference.
        (7, 125, 5, 16, 51_456),
        (7, 125, 5, 32, 71_936),
        (8, 125, 5, 51, 184_832),
        (9, 125, 5, 115, 615_424),
        (10, 125, 5, 222, 2_009_088),
        (11, 125, 5, 32, 987_136),
        (12, 125, 5, 16, 1_318_912),
        (12, 125, 8, 20, 1_712_128),
        (11, 250, 5, 16, 288_768),
        (12, 500, 5, 222, 1_681_408),
    ],
)
def test_airtime(
    spreading_factor: int, bandwidth_khz: int, coding_rate: int, payload_bytes: int, airtime_us: int
) -> None:
    settings = RadioSettings(
        spreading_factor=spreading_factor, bandwidth_khz=bandwidth_khz, coding_rate=coding_rate
    )
    assert settings.airtime_ns(payload_bytes) == airtime_us * 1000


@pytest.mark.parametrize(
    "name", ["frequency_hz", "spreading_factor", "bandwidth_khz", "coding_rate", "power_dbm"]
)
def test_an_impossible_setting_is_named(name: str) -> None:
    with pytest.raises(RadioSettingError, match=rf"{name} is 1; .*must be|{name} is 1; PA_BOOST"):
        RadioSettings(**{name: 1})


@pytest.mark.parametrize(
    ("version", "message"), [(0x00, "no radio answers"), (0xFF, "no radio answers"), (0x24, "version 0x24")]
)
def test_a_missing_or_other_chip_is_named(chip: RegisterChip, version: int, message: str) -> None:
    chip.registers[0x42] = version
    with pytest.raises(RadioError, match=message):
        Sx1278(chip, RadioSettings()).configure()


class DeafPort:
    """MISO works, MOSI does not: the version can be read, and nothing be written."""

    def transfer(self, data: bytes) -> bytes:
        return bytes([0, *[0x12] * (len(data) - 1)])


def test_a_chip_that_takes_no_orders_is_named() -> None:
    with pytest.raises(RadioError, match="MOSI"):
        Sx1278(DeafPort(), RadioSettings()).configure()


@pytest.mark.parametrize(
    ("quarters", "strength", "rssi_cdbm", "snr_cdb"),
    [
        # Datasheet 5.5.5: -164 + 16/15 PacketRssi, or -164 + PacketRssi + PacketSnr / 4 below 0 dB.
        (20, 60, -10_000, 500),
        (0, 0, -16_400, 0),
        (-1, 40, -12_425, -25),
        (-80, 45, -13_900, -2_000),
    ],
)
def test_signal_of_a_packet(
    chip: RegisterChip, quarters: int, strength: int, rssi_cdbm: int, snr_cdb: int
) -> None:
    driver = Sx1278(chip, RadioSettings())
    chip.packet_arrives(b"reading", quarters=quarters, strength=strength)
    packet = driver.read_packet(driver.interrupts())
    assert packet == ReceivedPacket(b"reading", rssi_cdbm, snr_cdb, crc_ok=True)
    assert Interrupt.RECEIVE_DONE not in driver.interrupts()


def test_a_packet_that_runs_over_the_end_of_the_fifo(chip: RegisterChip) -> None:
    driver = Sx1278(chip, RadioSettings())
    payload = bytes(range(104))
    chip.packet_arrives(payload, at=200)
    assert driver.read_packet(driver.interrupts()).payload == payload


def test_a_damaged_packet_and_one_without_a_checksum_are_marked(chip: RegisterChip) -> None:
    driver = Sx1278(chip, RadioSettings())
    chip.packet_arrives(b"x", flags=0x60)
    assert not driver.read_packet(driver.interrupts()).crc_ok
    chip.packet_arrives(b"x")
    chip.registers[0x1C] = 0
    assert not driver.read_packet(driver.interrupts()).crc_ok


def test_transmission(chip: RegisterChip) -> None:
    driver = Sx1278(chip, RadioSettings())
    driver.configure()
    driver.transmit(b"acknowledged")
    assert chip.sent == [b"acknowledged"]
    assert chip.registers[0x40] == 0x40
    chip.transmission_ends()
    assert Interrupt.TRANSMIT_DONE in driver.interrupts()


@pytest.mark.parametrize("length", [0, 129])
def test_a_packet_that_does_not_fit_is_not_sent(chip: RegisterChip, length: int) -> None:
    with pytest.raises(ValueError, match="1 to 128 bytes"):
        Sx1278(chip, RadioSettings()).transmit(bytes(length))
    assert chip.sent == []


def test_spi_bytes_are_counted(chip: RegisterChip) -> None:
    driver = Sx1278(chip, RadioSettings())
    driver.interrupts()
    assert (driver.bytes_written, driver.bytes_read) == (1, 1)
    driver.transmit(bytes(19))
    # Seven accesses: mode, flags, mapping, pointer, length, mode with a byte each, and the FIFO with 19.
    assert (driver.bytes_written, driver.bytes_read) == (1 + 6 * 2 + 20, 1)
