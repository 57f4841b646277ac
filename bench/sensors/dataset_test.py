import gzip
import hashlib
import string
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sensors import dataset as dataset_module
from bench.sensors.dataset import Dataset, DatasetError, load_dataset
from bench.sensors.quantity import Quantity

SAMPLES = Path(__file__).parents[2] / "rigs" / "datasets"
MINUTE_NS = 60 * 10**9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def load_text(
    folder: Path, text: str | bytes, units: dict[str, str] | None = None, interval_s: int | None = None
) -> Dataset:
    path = folder / "meter.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(path, units, interval_s=interval_s)


def refusal(
    folder: Path, text: str | bytes, units: dict[str, str] | None = None, interval_s: int | None = None
) -> str:
    with pytest.raises(DatasetError) as caught:
        load_text(folder, text, units, interval_s)
    message = str(caught.value)
    assert "meter.csv" in message
    assert len(message) < 1000
    assert message.isprintable()
    return message


def load_or_refuse(folder: Path, text: str | bytes, parts: list[str]) -> Dataset | None:
    """Load, or make sure that the refusal holds these parts; any other exception fails the test."""
    message = ""
    try:
        return load_text(folder, text)
    except DatasetError as error:
        message = str(error)
    assert [part for part in parts if part not in message] == []
    return None


def values(dataset: Dataset, column: str) -> list[int]:
    return [int(value) for value in dataset.column(column).values]


def test_committed_samples_are_those_of_their_readme() -> None:
    readme = (SAMPLES / "README.md").read_text()
    names = sorted(path.name for path in SAMPLES.glob("*.csv"))
    assert names == ["swiss_households_15min.csv", "uci_household_1min.csv"]
    for name in names:
        content = (SAMPLES / name).read_bytes()
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in readme
        assert load_dataset(SAMPLES / name).sha256 == hashlib.sha256(content).hexdigest()


def test_uci_sample() -> None:
    uci = load_dataset(SAMPLES / "uci_household_1min.csv")
    assert (uci.rows, uci.step_ns, uci.span_ns) == (36_000, MINUTE_NS, 36_000 * MINUTE_NS)
    assert uci.first_time == "2006-12-16T17:24"
    # The first published row: 4.216 kW, 0.418 kvar, 234.84 V, 18.4 A, 0, 1, 17 Wh.
    first = {column.name: column.value_at(0) for column in uci.columns}
    assert first == {
        "p_w": 4_216_000,
        "q_var": 418_000,
        "v_cv": 234_840,
        "i_da": 18_400,
        "sub1_wh": 0,
        "sub2_wh": 1_000,
        "sub3_wh": 17_000,
    }
    assert {column.gaps for column in uci.columns} == {4}
    assert uci.power_mw("sub3_wh", 0) == 17_000 * 60
    # Lines 6841 and 6842 are blank; the value of line 6840 holds.
    gap_ns = (6841 - 2) * MINUTE_NS
    held_mw = uci.power_mw("p_w", gap_ns - 1)
    assert uci.power_mw("p_w", gap_ns) == uci.power_mw("p_w", gap_ns + MINUTE_NS) == held_mw
    assert uci.repeats(uci.span_ns) == 0
    assert uci.repeats(uci.span_ns + 1) == 1


def test_swiss_sample() -> None:
    swiss = load_dataset(SAMPLES / "swiss_households_15min.csv")
    assert (swiss.rows, len(swiss.columns), swiss.step_ns) == (1_344, 64, 15 * MINUTE_NS)
    assert swiss.first_time == "2018-10-29T00:00"
    assert {column.quantity for column in swiss.columns} == {Quantity.ENERGY}
    assert swiss.column("m523_wh").values.min() == -15_150_000
    assert not swiss.column("m090_wh").values.any()
    assert swiss.notes == ()


@pytest.mark.parametrize(
    ("name", "cell", "quantity", "expected"),
    [
        ("p_w", "1.5", Quantity.POWER, 1_500),
        ("P_KW", "-0.25", Quantity.POWER, -250_000),
        ("load (kW)", "1e-3", Quantity.POWER, 1_000),
        ("plant [GW]", ".5", Quantity.POWER, 500_000_000_000),
        ("kwh", "2", Quantity.ENERGY, 2_000_000),
        ("sub1_Wh", "17", Quantity.ENERGY, 17_000),
        ("v_cv", "23484", Quantity.VOLTAGE, 234_840),
        ("u_dv", "2348", Quantity.VOLTAGE, 234_800),
        ("u_v", "+230.", Quantity.VOLTAGE, 230_000),
        ("u_mv", "5", Quantity.VOLTAGE, 5),
        ("i_da", "184", Quantity.CURRENT, 18_400),
        ("i_ca", "1", Quantity.CURRENT, 10),
        ("i_a", "0.0005", Quantity.CURRENT, 0),
        ("i_ma", "1.5", Quantity.CURRENT, 2),
        ("q_var", "418", Quantity.REACTIVE, 418_000),
        ("s_kva", "3", Quantity.APPARENT, 3_000_000),
    ],
)
def test_unit_is_the_suffix(folder: Path, name: str, cell: str, quantity: Quantity, expected: int) -> None:
    dataset = load_text(folder, f"time,{name}\n2020-01-01T00:00,{cell}\n2020-01-01T00:01,{cell}\n")
    assert dataset.columns[0].quantity is quantity
    assert values(dataset, name) == [expected, expected]


