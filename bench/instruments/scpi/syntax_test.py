import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.scpi.error import ScpiError
from bench.instruments.scpi.syntax import Unit, units_of


def headers(line: str) -> list[str]:
    return [":".join(f"{m.word}{m.suffix or ''}" for m in unit.path) for unit in units_of(line)]


def code_of(line: str) -> int:
    with pytest.raises(ScpiError) as error:
        list(units_of(line))
    return error.value.code


def test_a_line_holds_units() -> None:
    first, second = units_of(" :sour2:volt 5.1 V ;*OPC?")
    assert [(m.word, m.suffix) for m in first.path] == [("SOUR", 2), ("VOLT", None)]
    assert (first.is_query, first.is_common, first.parameters) == (False, False, ("5.1 V",))
    assert (second.path[0].word, second.is_query, second.is_common) == ("OPC", True, True)


# SCPI-99, volume 1, chapter 6.2.4: the rules for traversing the tree.
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("MEAS:VOLT?;CURR?", ["MEAS:VOLT", "MEAS:CURR"]),
        ("MEAS:VOLT?;:CURR?", ["MEAS:VOLT", "CURR"]),
        ("VOLT 5;CURR 1", ["VOLT", "CURR"]),
        ("MEAS:VOLT?;*CLS;CURR?", ["MEAS:VOLT", "CLS", "MEAS:CURR"]),
        ("VOLT:PROT:LEV 5;STAT ON", ["VOLT:PROT:LEV", "VOLT:PROT:STAT"]),
        (";;VOLT?;", ["VOLT"]),
        ("", []),
    ],
)
def test_a_unit_goes_on_where_the_one_before_was(line: str, found: list[str]) -> None:
    assert headers(line) == found


def test_strings_hide_separators() -> None:
    (unit,) = units_of('DISP:TEXT "a;b,c",\'d"e\'')
    assert unit.parameters == ('"a;b,c"', "'d\"e'")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("VOLT:", -102),
        ("::VOLT", -102),
        ("1VOLT", -102),
        ("VOLT 1,,2", -102),
        ("*", -102),
        ("VOLT,5", -103),
        ("VOLT=5", -103),
        ("(VOLT)", -101),
        ("\x00", -101),
        ("\x00VOLT", -101),
        ("ABCDEFGHIJKLM", -112),
        ('DISP "open', -151),
        ("V€LT", -103),
    ],
)
def test_what_cannot_be_read_has_its_number(line: str, code: int) -> None:
    assert code_of(line) == code


@given(st.text())
def test_any_line_is_read_or_refused(line: str) -> None:
    refused = False
    try:
        units = list(units_of(line))
    except ScpiError as error:
        refused = error.is_command_error
        units = []
    assert refused or all(isinstance(unit, Unit) and unit.path for unit in units)
