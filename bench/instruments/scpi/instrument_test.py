import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.scpi.attenuator import AttenuatorInstrument
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.error import QUEUE_LENGTH
from bench.instruments.scpi.instrument import (
    LONGEST_LINE,
    MOST_UNITS,
    Identification,
    ScpiInstrument,
)
from bench.instruments.scpi.power_meter import PowerMeterInstrument
from bench.instruments.scpi.supply import SupplyInstrument

NO_ERROR = '0,"No error"'


def instrument() -> ScpiInstrument:
    return ScpiInstrument(Identification("MAKER", "MODEL", "7", "1.0"))


def told(made: ScpiInstrument, line: str) -> str | None:
    return made.handle(line, 0)


def test_the_common_queries() -> None:
    made = instrument()
    assert told(made, "*IDN?") == "MAKER,MODEL,7,1.0"
    assert told(made, "*idn?;*OPC?;*TST?") == "MAKER,MODEL,7,1.0;1;0"
    assert told(made, "SYSTEM:VERSION?") == "1999.0"
    assert told(made, "*RST;*WAI;*CLS") is None
    assert told(made, "SYST:ERR?") == NO_ERROR


def test_errors_come_out_in_their_order_and_once() -> None:
    made = instrument()
    for line in ("FOO", "*IDN? 1", "*ESE 256", "*ESE"):
        assert told(made, line) is None
    assert told(made, "SYST:ERR:COUN?") == "4"
    assert [told(made, "SYST:ERR:NEXT?") for _ in range(5)] == [
        '-113,"Undefined header"',
        '-108,"Parameter not allowed"',
        '-222,"Data out of range"',
        '-109,"Missing parameter"',
        NO_ERROR,
    ]


def test_a_full_queue_says_so_and_grows_no_further() -> None:
    made = instrument()
    for _ in range(3 * QUEUE_LENGTH):
        told(made, "FOO")
    entries = [told(made, "SYST:ERR?") for _ in range(QUEUE_LENGTH + 1)]
    assert entries == ['-113,"Undefined header"'] * (QUEUE_LENGTH - 1) + ['-350,"Queue overflow"', NO_ERROR]


def test_the_event_status_register_tells_the_classes_and_forgets() -> None:
    made = instrument()
    assert told(made, "*ESR?") == "128"
    told(made, "FOO")
    told(made, "*ESE 999")
    told(made, "*OPC")
    assert told(made, "*ESR?") == str(1 + 16 + 32)
    assert told(made, "*ESR?") == "0"


def test_the_status_byte_sums_up() -> None:
    made = instrument()
    told(made, "*CLS;*ESE 32;*SRE 32")
    assert told(made, "*STB?") == "0"
    told(made, "FOO")
    assert told(made, "*STB?") == str(4 + 32 + 64)
    assert told(made, "*ESE?;*SRE?") == "32;32"
    told(made, "*CLS")
    assert told(made, "*STB?") == "0"


def test_a_command_error_ends_the_line_and_an_execution_error_does_not() -> None:
    made = instrument()
    assert told(made, "*OPC?;FOO;*OPC?") == "1"
    assert told(made, "*OPC?;*ESE 300;*OPC?") == "1;1"


def test_too_long_a_line_is_not_carried_out() -> None:
    made = instrument()
    assert told(made, "*OPC?" + " " * LONGEST_LINE) is None
    assert told(made, "SYST:ERR?") == '-363,"Input buffer overrun"'
    answers = told(made, ";".join(["*OPC?"] * (MOST_UNITS + 1)))
    assert answers == ";".join(["1"] * MOST_UNITS)
    assert told(made, "SYST:ERR?") == '-363,"Input buffer overrun"'


HEADERS = ["VOLT", "CURR", ":SOUR2", ":OUTP", ":STAT", "*IDN?", "*RST", ":MEAS", "INTEG:STAR", "ATT", ":PROT"]
REST = ["?", "1", "5.1", "V", "mA", "MAX", "ON", "1e99", ";", ",", ":", "*", "'", '"']
FRAGMENTS = st.sampled_from([*HEADERS, *REST])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SupplyInstrument([SupplyChannel()]),
        lambda: PowerMeterInstrument([SupplyChannel()]),
        lambda: AttenuatorInstrument(lambda _attenuation_cdb: None),
    ],
)
@given(lines=st.lists(st.text(max_size=30) | st.lists(FRAGMENTS, max_size=12).map(" ".join), max_size=20))
def test_nothing_that_comes_in_raises(make: object, lines: list[str]) -> None:
    assert callable(make)
    made = make()
    for now_ns, line in enumerate(lines):
        answer = made.handle(line, now_ns * 10**7)
        assert answer is None or answer.isascii()
        assert "\n" not in (answer or "")
        assert made.errors_waiting <= QUEUE_LENGTH


def test_time_never_runs_back() -> None:
    seen: list[int] = []

    class Watched(ScpiInstrument):
        def elapse(self, now_ns: int) -> None:
            seen.append(now_ns)

    made = Watched(Identification("", "", "", ""))
    for now_ns in (5, 3, 5, 8):
        made.handle("*OPC?", now_ns)
    assert seen == [5, 8]
