from pathlib import Path

import pytest

from bench.sensors.assignment import assign_sensors
from bench.sensors.circuit import circuits
from bench.sensors.dataset import Dataset, DatasetError, load_dataset
from bench.sensors.quantity import Quantity

SAMPLES = Path(__file__).parents[2] / "rigs" / "datasets"


def dataset(folder: Path, header: str, rows: int = 8, value: int = 1) -> Dataset:
    path = folder / "meter.csv"
    cells = f",{value}" * header.count(",")
    path.write_text("\n".join([header, *(f"{60 * row}{cells}" for row in range(rows))]))
    return load_dataset(path)


def test_sensors_take_the_columns_in_turn_and_then_begin_elsewhere(tmp_path: Path) -> None:
    data = dataset(tmp_path, "t,a_w,b_wh")
    assignments = assign_sensors(data, 12)
    assert [assignment.circuit.name for assignment in assignments] == ["a_w", "b_wh"] * 6
    assert [assignment.offset_row for assignment in assignments[::2]] == [0, 4, 2, 6, 1, 5]
    assert all(a.offset_ns == a.offset_row * 60 * 10**9 for a in assignments)
    assert assignments[0].description == "sensor 0: a_w"
    assert assignments[5].description == "sensor 5: b_wh from row 3 (0 d 00:02 in)"
    # A rig with fewer sensors plays the same into those it has.
    assert [a.description for a in assign_sensors(data, 3)] == [a.description for a in assignments[:3]]
    assert assign_sensors(data, 0) == ()
    with pytest.raises(DatasetError, match="0 or more, found -1"):
        assign_sensors(data, -1)


def test_samples_give_every_sensor_its_own_signal() -> None:
    for name, count in (("uci_household_1min.csv", 256), ("swiss_households_15min.csv", 512)):
        assignments = assign_sensors(load_dataset(SAMPLES / name), count)
        assert len({(a.circuit.name, a.offset_row) for a in assignments}) == count


def test_rig_file_chooses_columns(tmp_path: Path) -> None:
    data = dataset(tmp_path, "t,a_w,b_wh,v_v,i_a,q_var")
    chosen = assign_sensors(data, 3, ["i_a", "a_w"])
    assert [assignment.circuit.name for assignment in chosen] == ["v_v x i_a", "a_w", "v_v x i_a"]
    for name, message in (
        ("v_v", "'v_v' is in mV, of which a meter has nothing to count"),
        ("q_var", "'q_var' is in mvar"),
        ("x", "no column 'x'; there are a_w, b_wh, v_v, i_a, q_var"),
    ):
        with pytest.raises(DatasetError, match=message):
            circuits(data, [name])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("t,e_wh,p_w,s_va,v_v,i_a,q_var", [("p_w", "v_v", "i_a", "q_var"), ("e_wh", "v_v", None, None)]),
        ("t,p1_w,p2_w,v_v", [("p1_w", "v_v", None, None), ("p2_w", "v_v", None, None)]),
        ("t,p1_w,p2_w,v1_v,v2_v,i1_a", [("p1_w", "v1_v", None, None), ("p2_w", "v2_v", None, None)]),
        ("t,s_va,i_a,q_var", [("s_va", None, "i_a", "q_var")]),
        ("t,v1_v,v2_v,i1_a,i2_a", [(None, "v1_v", "i1_a", None), (None, "v2_v", "i2_a", None)]),
        ("t,i1_a,i2_a", [(None, None, "i1_a", None), (None, None, "i2_a", None)]),
    ],
)
def test_columns_of_a_circuit(tmp_path: Path, header: str, expected: list[tuple[str | None, ...]]) -> None:
    found = [
        tuple(column.name if column else None for column in (c.power, c.voltage, c.current, c.reactive))
        for c in circuits(dataset(tmp_path, header))
    ]
    assert found == expected


def test_voltage_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found v_v \(mV\); expected a column of power"):
        circuits(dataset(tmp_path, "t,v_v"))


def test_volts_times_amperes_are_counted_as_energy(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("t,v_v,i_a\n0,230,10\n60,,-2\n120,240,\n180,-1,5\n")
    column = circuits(load_dataset(path))[0].energy_column()
    assert column.quantity is Quantity.APPARENT
    assert column.values.tolist() == [2_300_000, -460_000, -480_000, 0]
    path.write_text("t,i_a\n0,10\n60,2\n")
    only = circuits(load_dataset(path))[0].energy_column()
    assert only.name == "230 V x i_a"
    assert only.values.tolist() == [2_300_000, 460_000]