def test_mapped_units(folder: Path) -> None:
    text = "t,load,x_mw,junk_w\n0,1,2,spam\n60,3,4,eggs\n"
    dataset = load_text(folder, text, {"load": "kW", "x_mw": "MW", "junk_w": "ignore"})
    assert values(dataset, "load") == [1_000_000, 3_000_000]
    assert values(dataset, "x_mw") == [2_000_000_000, 4_000_000_000]
    assert len(dataset.columns) == 2


@pytest.mark.parametrize(
    ("header", "first", "second", "step_s"),
    [
        ("time,p_w", "2020-01-01T00:00", "2020-01-01T00:15", 900),
        ("Timestamp,p_w", "2020-01-01 00:00:00", "2020-01-01 00:15:00", 900),
        ("when,p_w", "2020-01-01T00:00:00.250", "2020-01-01T00:00:01.250", 1),
        ("date,p_w", "2020-01-01", "2020-01-02", 86_400),
        ("date,p_w", "20200101", "20200102", 86_400),
        ("time,p_w", "2020-01-01T00:00:00Z", "2020-01-01T01:00:00+00:00", 3_600),
        # The night the clock is put back: 02:30 comes twice, but the offsets tell the order.
        ("time,p_w", "2020-10-25T02:30+02:00", "2020-10-25T02:30+01:00", 3_600),
        ("t,p_w", "1577836800", "1577836860", 60),
        ("t,p_w", "0", "5", 5),
        ("elapsed_s,p_w", "0", "1", 1),
        ('"time","p_w"', '"2020-01-01T00:00"', '"2020-01-01T00:01"', 60),
    ],
)
def test_time_columns(folder: Path, header: str, first: str, second: str, step_s: int) -> None:
    dataset = load_text(folder, f"{header}\n{first},1\n{second},2\n")
    assert dataset.step_ns == step_s * 10**9
    assert dataset.span_ns == 2 * step_s * 10**9


def test_slot_numbers(folder: Path) -> None:
    dataset = load_text(folder, "slot,a_wh\n7,1\n8,2\n10,3\n", interval_s=900)
    assert dataset.column("a_wh").starts_ns.tolist() == [0, 900 * 10**9, 2_700 * 10**9]
    assert dataset.step_ns == 900 * 10**9
    assert any("1 of 2 steps differ" in note for note in dataset.notes)


def test_time_column_need_not_be_the_first_and_may_be_two(folder: Path) -> None:
    dataset = load_text(folder, "a_w;time\n5;2020-01-01T00:00\n6;2020-01-01T00:01\n")
    assert values(dataset, "a_w") == [5_000, 6_000]
    dataset = load_text(folder, "Date;Time;a_w\n2020-01-01;23:59;5\n2020-01-02;00:00;6\n")
    assert dataset.step_ns == MINUTE_NS


def test_forms_of_a_file(folder: Path) -> None:
    plain = "time,p_w,note\n2020-01-01T00:00,1,x\n2020-01-01T00:01,2,y\n"
    reference = load_text(folder, plain)
    assert any("'note' ignored" in note for note in reference.notes)
    forms: list[str | bytes] = [
        b"\xef\xbb\xbf" + plain.encode(),
        plain.replace("\n", "\r\n"),
        plain.replace(",", ";"),
        plain.replace(",", "\t"),
        plain.rstrip("\n"),
        plain + "\n\n",
        "\n" + plain.replace(",1,", ', " 1 ",').replace(', "', ',"'),
        gzip.compress(plain.encode()),
    ]
    for form in forms:
        dataset = load_text(folder, form)
        assert values(dataset, "p_w") == values(reference, "p_w")
        assert dataset.span_ns == reference.span_ns


