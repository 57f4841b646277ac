from __future__ import annotations

from pathlib import Path

import pytest

from bench.rig.calibration import OPERATIONS, load_calibration
from bench.rig.problem import RigError

PUBLISHED = Path(__file__).parents[2] / "rigs" / "calibration" / "pi3b-published.toml"


def test_the_published_prior_has_every_operation_and_says_what_it_is() -> None:
    calibration = load_calibration(PUBLISHED)
    assert set(calibration.operation) == set(OPERATIONS)
    assert calibration.label == "published prior"
    assert str(calibration).startswith("published prior (Raspberry Pi 3")


def test_published_cycles_become_time_at_the_real_clock() -> None:
    calibration = load_calibration(PUBLISHED)
    clock_mhz = 1187
    for operation, cycles in (("ed25519_sign", 194_443), ("ed25519_verify", 537_285)):
        assert calibration.cost_ns(operation) == pytest.approx(cycles * 1000 / clock_mhz, rel=0.001)


def test_costs_add_up_in_integers() -> None:
    calibration = load_calibration(PUBLISHED)
    assert calibration.cost_ns("blake2b", 3) == 3 * calibration.operation["blake2b"].cost_ns
    assert calibration.commit_wait_ns == 8_000_000


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[operation.ascon_tag]", "[operation.ascon_tags]", 'unknown operation; did you mean "ascon_tag"?'),
        ("[operation.ascon_tag]", "[operation.ascon_tags]", "operation.ascon_tag: missing"),
        (
            "cost_ns = 150_000",
            "cost_ns = 0.15",
            "operation.commit.cost_ns: found 0.15, expected a whole number",
        ),
        ('label = "published prior"', 'label = "measured"', "expected 'published prior' or 'calibrated'"),
        ('date = "2', 'date = "x', "date: "),
        ("cores = 4", "cors = 4", 'cors: unknown key; did you mean "cores"?'),
        ("cores = 4", "cores = ", "is no TOML: Invalid value (at line"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "pi.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(RigError) as caught:
        load_calibration(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="cannot be read: No such file"):
        load_calibration(tmp_path / "none.toml")
