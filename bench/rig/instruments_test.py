"""What the tables of instruments refuse by themselves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bench.rig.instruments import PowerMeter


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "real"}, "found a real instrument without resource, expected its VISA resource"),
        ({"kind": "emulated", "resource": "ASRL1::INSTR"}, "found resource with an emulated instrument"),
        ({"kind": "rael", "resource": "ASRL1::INSTR"}, 'did you mean "real"'),
        ({"kind": "real", "resource": "ASRL1::INSTR", "baud_rate": 50}, "greater than or equal to 300"),
        ({"kind": "emulated", "channel": 0}, "greater than or equal to 1"),
    ],
)
def test_an_instrument_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PowerMeter.model_validate(fields)
