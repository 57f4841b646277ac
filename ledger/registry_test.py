from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from nacl.signing import SigningKey

from ledger.encoding import encode
from ledger.registry import Issuer, Registry, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.encoding import Value

KEY = bytes(SigningKey(bytes(32)).verify_key)
METER_KEY = bytes(range(16))
REGISTRY = Registry(bytes(16), 4, {KEY: Issuer("east", 2, 6)}, {7: METER_KEY})


def test_who_may_issue_goes_by_epoch() -> None:
    assert [REGISTRY.may_issue(KEY, epoch) for epoch in (1, 2, 5, 6)] == [False, True, True, False]
    assert REGISTRY.may_issue(KEY)
    assert not REGISTRY.may_issue(bytes(32))
    assert REGISTRY.issuer_name(KEY) == "east"
    assert REGISTRY.issuer_name(bytes(32)) == "000000000000"


def test_meters() -> None:
    assert REGISTRY.meter_key(7) == METER_KEY
    assert REGISTRY.meter_key(8) is None


def test_the_public_part_has_no_meter_keys() -> None:
    raw = REGISTRY.public_part()
    assert METER_KEY not in raw
    kept = Registry.from_public_part(raw)
    assert (kept.network, kept.epoch, kept.issuers, kept.meters) == (bytes(16), 4, REGISTRY.issuers, {})
    assert kept.public_part() == raw
    assert METER_KEY.hex() not in repr(REGISTRY)
    assert repr(METER_KEY) not in repr(REGISTRY)
    with pytest.raises(RegistryError):
        Registry.from_public_part(raw[:-1])


def test_file_round_trip_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    REGISTRY.save(path)
    assert Registry.load(path) == REGISTRY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    REGISTRY.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("network"), "'network' is missing"),
        (lambda d: d.update(network="00"), "network id must have 16 bytes, not 1"),
        (lambda d: d.update(epoch=-1), "epoch must be"),
        (lambda d: d.update(epoch=1.0), "epoch must be"),
        (lambda d: d.update(epoch="1"), "epoch must be"),
        (lambda d: d.update(epoch=True), "epoch must be"),
        (lambda d: d.update(epoch=2**63), "epoch must be"),
        (lambda d: d["issuers"][0].update(from_epoch=-1), "east: from_epoch must be .* not -1"),
        (lambda d: d["issuers"][0].update(from_epoch="2"), "east: from_epoch must be .* not '2'"),
        (lambda d: d["issuers"][0].update(from_epoch=None), "east: from_epoch must be .* not None"),
        (lambda d: d["issuers"][0].update(until_epoch="5"), "east: until_epoch must be .* not '5'"),
        (lambda d: d["issuers"][0].update(until_epoch=5.5), "east: until_epoch must be .* not 5.5"),
        (lambda d: d["issuers"][0].update(until_epoch=2**63), "east: until_epoch must be"),
        (lambda d: d["issuers"][0].update(name=5), "name must be text, not 5"),
        (lambda d: d["issuers"][0].update(name="\ud800"), "name must be text"),
        (lambda d: d["meters"].update({"07": "00" * 16}), "meter '07': id must be"),
        (lambda d: d["meters"].update({"x": "00" * 16}), "meter 'x': id must be"),
        (lambda d: d["meters"].update({"70000": "00" * 16}), "meter 70000: id must be"),
        (lambda d: d["meters"].update({"7": "00"}), "meter 7: key must have 16 bytes"),
        (lambda d: d["issuers"][0].update(public_key="zz"), "hexadecimal"),
        (lambda d: d["issuers"][0].update(public_key="00"), "east: public key"),
        (lambda d: d["issuers"][0].update(name="n" * 65), "name is over"),
        (lambda d: d.update(issuers=5), "not iterable"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    path = tmp_path / "registry.json"
    REGISTRY.save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(RegistryError, match=message) as caught:
        Registry.load(path)
    assert str(path) in str(caught.value)


def test_nobody_is_listed_twice(tmp_path: Path) -> None:
    """Else the entry that revokes an issuer and the one that admits it would depend on their order."""
    path = tmp_path / "registry.json"
    document = json.loads(REGISTRY.to_json())
    document["issuers"].append({**document["issuers"][0], "public_key": KEY.hex().upper(), "name": "again"})
    path.write_text(json.dumps(document))
    with pytest.raises(
        RegistryError, match=rf"registry\.json: {KEY.hex()} is listed twice, as east and again"
    ):
        Registry.load(path)
    meter = f'"7": "{METER_KEY.hex()}"'
    path.write_text(REGISTRY.to_json().replace(meter, f"{meter}, {meter}"))
    with pytest.raises(RegistryError, match=r"registry\.json: '7' is there twice"):
        Registry.load(path)
    twice: list[Value] = [[KEY, "east", 2, 6], [KEY, "east", 2, None]]
    with pytest.raises(RegistryError, match=f"{KEY.hex()} is listed twice"):
        Registry.from_public_part(encode([bytes(16), 4, twice]))


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file"):
        Registry.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RegistryError, match="not a JSON file"):
        Registry.load(tmp_path / "bad.json")
