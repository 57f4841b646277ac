"""The Uno's EEPROM as the factory leaves it: provisioning record, boot epoch slots, empty register journal.

Mirrors ``firmware/uno/provisioning.h``, ``firmware/lib/epoch.h`` and ``firmware/lib/journal.h``.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import dataclass, field, replace

EEPROM_BYTES = 1024

_MAGIC = b"METR"
_VERSION = 1
_RECORD = struct.Struct("<4sBBBBHH16sIBBBbBxH4HH")
_CRC = struct.Struct("<H")
_EPOCH_ADDRESS = 64
_EPOCH_SLOT = struct.Struct("<IHxx")
_EPOCH_SLOTS = 2
_LAST_EPOCH = 2**32 - 1

_BANDWIDTH_HZ = (7_800, 10_400, 15_600, 20_800, 31_250, 41_700, 62_500, 125_000, 250_000, 500_000)
_S0_LINES = 12
_LINES_PER_AC_CHANNEL = 2


class ProvisioningError(ValueError):
    """A record that no Uno would take; the message names the field, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class AcScale:
    """What the transducers of an AC channel put on the pins, in microvolts per volt and per ampere."""

    microvolts_per_volt: int = 4_500
    microvolts_per_ampere: int = 36_000


@dataclass(frozen=True, slots=True)
class Provisioning:
    """What makes one Uno this Uno."""

    uno_id: int
    key: bytes = field(repr=False)
    """Ascon-AEAD128 key, 16 bytes; shared with the gateway alone."""
    interval_s: int = 60
    s0_count: int = 4
    ac_count: int = 0
    journal_intervals: int = 15
    """Intervals between two saves of the registers to EEPROM."""
    frequency_hz: int = 433_175_000
    spreading_factor: int = 7
    bandwidth_hz: int = 125_000
    coding_rate: int = 5
    """Denominator of the coding rate, 4/5 .. 4/8."""
    tx_power_dbm: int = 10
    sync_word: int = 0x12
    ack_timeout_ms: int = 500
    scales: tuple[AcScale, AcScale] = (AcScale(), AcScale())

    def __post_init__(self) -> None:
        _in_range("uno_id", self.uno_id, 0, 0xFFFF)
        if len(self.key) != 16:
            raise ProvisioningError(f"key has {len(self.key)} bytes, an Ascon-AEAD128 key has 16")
        _in_range("interval_s", self.interval_s, 1, 0xFFFF)
        _in_range("ac_count", self.ac_count, 0, 2)
        _in_range("s0_count", self.s0_count, 0, _S0_LINES - _LINES_PER_AC_CHANNEL * self.ac_count)
        if not self.s0_count and not self.ac_count:
            raise ProvisioningError("s0_count and ac_count are both 0; a Uno needs at least one channel")
        _in_range("journal_intervals", self.journal_intervals, 1, 0xFF)
        _in_range("frequency_hz", self.frequency_hz, 137_000_000, 525_000_000)
        _in_range("spreading_factor", self.spreading_factor, 7, 12)
        if self.bandwidth_hz not in _BANDWIDTH_HZ:
            allowed = ", ".join(map(str, _BANDWIDTH_HZ))
            raise ProvisioningError(f"bandwidth_hz is {self.bandwidth_hz}, an SX1278 has {allowed}")
        _in_range("coding_rate", self.coding_rate, 5, 8)
        _in_range("tx_power_dbm", self.tx_power_dbm, 2, 17)
        _in_range("sync_word", self.sync_word, 0, 0xFF)
        _in_range("ack_timeout_ms", self.ack_timeout_ms, 1, 0xFFFF)
        for scale in self.scales:
            _in_range("microvolts_per_volt", scale.microvolts_per_volt, 1, 0xFFFF)
            _in_range("microvolts_per_ampere", scale.microvolts_per_ampere, 1, 0xFFFF)

    def encode(self) -> bytes:
        """The record as it lies at the start of the EEPROM, 50 bytes."""
        scales = [
            microvolts
            for scale in self.scales
            for microvolts in (scale.microvolts_per_volt, scale.microvolts_per_ampere)
        ]
        body = _RECORD.pack(
            _MAGIC,
            _VERSION,
            self.s0_count,
            self.ac_count,
            self.journal_intervals,
            self.uno_id,
            self.interval_s,
            self.key,
            self.frequency_hz,
            self.spreading_factor,
            _BANDWIDTH_HZ.index(self.bandwidth_hz),
            self.coding_rate - 4,
            self.tx_power_dbm,
            self.sync_word,
            self.ack_timeout_ms,
            *scales,
            0,
        )[: -_CRC.size]
        return body + _CRC.pack(crc16(body))

    @classmethod
    def decode(cls, eeprom: bytes) -> Provisioning:
        """The record at the start of an EEPROM image; :class:`ProvisioningError` when none is good."""
        if len(eeprom) < _RECORD.size:
            raise ProvisioningError(f"holds {len(eeprom)} bytes, a provisioning record has {_RECORD.size}")
        record = eeprom[: _RECORD.size]
        (
            magic,
            version,
            s0,
            ac,
            journal,
            uno_id,
            interval,
            key,
            frequency,
            sf,
            bandwidth,
            rate,
            power,
            sync,
            timeout,
            *rest,
        ) = _RECORD.unpack(record)
        if magic != _MAGIC:
            raise ProvisioningError(
                f"starts with {magic.hex()}, a provisioning record with {_MAGIC.hex()} (METR)"
            )
        if version != _VERSION:
            raise ProvisioningError(f"is of version {version}, this program writes and reads {_VERSION}")
        if crc16(record[: -_CRC.size]) != rest[-1]:
            raise ProvisioningError(
                f"checksum is {rest[-1]:04x} but the record sums to {crc16(record[:-2]):04x}"
            )
        if bandwidth >= len(_BANDWIDTH_HZ):
            raise ProvisioningError(
                f"bandwidth code is {bandwidth}, an SX1278 has 0..{len(_BANDWIDTH_HZ) - 1}"
            )
        return cls(
            uno_id=uno_id,
            key=key,
            interval_s=interval,
            s0_count=s0,
            ac_count=ac,
            journal_intervals=journal,
            frequency_hz=frequency,
            spreading_factor=sf,
            bandwidth_hz=_BANDWIDTH_HZ[bandwidth],
            coding_rate=rate + 4,
            tx_power_dbm=power,
            sync_word=sync,
            ack_timeout_ms=timeout,
            scales=(AcScale(*rest[0:2]), AcScale(*rest[2:4])),
        )


