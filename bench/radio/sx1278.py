"""Register-level model of the SX1278 in LoRa mode, as seen over SPI and on its DIO pins.

Source: Semtech SX1276/77/78/79 datasheet, chapters 4.1 and 6. FSK mode has its registers and image
calibration, but no modem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.radio.modulation import ImplicitHeader, Modulation, Packet, SettingError
from bench.radio.reception import Progress
from bench.radio.registers import (
    ACCESS_SHARED,
    FSK_RESET,
    LONG_RANGE,
    LORA_RESET,
    LOW_FREQUENCY,
    MODE_BITS,
    PAGE,
    READ_ONLY,
    SHARED_RESET,
    FskRegister,
    Irq,
    Mode,
    Register,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.radio.medium import Clock, Medium
    from bench.radio.reception import Reception
    from bench.radio.transmission import Appointment

_WRITE: Final = 0x80
_ADDRESS_BITS: Final = 0x7F
_ACTIVE: Final = frozenset(
    {Mode.TRANSMIT, Mode.RECEIVE_CONTINUOUS, Mode.RECEIVE_SINGLE, Mode.CHANNEL_ACTIVITY_DETECTION}
)
_LIVE: Final = frozenset(
    {
        Register.FIFO,
        Register.OP_MODE,
        *range(Register.FIFO_RX_CURRENT_ADDR, Register.HOP_CHANNEL + 1),
        Register.MAX_PAYLOAD_LENGTH,
        Register.FIFO_RX_BYTE_ADDR,
        Register.DIO_MAPPING_1,
        Register.DIO_MAPPING_2,
    }
)
"""What the medium may change, or what shows its changes, while the chip is active."""

_IMAGE_CALIBRATION_NS: Final = 10_000_000
_IMAGE_CALIBRATION_START: Final = 0x40
_IMAGE_CALIBRATION_RUNNING: Final = 0x20
_RSSI_OFFSET_CDB: Final = 16400  # LF port, below 525 MHz
_PA_BOOST: Final = 0x80
_PA_DAC_HIGH_POWER: Final = 0x07
# What every SPI byte meets, as plain integers: enumerations would double its cost.
_FIFO: Final = int(Register.FIFO)
_IRQ_FLAGS: Final = int(Register.IRQ_FLAGS)
_FIFO_ADDR_PTR: Final = int(Register.FIFO_ADDR_PTR)
_DIO_MAPPING_1: Final = int(Register.DIO_MAPPING_1)
_MODES: Final = tuple(Mode)
_DIO_IRQ: Final = {
    0: (6, (int(Irq.RX_DONE), int(Irq.TX_DONE), int(Irq.CAD_DONE), 0)),
    1: (4, (int(Irq.RX_TIMEOUT), int(Irq.FHSS_CHANGE_CHANNEL), int(Irq.CAD_DETECTED), 0)),
    3: (0, (int(Irq.CAD_DONE), int(Irq.VALID_HEADER), int(Irq.PAYLOAD_CRC_ERROR), 0)),
}
"""Place in RegDioMapping1 and meaning of its values, by pin."""


class Sx1278:
    """One chip at one station of the medium.

    `select`, `transfer`, `deselect` are the SPI bus, acting at `clock.now_ns`. `dio0` and `dio1`, where
    set, are called with the pin's new level whenever it changes. Settings are latched when a mode is
    entered. A setting the chip cannot work with is noted in the trace as `radio_misuse`, and the chip
    stays in standby.
    """

    def __init__(self, name: str, medium: Medium, clock: Clock, *, keeps_account: bool = False) -> None:
        self.name = name
        self.dio0: Callable[[bool], None] | None = None
        self.dio1: Callable[[bool], None] | None = None
        self._medium = medium
        self._clock = clock
        self._station = medium.attach(name, self, keeps_account=keeps_account)
        self._wideband = medium.streams.child("wideband", name)
        self._wideband_reads = 0
        self._selected = False
        self._address: int | None = None
        self._writing = False
        self._dio0_level = False
        self._dio1_level = False
        self._timeout: Appointment | None = None
        self._timeout_passed = False
        self._set_defaults()

    def _set_defaults(self) -> None:
        self._fifo = bytearray(256)
        self._lora = bytearray(128)
        self._fsk = bytearray(128)
        for address, value in SHARED_RESET.items():
            self._lora[address] = value
        for address, value in LORA_RESET.items():
            self._lora[address] = value
        for address, value in FSK_RESET.items():
            self._fsk[address] = value
        self._long_range = False
        self._access_shared = False
        self._low_frequency = True
        self._mode = Mode.STANDBY
        self._calibrated_ns = 0
        self._receive_address = 0
        self._modulation: Modulation | None = None

    # The pins

    def select(self) -> None:
        """NSS falls: a transaction begins."""
        self._selected = True
        self._address = None

    def deselect(self) -> None:
        """NSS rises: the transaction is over."""
        self._selected = False
        self._address = None

    def transfer(self, mosi: int) -> int:
        """One SPI byte; returns MISO. The first of a transaction is the address, the others are data."""
        if not self._selected:
            return 0
        address = self._address
        if address is None:
            self._address = mosi & _ADDRESS_BITS
            self._writing = mosi >= _WRITE
            return 0
        if address != _FIFO:
            self._address = (address + 1) & _ADDRESS_BITS
        if self._writing:
            self._write(address, mosi)
            return 0
        return self._read(address)

    def touches_medium(self, mosi: int) -> bool:
        """Whether the next byte would see or change anything that depends on the world's time.

        False means that it is local to the chip and may be transferred ahead of the world.
        """
        address = self._address
        if not self._selected or address is None:
            return False
        if address == FskRegister.IMAGE_CAL and not self._on_lora_page():
            return True
        if not self.quiet:
            return address in _LIVE
        return address == Register.OP_MODE and self._writing and _MODES[mosi & MODE_BITS] in _ACTIVE

    @property
    def quiet(self) -> bool:
        """Nothing can come out of the chip without a bus access: sleep, standby, frequency synthesis."""
        return self._mode not in _ACTIVE or not self._long_range

    def reset(self) -> None:
        """The reset pin: everything as after power-on."""
        self._leave()
        self._set_defaults()
        self._selected = False
        self._address = None
        self._update_pins()

    def dio_level(self, pin: int) -> bool:
        """Level of DIO0, DIO1 or DIO3."""
        shift, irq_by_value = _DIO_IRQ[pin]
        irq = irq_by_value[self._lora[_DIO_MAPPING_1] >> shift & 3]
        return self._long_range and self._lora[_IRQ_FLAGS] & irq != 0

    @property
    def mode(self) -> Mode:
        """The mode the chip is in."""
        return self._mode

    # Registers

    def _on_lora_page(self) -> bool:
        return self._long_range and not self._access_shared

    def _read(self, address: int) -> int:
        if address == _FIFO:
            return self._read_fifo()
        if address == Register.OP_MODE:
            return self._read_op_mode()
        if address in PAGE and not self._on_lora_page():
            return self._read_fsk(address)
        if address == Register.MODEM_STAT:
            return self._read_modem_status()
        if address == Register.RSSI_VALUE:
            return self._read_rssi()
        if address == Register.RSSI_WIDEBAND:
            self._wideband_reads += 1
            return self._wideband.bits(self._wideband_reads) & 0xFF
        return self._lora[address]

    def _write(self, address: int, value: int) -> None:
        if address == _FIFO:
            self._write_fifo(value)
        elif address == Register.OP_MODE:
            self._write_op_mode(value)
        elif address in PAGE and not self._on_lora_page():
            self._write_fsk(address, value)
        elif address == Register.IRQ_FLAGS:
            self._lora[address] &= ~value
            self._update_pins()
        elif address not in READ_ONLY:
            self._lora[address] = value
            if address == Register.DIO_MAPPING_1:
                self._update_pins()

    def _read_fsk(self, address: int) -> int:
        value = self._fsk[address]
        if address == FskRegister.IMAGE_CAL and self._clock.now_ns < self._calibrated_ns:
            value |= _IMAGE_CALIBRATION_RUNNING
        return value

    def _write_fsk(self, address: int, value: int) -> None:
        if address == FskRegister.IMAGE_CAL:
            if value & _IMAGE_CALIBRATION_START and self._mode is Mode.STANDBY:
                self._calibrated_ns = self._clock.now_ns + _IMAGE_CALIBRATION_NS
            value &= ~(_IMAGE_CALIBRATION_START | _IMAGE_CALIBRATION_RUNNING)
        if address not in (FskRegister.TEMPERATURE, FskRegister.IRQ_FLAGS_1, FskRegister.IRQ_FLAGS_2):
            self._fsk[address] = value

    def _read_fifo(self) -> int:
        if self._mode is Mode.SLEEP:
            return 0
        pointer = self._lora[_FIFO_ADDR_PTR]
        self._lora[_FIFO_ADDR_PTR] = (pointer + 1) & 0xFF
        return self._fifo[pointer]

    def _write_fifo(self, value: int) -> None:
        if self._mode is Mode.SLEEP:
            return
        pointer = self._lora[_FIFO_ADDR_PTR]
        self._lora[_FIFO_ADDR_PTR] = (pointer + 1) & 0xFF
        self._fifo[pointer] = value

    def _read_modem_status(self) -> int:
        status = self._lora[Register.MODEM_STAT] & 0xE0
        if self._mode not in (Mode.RECEIVE_CONTINUOUS, Mode.RECEIVE_SINGLE):
            return status | 0x10
        progress = self._medium.progress(self._station)
        return (
            status
            | {
                Progress.SEARCHING: 0x10,
                Progress.DETECTED: 0x01,
                Progress.SYNCHRONISED: 0x07,
                Progress.HEADER_VALID: 0x0F,
            }[progress]
        )

    def _read_rssi(self) -> int:
        if self._modulation is not None and self._mode in (Mode.RECEIVE_CONTINUOUS, Mode.RECEIVE_SINGLE):
            level_cdbm = self._medium.level_cdbm(self._station, self._modulation)
            self._lora[Register.RSSI_VALUE] = _rssi_register(level_cdbm)
        return self._lora[Register.RSSI_VALUE]

    # Modes

    def _read_op_mode(self) -> int:
        value = int(self._mode)
        value |= LONG_RANGE if self._long_range else 0
        value |= ACCESS_SHARED if self._access_shared else 0
        return value | (LOW_FREQUENCY if self._low_frequency else 0)

    def _is_long_range_after(self, value: int) -> bool:
        # Latched only together with sleep: drivers leave the bit out of later writes and stay in LoRa mode.
        return bool(value & LONG_RANGE) if value & MODE_BITS == Mode.SLEEP else self._long_range

    def _write_op_mode(self, value: int) -> None:
        wanted = _MODES[value & MODE_BITS]
        long_range = self._is_long_range_after(value)
        self._access_shared = bool(value & ACCESS_SHARED) and long_range
        self._low_frequency = bool(value & LOW_FREQUENCY)
        if wanted is self._mode and long_range == self._long_range:
            return
        self._leave()
        self._long_range = long_range
        self._mode = wanted
        if wanted is Mode.SLEEP:
            self._fifo = bytearray(256)
            for counter in range(Register.RX_HEADER_CNT_MSB, Register.RX_PACKET_CNT_LSB + 1):
                self._lora[counter] = 0
            self._update_pins()
        elif wanted in _ACTIVE:
            try:
                self._enter(wanted)
            except SettingError as error:
                self._mode = Mode.STANDBY
                self._medium.trace.record(self._clock.now_ns, self.name, "radio_misuse", detail=str(error))

    def _leave(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        self._timeout_passed = False
        if not self.quiet:
            self._medium.stop(self._station)

    def _enter(self, mode: Mode) -> None:
        if not self._long_range:
            raise SettingError(f"mode {int(mode)} in FSK/OOK: only LoRa mode is modelled")
        self._modulation = modulation = self._modulation_of(transmitting=mode is Mode.TRANSMIT)
        if mode is Mode.TRANSMIT:
            self._medium.transmit(self._station, modulation, self._packet(), self._power_cdbm())
        elif mode is Mode.CHANNEL_ACTIVITY_DETECTION:
            self._medium.sense(self._station, modulation)
        else:
            self._fifo = bytearray(256)
            self._receive_address = self._lora[Register.FIFO_RX_BASE_ADDR]
            single = mode is Mode.RECEIVE_SINGLE
            self._medium.listen(self._station, modulation, single=single)
            if single:
                high = self._lora[Register.MODEM_CONFIG_2] & 3
                symbols = high << 8 | self._lora[Register.SYMB_TIMEOUT_LSB]
                due_ns = self._clock.now_ns + symbols * modulation.symbol_ns
                self._timeout = self._clock.at(due_ns, self.name, self._time_out)

    def _modulation_of(self, *, transmitting: bool) -> Modulation:
        lora = self._lora
        step = lora[Register.FRF_MSB] << 16 | lora[Register.FRF_MID] << 8 | lora[Register.FRF_LSB]
        config_1, config_2 = lora[Register.MODEM_CONFIG_1], lora[Register.MODEM_CONFIG_2]
        implicit_header = None
        if config_1 & 0x01:
            implicit_header = ImplicitHeader(
                lora[Register.PAYLOAD_LENGTH], config_1 >> 1 & 7, bool(config_2 & 0x04)
            )
        inversion = lora[Register.INVERT_IQ]
        return Modulation(
            frequency_hz=(step * 15625 + 128) >> 8,  # 32 MHz / 2^19 a step
            spreading_factor=config_2 >> 4,
            bandwidth_code=config_1 >> 4,
            sync_word=lora[Register.SYNC_WORD],
            inverted_iq=not inversion & 0x01 if transmitting else bool(inversion & 0x40),
            low_data_rate=bool(lora[Register.MODEM_CONFIG_3] & 0x08),
            implicit_header=implicit_header,
        )

    def _packet(self) -> Packet:
        lora = self._lora
        base, length = lora[Register.FIFO_TX_BASE_ADDR], lora[Register.PAYLOAD_LENGTH]
        return Packet(
            payload=bytes((self._fifo * 2)[base : base + length]),
            coding_rate=lora[Register.MODEM_CONFIG_1] >> 1 & 7,
            crc=bool(lora[Register.MODEM_CONFIG_2] & 0x04),
            preamble_symbols=lora[Register.PREAMBLE_MSB] << 8 | lora[Register.PREAMBLE_LSB],
        )

    def _power_cdbm(self) -> int:
        config = self._lora[Register.PA_CONFIG]
        output = config & 0x0F
        if config & _PA_BOOST:
            high = self._lora[Register.PA_DAC] & 0x07 == _PA_DAC_HIGH_POWER
            return (500 if high else 200) + 100 * output
        return 1080 + 60 * (config >> 4 & 7) - 100 * (15 - output)

    # What the medium tells

    def transmitted(self) -> None:
        """The packet is out."""
        self._mode = Mode.STANDBY
        self._raise(Irq.TX_DONE)

    def header_received(self, length: int, coding_rate: int, crc: bool) -> bool:
        """A header came in; refused when it announces more than RegMaxPayloadLength."""
        lora = self._lora
        if length > lora[Register.MAX_PAYLOAD_LENGTH]:
            return False
        self._count(Register.RX_HEADER_CNT_MSB)
        lora[Register.MODEM_STAT] = coding_rate << 5
        lora[Register.HOP_CHANNEL] = 0x40 if crc else 0
        self._raise(Irq.VALID_HEADER)
        return True

    def packet_received(self, reception: Reception) -> None:
        """A packet came in to its end."""
        lora, start, payload = self._lora, self._receive_address, reception.payload
        beyond = max(0, start + len(payload) - 256)
        self._fifo[start : start + len(payload) - beyond] = payload[: len(payload) - beyond]
        self._fifo[:beyond] = payload[len(payload) - beyond :]
        self._receive_address = (start + len(payload)) & 0xFF
        lora[Register.FIFO_RX_CURRENT_ADDR] = start
        lora[Register.FIFO_RX_BYTE_ADDR] = (self._receive_address - 1) & 0xFF
        lora[Register.RX_NB_BYTES] = len(payload)
        quarters = max(-128, min(127, (reception.snr_cdb + 12) // 25))
        lora[Register.PKT_SNR_VALUE] = quarters & 0xFF
        lora[Register.PKT_RSSI_VALUE] = _packet_rssi_register(reception.level_cdbm, quarters)
        irq = int(Irq.RX_DONE)
        if reception.intact or not reception.crc:
            self._count(Register.RX_PACKET_CNT_MSB)
        else:
            irq |= Irq.PAYLOAD_CRC_ERROR
        if self._mode is Mode.RECEIVE_SINGLE:
            self._leave_single()
        self._raise(irq)

    def reception_lost(self) -> None:
        """What looked like a packet came to nothing."""
        if self._timeout_passed:
            self._give_up_single()

    def activity_sensed(self, detected: bool) -> None:
        """The channel activity detection is done."""
        self._mode = Mode.STANDBY
        self._raise(Irq.CAD_DONE | Irq.CAD_DETECTED if detected else Irq.CAD_DONE)

    # Consequences

    def _time_out(self) -> None:
        self._timeout = None
        self._timeout_passed = True
        if self._medium.progress(self._station) is Progress.SEARCHING:
            self._give_up_single()

    def _give_up_single(self) -> None:
        self._medium.stop(self._station)
        self._leave_single()
        self._raise(Irq.RX_TIMEOUT)

    def _leave_single(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        self._timeout_passed = False
        self._mode = Mode.STANDBY

    def _count(self, register_msb: int) -> None:
        lora = self._lora
        count = (lora[register_msb] << 8 | lora[register_msb + 1]) + 1 & 0xFFFF
        lora[register_msb], lora[register_msb + 1] = count >> 8, count & 0xFF

    def _raise(self, irq: int) -> None:
        self._lora[_IRQ_FLAGS] |= irq & ~self._lora[Register.IRQ_FLAGS_MASK]
        self._update_pins()

    def _update_pins(self) -> None:
        level = self.dio_level(0)
        if level != self._dio0_level:
            self._dio0_level = level
            if self.dio0 is not None:
                self.dio0(level)
        level = self.dio_level(1)
        if level != self._dio1_level:
            self._dio1_level = level
            if self.dio1 is not None:
                self.dio1(level)


def _packet_rssi_register(level_cdbm: int, snr_quarters: int) -> int:
    """Inverse of datasheet 5.5.5: -164 + SNR / 4 + value for a negative SNR, else -164 + value * 16 / 15."""
    if snr_quarters < 0:
        return _rssi_register(level_cdbm - snr_quarters * 25)
    return max(0, min(255, ((level_cdbm + _RSSI_OFFSET_CDB) * 15 + 800) // 1600))


def _rssi_register(level_cdbm: int) -> int:
    return max(0, min(255, (level_cdbm + _RSSI_OFFSET_CDB + 50) // 100))
