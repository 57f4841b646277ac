from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.scpi.error import ScpiError
from bench.instruments.scpi.syntax import units_of
from bench.instruments.scpi.tree import Call, CommandTree, words_of

PATTERN = "[:SOURce<n>]:VOLTage:PROTection[:LEVel]"


def tree() -> CommandTree:
    made = CommandTree()
    made.add(PATTERN, query=lambda call: f"{call.suffixes}{call.parameters}")
    made.add("[:SOURce<n>]:VOLTage[:LEVel]", query=lambda _call: "voltage")
    return made


def answer(header: str) -> str | None:
    (unit,) = units_of(header)
    return tree().answer(unit)


def written(word: str) -> st.SearchStrategy[str]:
    """A word in its long or short form, in any mixture of capitals."""
    short = "".join(letter for letter in word if letter.isupper())
    return st.sampled_from([short, word]).flatmap(
        lambda form: st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in form)).map("".join)
    )


@given(written("VOLTage"), written("PROTection"), written("LEVel"), st.booleans(), st.booleans())
def test_long_and_short_forms_mean_the_same(
    voltage: str, protection: str, level: str, colon: bool, has_level: bool
) -> None:
    header = f"{':' if colon else ''}{voltage}:{protection}{':' + level if has_level else ''}?"
    assert answer(header) == "()()"


@pytest.mark.parametrize(
    "header", ["VOLTA:PROT?", "VOL:PROT?", "VOLT:PROTE?", "PROT?", "VOLT:LEV:PROT?", "SOUR?"]
)
def test_no_other_form_means_anything(header: str) -> None:
    with pytest.raises(ScpiError, match="-113"):
        answer(header)


def test_a_number_may_follow_where_the_pattern_says() -> None:
    assert answer("SOUR2:VOLT:PROT? MAX") == "(2,)('MAX',)"
    assert answer("SOUR:VOLT:PROT?") == "(None,)()"
    with pytest.raises(ScpiError, match="-113"):
        answer("SOUR2:VOLT3:PROT?")


def test_a_command_is_no_query_and_a_query_no_command() -> None:
    made = CommandTree()
    calls: list[Call] = []
    made.add(":OUTPut[:STATe]", command=calls.append)
    (ask,), (do,) = units_of("OUTP?"), units_of("OUTP 1")
    with pytest.raises(ScpiError, match="-113"):
        made.answer(ask)
    assert made.answer(do) is None
    assert calls == [Call((), ("1",))]


def test_optional_words_may_be_left_out_in_every_combination() -> None:
    made = CommandTree()
    made.add("[:SENSe]:CURRent[:DC][:RANGe]", query=lambda _call: "found")
    for sense, dc, range_ in product(("", "SENS:"), ("", ":DC"), ("", ":RANG")):
        (unit,) = units_of(f"{sense}CURR{dc}{range_}?")
        assert made.answer(unit) == "found"


@pytest.mark.parametrize(
    "pattern", ["", "VOLTage", ":voltage", ":VOLTage[:LEVel", ":VOLTage:LEVel]", ":VOLT age"]
)
def test_a_pattern_that_is_none_is_told(pattern: str) -> None:
    with pytest.raises(ValueError, match="expected a pattern"):
        words_of(pattern)


def test_words_that_cannot_be_told_apart_are_refused() -> None:
    made = CommandTree()
    made.add(":STATe", query=lambda _call: "")
    with pytest.raises(ValueError, match="STATE and STATUS"):
        made.add(":STATus", query=lambda _call: "")
