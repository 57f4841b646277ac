import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.uno.provisioning import (
    EEPROM_BYTES,
    AcScale,
    Provisioning,
    ProvisioningError,
    crc16,
    eeprom_image,
    provision_again,
    stored_epochs,
)

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


def test_provisioning_again_keeps_epochs_and_journal() -> None:
    used = eeprom_image(Provisioning(uno_id=1, key=KEY), last_epoch=77)[:200] + bytes(824)
    again = provision_again(Provisioning(uno_id=2, key=KEY), used)
    assert Provisioning.decode(again).uno_id == 2
    assert again[50:] == used[50:]


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