@pytest.mark.parametrize("gap", ["", "?", "NaN", "NA", "null", " "])
def test_gaps(folder: Path, gap: str) -> None:
    rows = [gap, "6", gap, gap, "12", "0", gap]
    text = "time,p_w,e_wh\n" + "".join(f"2020-01-01T00:0{i},{cell},{cell}\n" for i, cell in enumerate(rows))
    dataset = load_text(folder, text)
    power = [dataset.power_mw("p_w", minute * MINUTE_NS) for minute in range(7)]
    assert power == [0, 6_000, 6_000, 6_000, 12_000, 0, 0]
    # The energy of the row before a gap is spread over the gap: 6 Wh in 3 minutes are 120 W.
    spread = [dataset.power_mw("e_wh", minute * MINUTE_NS) for minute in range(7)]
    assert spread == [0, 120_000, 120_000, 120_000, 720_000, 0, 0]
    energy = dataset.column("e_wh")
    assert sum(energy.row_energy_pj(row) for row in range(len(energy.values))) == 18_000 * 3_600 * 10**9
    assert energy.gaps == 4


def test_data_repeats(folder: Path) -> None:
    dataset = load_text(folder, "t,p_w\n0,1\n60,2\n120,-3\n")
    cycle = [dataset.power_mw("p_w", minute * MINUTE_NS) for minute in range(6)]
    assert cycle == [1_000, 2_000, -3_000] * 2
    assert dataset.repeats(6 * MINUTE_NS) == 1


GOOD = "time,p_w,v_v\n2020-01-01T00:00,1,230\n2020-01-01T00:01,2,231\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("time\n2020-01-01\n", ["line 1", "header"]),
        ("2020-01-01T00:00,1,230\n2020-01-01T00:01,2,231\n", ["line 1", "header line", "2020-01-01T00:00"]),
        ("time,load\n2020-01-01T00:00,1\n", ["line 1", "load", "_kw", "units ="]),
        ("time,\x1b[31mred\n2020-01-01T00:00,1\n", ["line 1", "found time, ?[31mred;"]),
        ("time,p_w,p_w\n", ["line 1", "'p_w'", "rename"]),
        ("time,p_mw\n2020-01-01T00:00,1\n", ["line 1", "'p_mw'", "mW", "MW", "units ="]),
        ("time,p_w\n2020-01-01T00:00,1\n", ["at least 2 rows", "found 1"]),
        ("time,p_w\n", ["at least 2 rows", "found 0"]),
        ("time,p_w\n2020-01-01T00:00,\n2020-01-01T00:01,?\n", ["no column has a value"]),
        (GOOD + "2020-01-01T00:02,3\n", ["line 4", "3 fields", "found 2"]),
        (GOOD + "2020-01-01T00:02,3,4,5\n", ["line 4", "3 fields", "found 4"]),
        (GOOD + "2020-01-01T00:02,abc,4\n", ["line 4", "'p_w'", "'abc'", "number in W"]),
        (GOOD + "2020-01-01T00:02,inf,4\n", ["line 4", "'p_w'", "'inf'"]),
        (GOOD + "2020-01-01T00:02,0x1f,4\n", ["line 4", "'p_w'"]),
        (GOOD + "2020-01-01T00:02,1_000,4\n", ["line 4", "'p_w'"]),
        (GOOD + '2020-01-01T00:02,"1,5",4\n', ["line 4", "'p_w'", "decimal point"]),
        (GOOD + "2020-01-01T00:02,1e99,4\n", ["line 4", "'p_w'", "not plausible"]),
        (GOOD + "2020-01-01T00:02," + "9" * 5000 + ",4\n", ["line 4", "'p_w'"]),
        (GOOD + "2020-01-01T00:01,1,4\n", ["line 4", "'time'", "twice"]),
        (GOOD + "2019-12-31T00:01,1,4\n", ["line 4", "'time'", "before '2020-01-01T00:01'", "sort"]),
        (GOOD + "2020-02-30T00:01,1,4\n", ["line 4", "'time'", "ISO 8601", "2020-02-30"]),
        (GOOD + "01/02/2020 00:01,1,4\n", ["line 4", "'time'", "ISO 8601"]),
        (GOOD + ",1,4\n", ["line 4", "'time'", "ISO 8601"]),
        (GOOD + "2020-01-01T00:02Z,1,4\n", ["line 4", "'time'", "without an offset"]),
        (GOOD + "9999-01-01T00:02,1,4\n", ["line 4", "100 years"]),
        (GOOD + '2020-01-01T00:02,"1,4\n', ["line 4", "well-formed"]),
        (GOOD.encode() + b"2020-01-01T00:02,\xff,4\n", ["line 4", "UTF-8", "byte 18"]),
        (GOOD.encode("utf-16"), ["line 1", "UTF-8"]),
        (GOOD + "x" * 100_000, ["line 4", "longer than"]),
        ("slot,p_w\n0,1\n1,2\n", ["line 2", "'slot'", "interval_s"]),
        ("t,p_w\n0,1\n1.5,2\n", ["line 3", "'t'", "whole number"]),
        ("t,p_w\n1577836800000,1\n", ["line 2", "'t'", "milliseconds"]),
        (gzip.compress(GOOD.encode())[:-12], ["gzip"]),
        (gzip.compress(GOOD.encode())[:-8] + b"\0" * 8, ["gzip"]),
    ],
)
def test_malformed_input_is_refused_where_it_is(folder: Path, text: str | bytes, parts: list[str]) -> None:
    message = refusal(folder, text)
    for part in parts:
        assert part in message, message


