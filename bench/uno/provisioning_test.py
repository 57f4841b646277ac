import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.uno.build import PACKAGES
from bench.uno.clock import UnoClock
from bench.uno.conftest import firmware
from bench.uno.provisioning import (
    EEPROM_BYTES,
    AcScale,
    Provisioning,
    ProvisioningError,
    crc16,
    eeprom_image,
    quiet,
    stored_epochs,
)
from bench.uno.virtual import VirtualUno
from bench.world.simulation import NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

KEY = bytes(range(16))

SCALES = st.builds(AcScale, st.integers(1, 0xFFFF), st.integers(1, 0xFFFF))


@st.composite
def provisionings(draw: st.DrawFn) -> Provisioning:
    ac_count = draw(st.integers(0, 2))
    return Provisioning(
        uno_id=draw(st.integers(0, 0xFFFF)),
        key=draw(st.binary(min_size=16, max_size=16)),
        interval_s=draw(st.integers(1, 0xFFFF)),
        s0_count=draw(st.integers(0 if ac_count else 1, 12 - 2 * ac_count)),
        ac_count=ac_count,
        journal_intervals=draw(st.integers(1, 255)),
        frequency_hz=draw(st.integers(137_000_000, 525_000_000)),
        spreading_factor=draw(st.integers(7, 12)),
        bandwidth_hz=draw(st.sampled_from((7_800, 62_500, 125_000, 250_000, 500_000))),
        coding_rate=draw(st.integers(5, 8)),
        tx_power_dbm=draw(st.integers(2, 17)),
        sync_word=draw(st.integers(0, 255)),
        ack_timeout_ms=draw(st.integers(1, 0xFFFF)),
        scales=(draw(SCALES), draw(SCALES)),
    )


@given(provisionings())
def test_decode_gives_back_what_was_encoded(provisioning: Provisioning) -> None:
    assert Provisioning.decode(provisioning.encode()) == provisioning


@given(provisionings(), st.integers(0, 50 * 8 - 1))
def test_any_flipped_bit_is_noticed(provisioning: Provisioning, bit: int) -> None:
    record = bytearray(provisioning.encode())
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProvisioningError):
        Provisioning.decode(bytes(record))


def test_layout_is_that_of_the_firmware_header() -> None:
    record = Provisioning(uno_id=0x1234, key=KEY, scales=(AcScale(1, 2), AcScale(3, 4))).encode()
    assert len(record) == 50
    assert record[:5] == b"METR\x01"
    assert record[5:8] == bytes([4, 0, 15])
    assert record[8:12] == b"\x34\x12\x3c\x00"
    assert record[12:28] == KEY
    assert int.from_bytes(record[28:32], "little") == 433_175_000
    assert record[32:38] == bytes([7, 7, 1, 10, 0x12, 0])
    assert record[38:48] == bytes([0xF4, 1, 1, 0, 2, 0, 3, 0, 4, 0])


def test_crc_is_ccitt_false() -> None:
    # Check value of CRC-16/IBM-3740, alias CCITT-FALSE, in the RevEng catalogue.
    assert crc16(b"123456789") == 0x29B1


def test_a_new_eeprom_holds_the_record_two_epochs_and_nothing_else() -> None:
    image = eeprom_image(Provisioning(uno_id=1, key=KEY), last_epoch=9)
    assert len(image) == EEPROM_BYTES
    assert stored_epochs(image) == (9, 8)
    assert set(image[96:]) == {0xFF}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"uno_id": 70_000}, "uno_id is 70000, allowed is 0 to 65535"),
        ({"key": b"short"}, "key has 5 bytes"),
        ({"s0_count": 11, "ac_count": 1}, "s0_count is 11, allowed is 0 to 10"),
        ({"s0_count": 0}, "at least one channel"),
        ({"bandwidth_hz": 100}, "bandwidth_hz is 100"),
        ({"spreading_factor": 6}, "spreading_factor is 6, allowed is 7 to 12"),
        ({"interval_s": 0}, "interval_s is 0"),
    ],
)
def test_a_value_no_uno_would_take_is_named(fields: dict[str, int | bytes], words: str) -> None:
    with pytest.raises(ProvisioningError, match=words):
        Provisioning(**{"uno_id": 1, "key": KEY, **fields})  # type: ignore[arg-type]  # wrong values on purpose


def test_a_blank_eeprom_is_refused_in_words() -> None:
    with pytest.raises(ProvisioningError, match="METR"):
        Provisioning.decode(b"\xff" * EEPROM_BYTES)


def transmissions_in(seconds: int, provisioning: Provisioning) -> list[int]:
    """When an Uno that nobody acknowledges sends, in seconds from its boot."""
    records: list[Record] = []
    simulation, trace = Simulation(), Trace()
    trace.subscribe(records.append)
    radio = Sx1278("uno-1", Medium(Stream(1), trace, simulation, FixedLinks(9_000)), simulation)
    eeprom, until_ns = eeprom_image(provisioning), seconds * NS_PER_S
    VirtualUno("uno-1", firmware(), eeprom, radio, UnoClock(0, 0), simulation, trace, until_ns).power_on()
    simulation.run(until_ns)
    trace.settle()
    return [record.t_ns // NS_PER_S for record in records if record.kind == "transmission"]


@pytest.mark.skipif(shutil.which("avr-gcc") is None, reason=f"needs the Debian packages {PACKAGES}")
@pytest.mark.parametrize("uno_id", [0, 1, 5])
def test_a_quiet_uno_sends_nothing_for_18_hours_and_then_next_to_nothing(uno_id: int) -> None:
    in_use = Provisioning(uno_id, KEY, interval_s=60)
    assert len(transmissions_in(600, in_use)) >= 9
    hours = [t_s // 3600 for t_s in transmissions_in(7 * 24 * 3600, quiet(in_use))]
    assert 0 < len(hours) < 20
    assert hours[0] >= 18