def quiet(provisioning: Provisioning) -> Provisioning:
    """The same for a board that nobody has a use for, and nobody can switch off: it leaves others the air.

    By the longest interval it sends nothing for 18 hours after a boot. Then it repeats what nobody
    acknowledges, at the lowest power and on the channel that it was given: less than 20 frames a week.
    """
    return replace(provisioning, interval_s=0xFFFF, ack_timeout_ms=0xFFFF, tx_power_dbm=2)


def eeprom_image(provisioning: Provisioning, last_epoch: int = 1) -> bytes:
    """A whole EEPROM for a new Uno; its first boot runs as epoch ``last_epoch + 1``.

    A key that was in use must keep its Uno's epochs, else nonces repeat.
    """
    _in_range("last_epoch", last_epoch, 1, _LAST_EPOCH - 1)
    image = bytearray(b"\xff" * EEPROM_BYTES)
    image[: _RECORD.size] = provisioning.encode()
    for index in range(_EPOCH_SLOTS):
        epoch = last_epoch - index
        at = _EPOCH_ADDRESS + index * _EPOCH_SLOT.size
        image[at : at + _EPOCH_SLOT.size] = _EPOCH_SLOT.pack(epoch, crc16(struct.pack("<I", epoch)))
    return bytes(image)


def stored_epochs(eeprom: bytes) -> tuple[int | None, int | None]:
    """The epochs in the two slots; None for a slot that is not readable."""
    found: list[int | None] = []
    for index in range(_EPOCH_SLOTS):
        epoch, crc = _EPOCH_SLOT.unpack_from(eeprom, _EPOCH_ADDRESS + index * _EPOCH_SLOT.size)
        found.append(epoch if crc == crc16(struct.pack("<I", epoch)) else None)
    return found[0], found[1]


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, as ``firmware/lib/crc16.h``."""
    return crc_hqx(data, 0xFFFF)


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ProvisioningError(f"{name} is {value}, allowed is {low} to {high}")