def test_refused_units_and_intervals(folder: Path) -> None:
    assert "'load'" in refusal(folder, GOOD, {"load": "W"})
    assert "unknown unit 'parsec'" in refusal(folder, GOOD, {"p_w": "parsec"})
    assert "may be mW or MW" in refusal(folder, GOOD, {"p_w": "Mw"})
    assert "leave interval_s out" in refusal(folder, GOOD, None, 60)
    with pytest.raises(DatasetError, match="at least 1, found 0"):
        load_text(folder, GOOD, interval_s=0)
    with pytest.raises(DatasetError, match="no column 'x'; there are p_w, v_v"):
        load_text(folder, GOOD).column("x")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv: no such file"):
        load_dataset(tmp_path / "nowhere.csv")
    with pytest.raises(DatasetError, match="not a file"):
        load_dataset(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read"):
        load_dataset(tmp_path / ("x" * 300))


def test_huge_files_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "MAX_CELLS", 4)
    assert "more than 2 rows" in refusal(folder, GOOD + "2020-01-01T00:02,3,4\n")
    monkeypatch.setattr(dataset_module, "MAX_BYTES", 100)
    assert "larger than" in refusal(folder, GOOD + "\n" * 100)
    # The bound is on the text, however well it is compressed.
    assert "line 45: more than" in refusal(folder, gzip.compress((GOOD + "\n" * 100).encode()))


NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6).map(Decimal),
    st.decimals(-(10**6), 10**6, allow_nan=False, allow_infinity=False, places=3),
)
STEPS = st.lists(st.integers(1, 10**6), min_size=1, max_size=12)


@given(
    steps=STEPS, table=st.data(), delimiter=st.sampled_from(",;\t"), line_end=st.sampled_from(["\n", "\r\n"])
)
@settings(deadline=None)
def test_round_trip(
    folder: Path, steps: list[int], table: st.DataObject, delimiter: str, line_end: str
) -> None:
    starts = [0, *np.cumsum(steps).tolist()]
    cells = table.draw(st.lists(NUMBERS, min_size=len(starts), max_size=len(starts)))
    cells[0] = cells[0] if cells[0] is not None else Decimal(1)
    base = datetime(2020, 1, 1)
    rows = [
        f"{(base + timedelta(seconds=start)).isoformat()}{delimiter}{'' if cell is None else cell}"
        for start, cell in zip(starts, cells, strict=True)
    ]
    dataset = load_text(folder, line_end.join([f"time{delimiter}p_w", *rows]))
    column = dataset.column("p_w")
    kept = [(start, cell) for start, cell in zip(starts, cells, strict=True) if cell is not None]
    assert column.starts_ns.tolist() == [start * 10**9 for start, _ in kept]
    assert values(dataset, "p_w") == [int(cell * 1000) for _, cell in kept]
    assert dataset.span_ns == (starts[-1] + sorted(steps)[(len(steps) - 1) // 2]) * 10**9


@given(noise=st.binary(max_size=200))
@settings(deadline=None)
def test_noise_is_data_or_refused(folder: Path, noise: bytes) -> None:
    for text in (noise, GOOD.encode() + noise, b"\x1f\x8b" + noise):
        dataset = load_or_refuse(folder, text, ["meter.csv"])
        assert dataset is None or dataset.rows >= 2


@given(cell=st.text(string.printable.translate(str.maketrans("", "", '"\r\n')), max_size=8))
@settings(deadline=None)
def test_any_cell_is_a_number_a_gap_or_refused(folder: Path, cell: str) -> None:
    text = f'time,p_w\n2020-01-01T00:00,1\n2020-01-01T00:01,"{cell}"\n'
    dataset = load_or_refuse(folder, text, ["line 3", "'p_w'"])
    if dataset is not None:
        read = values(dataset, "p_w")
        assert read[0] == 1_000
        if len(read) == 2:
            assert abs(Decimal(read[1]) - Decimal(cell.strip()) * 1000) <= Decimal("0.5")
