from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.rig.model import Radio, rig_from
from bench.rig.problem import RigError

LOGIN = {
    "host": "pi-east.example",
    "user": "bench",
    "identity": "~/.ssh/bench",
    "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
}


OUTPUT = {"voltage_mv": 5000, "current_limit_ma": 2000}


def emulated(instruments: dict[str, Any]) -> dict[str, Any]:
    raw = document(uno={"kind": "emulated", "count": 3}, pi={"kind": "emulated", "calibration": "pi.toml"})
    return {**raw, "server": {"kind": "emulated"}, "instruments": instruments}


def document(**branch: object) -> dict[str, Any]:
    return {
        "rig": {"name": "test"},
        "branch": [
            {
                "name": "east",
                "data": "house.csv",
                "sensors": {"kind": "s0", "per_uno": 4},
                "pi": {"calibration": "pi.toml"},
                **branch,
            }
        ],
    }


def faults(**branch: object) -> list[str]:
    with pytest.raises(RigError) as caught:
        rig_from(document(**branch), "test")
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_those_of_the_first_bench() -> None:
    rig = rig_from(document(), "test")
    [branch] = rig.branches
    assert (branch.uno.profile, branch.uno.count, branch.uno.interval_s) == ("collect", 1, 60)
    assert (branch.radio.spreading_factor, branch.radio.bandwidth_hz) == (7, 125_000)
    assert (branch.radio.frequency_hz, branch.radio.tx_power_dbm) == (433_175_000, 10)
    assert branch.radio.coding_rate_denominator == 5
    assert rig.server.kind == "virtual"
    assert [str(criterion) for criterion in rig.criteria.values()] == [
        "delivered >= 0.99",
        "altered == 0",
        "unaccounted == 0",
    ]


def test_a_rig_is_frozen() -> None:
    rig = rig_from(document(), "test")
    with pytest.raises(ValidationError, match="frozen"):
        rig.branches[0].uno.count = 9


@pytest.mark.parametrize(("mains", "s0_room"), [(0, 12), (1, 10), (2, 8)])
def test_mains_sensors_take_pins_from_pulse_sensors(mains: int, s0_room: int) -> None:
    def sensors(s0: int) -> list[dict[str, object]]:
        return [{"kind": "mains", "per_uno": mains}] * (mains > 0) + [{"kind": "s0", "per_uno": s0}]

    [branch] = rig_from(document(sensors=sensors(s0_room)), "test").branches
    assert (branch.mains_per_uno, branch.s0_per_uno) == (mains, s0_room)
    [fault] = faults(sensors=sensors(s0_room + 1))
    assert f"at most {s0_room}" in fault


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            {"sensors": {"kind": "mains", "per_uno": 3}},
            "branch.east.sensors: found per_uno = 3, expected 1 or 2",
        ),
        ({"sensors": []}, "branch.east.sensors: found an empty list, expected one entry or more"),
        (
            {"sensors": {"kind": "so"}},
            'found "so", expected a sensor kind: "s0" or "mains"; did you mean "s0"?',
        ),
        ({"uno": {"count": 0}}, "branch.east.uno.count: found 0, expected at least 1"),
        ({"uno": {"count": True}}, "branch.east.uno.count: found true, expected a whole number"),
        ({"uno": {"count": 1.5}}, "branch.east.uno.count: found 1.5, expected a whole number"),
        ({"uno": {"interval_s": 4}}, "branch.east.uno.interval_s: found 4, expected at least 5"),
        ({"uno": {"kind": "real"}}, "branch.east.uno: found 0 ports for 1 real Unos, expected one for each"),
        (
            {"uno": {"kind": "real", "ports": ["/dev/a"]}},
            "branch.east.uno: found 0 stimuli for 1 real Unos, expected the port of a stimulus Uno",
        ),
        (
            {"uno": {"kind": "real", "ports": ["/dev/a"], "stimuli": ["/dev/a"]}},
            "branch.east.uno: found a port twice, expected one board on each",
        ),
        (
            {"uno": {"ports": ["/dev/a"]}},
            "found ports or stimuli with virtual Unos, expected them with real ones",
        ),
        (
            {"pi": {"kind": "real", "calibration": "pi.toml"}},
            "branch.east.pi: found a real Pi without login, expected login = { host, user,",
        ),
        (
            {"pi": {"calibration": "pi.toml", "login": {**LOGIN, "host_key": "SHA256:abc"}}},
            'login.host_key: found "SHA256:abc", expected the host\'s public key',
        ),
        (
            {"pi": {"calibration": "pi.toml", "login": LOGIN}},
            "found login with a Pi that is virtual, expected it with a real one only",
        ),
        (
            {"pi": {"calibration": "pi.toml", "card_writes_per_s": 500}},
            "found card_writes_per_s with a Pi that is virtual, expected it with an emulated one",
        ),
        (
            {"uno": {"kind": "emulated"}},
            "found virtual for the server, which keeps virtual time, and emulated for the Unos of east",
        ),
        ({"uno": {"profile": "node"}}, 'the node profile does not exist yet; available: "collect"'),
        ({"uno": 8}, "branch.east.uno: found 8, expected a table"),
        (
            {"uno": {"intervall_s": 60}},
            'branch.east.uno.intervall_s: unknown key; did you mean "interval_s"?',
        ),
        ({"radio": {"spreading_factor": 13}}, "spreading_factor: found 13, expected at most 12"),
        ({"radio": {"bandwidth_khz": 126}}, "bandwidth_khz: found 126, expected one of 125, 250, 500"),
        ({"radio": {"bandwidth_khz": []}}, "bandwidth_khz: found a list, expected a number"),
        ({"radio": {"tx_power_dbm": 20}}, "tx_power_dbm: found 20, expected 2 to 17"),
        ({"radio": {"loss": 1.1}}, "loss: found 1.1, expected at most 1"),
        ({"radio": {"loss": float("nan")}}, "branch.east.radio.loss: "),
        (
            {"radio": {"loss": 0.1, "burst": {"enter": 0.1, "leave": 0.5}}},
            "found loss and burst, expected one",
        ),
        ({"radio": {"chip": "hc12"}}, 'the HC-12 does not exist yet; available: "sx1278"'),
        ({"radio": {"mac": "tdma"}}, "beaconed TDMA does not exist yet"),
        (
            {"uplink": {"outages": [[5, 3]]}},
            "branch.east.uplink.outages[1]: found [5, 3], expected an end after",
        ),
        ({"uplink": {"outages": [[1, 5], [4, 9]]}}, "expected outages in order and without overlap"),
        ({"uplink": {"outages": [[1]]}}, "found 1 numbers, expected [from_s, to_s]"),
        ({"name": "../east"}, "expected a name of 1 to 32 letters"),
    ],
)
def test_a_fault_names_its_key_and_what_was_expected(table: dict[str, object], expected: str) -> None:
    [fault] = faults(**table)
    assert expected in fault


def test_all_faults_are_told_at_once_and_branches_go_by_name() -> None:
    rig = document(uno={"count": 0}, radio={"spreading_factor": 6})
    rig["branch"].append({**rig["branch"][0], "name": "west", "pi": {}})
    rig["criteria"] = {"deliverd": ">= 1", "altered": "none"}
    rig["sever"] = {}
    with pytest.raises(RigError) as caught:
        rig_from(rig, "rig.toml")
    assert [problem.key for problem in caught.value.problems] == [
        "branch.east.uno.count",
        "branch.east.radio.spreading_factor",
        "branch.west.uno.count",
        "branch.west.radio.spreading_factor",
        "branch.west.pi.calibration",
        "criteria.deliverd",
        "criteria.altered",
        "sever",
    ]
    assert str(caught.value).startswith("rig.toml: 8 problems\n")


def test_branch_names_are_unique() -> None:
    rig = document()
    rig["branch"] *= 2
    with pytest.raises(RigError, match='branch name "east" stands twice'):
        rig_from(rig, "test")


def test_a_rig_needs_a_branch() -> None:
    with pytest.raises(RigError, match="branch: found an empty list"):
        rig_from({"rig": {"name": "x"}, "branch": []}, "test")


def test_changes_reach_every_branch_and_leave_the_rig_alone() -> None:
    raw = document(
        sensors=[{"kind": "s0", "per_uno": 2}, {"kind": "mains"}],
        radio={"spreading_factor": 9, "burst": {"enter": 0.01, "leave": 0.5}},
    )
    raw["branch"].append({**raw["branch"][0], "name": "west"})
    rig = rig_from(raw, "test")
    changed = rig.with_changes(data=Path("other.csv"), loss=0.25, unos=3, sensors_per_uno=5, interval_s=30)
    for branch in changed.branches:
        assert branch.data == Path("other.csv")
        assert (branch.radio.loss_ppm, branch.radio.burst) == (250_000, None)
        assert branch.radio.ack_timeout_ms == rig.branches[0].radio.ack_timeout_ms
        assert (branch.uno.count, branch.uno.interval_s) == (3, 30)
        assert (branch.s0_per_uno, branch.mains_per_uno) == (5, 1)
    assert rig.with_changes() == rig
    assert rig.branches[0].uno.count == 1


def test_seats_of_the_wall_clock_are_mixed_freely_and_named_by_the_least_real() -> None:
    raw = document(uno={"kind": "emulated"}, pi={"kind": "emulated", "calibration": "pi.toml"})
    assert not rig_from(document(), "test").is_paced
    raw["server"] = {"kind": "emulated"}
    rig = rig_from(raw, "test")
    assert (rig.is_paced, rig.kind) == (True, "emulated")
    real_pi = {"kind": "real", "calibration": "pi.toml", "login": LOGIN}
    lined_pi = {**real_pi, "radio": "serial:/dev/ttyUSB1", "bench_line": "/dev/ttyUSB0"}
    mixed = document(uno={"kind": "emulated"}, pi=lined_pi)
    mixed["server"] = {"kind": "real", "login": LOGIN, "endpoint": "vpn.example:51820"}
    assert rig_from(mixed, "test").kind == "emulated"
    mixed["branch"][0]["pi"] = real_pi
    mixed["branch"][0]["uno"] = {
        "kind": "real",
        "ports": ["/dev/ttyACM0", "/dev/ttyACM1"],
        "stimuli": ["/dev/ttyACM2", "/dev/ttyACM3"],
    }
    rig = rig_from(mixed, "test")
    assert (rig.kind, rig.branches[0].uno.count) == ("real", 2)
    assert rig.with_changes(unos=1).branches[0].uno.ports == ("/dev/ttyACM0",)
    with pytest.raises(RigError, match="found 2 ports for 3 real Unos"):
        rig.with_changes(unos=3)
    mixed["branch"][0]["pi"] = {"kind": "emulated", "calibration": "pi.toml"}
    with pytest.raises(
        RigError, match="found real Unos with an emulated Pi, which has no radio to hear them"
    ):
        rig_from(mixed, "test")


REAL_PI = {"kind": "real", "calibration": "pi.toml", "login": LOGIN}
REAL_UNO = {"kind": "real", "ports": ["/dev/ttyACM0"], "stimuli": ["/dev/ttyACM1"]}


@pytest.mark.parametrize(
    ("uno", "pi", "expected"),
    [
        (
            {"kind": "emulated"},
            {**REAL_PI, "radio": "serial:/dev/ttyUSB1"},
            "branch.east: found a real Pi among emulated Unos without pi.bench_line, expected the bench's",
        ),
        (
            {"kind": "emulated"},
            {**REAL_PI, "bench_line": "/dev/ttyUSB0"},
            'branch.east: found a real Pi among emulated Unos with its radio at "spidev:0.0",'
            ' expected pi.radio = "serial:..."',
        ),
        (
            REAL_UNO,
            {**REAL_PI, "bench_line": "/dev/ttyUSB0"},
            "branch.east: found pi.bench_line with real Unos, expected it with emulated ones only",
        ),
        (
            REAL_UNO,
            {**REAL_PI, "radio": "hc12:/dev/ttyUSB0"},
            "branch.east: found an HC-12 at the Pi, expected pi.radio with the chip of the Unos, sx1278",
        ),
        (
            REAL_UNO,
            {"kind": "emulated", "calibration": "pi.toml"},
            "branch.east: found real Unos with an emulated Pi, which has no radio to hear them",
        ),
    ],
)
def test_unos_and_pi_share_one_air(uno: dict[str, object], pi: dict[str, object], expected: str) -> None:
    [fault] = faults(uno=uno, pi=pi)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    "radio", ["spidv:0.0", "spidev:0", "serial:", "serial:ttyUSB0", "/dev/ttyUSB0", "hc12:x"]
)
def test_a_radio_port_that_no_gateway_knows_is_refused(radio: str) -> None:
    [fault] = faults(uno=REAL_UNO, pi={**REAL_PI, "radio": radio})
    assert fault.startswith(f'branch.east.pi.radio: found "{radio}", expected "spidev:0.0", "serial:/dev')


@pytest.mark.parametrize("endpoint", ["vpn.example", "vpn.example:51820/udp", "vpn.example:518200", ":1"])
def test_an_endpoint_is_host_and_port(endpoint: str) -> None:
    raw = document(uno=REAL_UNO, pi=REAL_PI)
    raw["server"] = {"kind": "real", "login": LOGIN, "endpoint": endpoint}
    with pytest.raises(RigError, match=f'server.endpoint: found "{endpoint}", expected host and port'):
        rig_from(raw, "test")


def test_a_stimulus_uno_plays_no_alternating_current() -> None:
    [fault] = faults(uno=REAL_UNO, pi=REAL_PI, sensors={"kind": "mains", "per_uno": 1})
    assert fault.startswith('branch.east: found sensors of kind "mains" with real Unos, expected kind "s0"')


def test_real_unos_are_not_judged_by_what_nobody_sees() -> None:
    raw = document(uno=REAL_UNO, pi=REAL_PI)
    raw["server"] = {"kind": "emulated"}
    raw["criteria"] = {"airtime_duty_gateway": "<= 0.1"}
    with pytest.raises(RigError, match="found airtime_duty_gateway among the criteria of real Unos"):
        rig_from(raw, "test")


def test_only_the_loopback_does_without_a_vpn() -> None:
    raw = document(uno=REAL_UNO, pi=REAL_PI)
    raw["server"] = {"kind": "emulated", "vpn": "none"}
    with pytest.raises(RigError, match='found vpn = "none" with the real Pi of east, expected "wireguard"'):
        rig_from(raw, "test")
    raw["branch"][0] = emulated({})["branch"][0] | {"uplink": {"outages": [[1, 2]]}}
    with pytest.raises(RigError, match='found vpn = "none" with an uplink for east, expected "wireguard"'):
        rig_from(raw, "test")
    raw["server"] = {"kind": "real", "vpn": "none", "login": LOGIN, "endpoint": "vpn.example:51820"}
    with pytest.raises(RigError, match='server: found vpn = "none" with a real server'):
        rig_from(raw, "test")


@pytest.mark.parametrize(
    ("instruments", "expected"),
    [
        (
            {"supply": [{"kind": "real", "resource": "ASRL1", **OUTPUT, "feeds": ["east/uno-1"]}]},
            'found "east/uno-1", which is emulated, on the leads of a supply that is real',
        ),
        (
            {"attenuator": [{"kind": "real", "resource": "ASRL2", "branch": "east"}]},
            'found an attenuator that is real for "east", whose air is emulated',
        ),
        (
            {"supply": [{"kind": "emulated", **OUTPUT, "feeds": ["east/uno-0"]}]},
            'found a supply that feeds "east/uno-0", which this rig does not have',
        ),
    ],
)
def test_instruments_belong_to_seats_of_their_kind(instruments: dict[str, Any], expected: str) -> None:
    with pytest.raises(RigError, match=expected):
        rig_from(emulated(instruments), "test")


def test_an_emulated_attenuator_is_path_loss_in_the_branchs_air_and_in_the_twins() -> None:
    rig = rig_from(
        emulated({"attenuator": [{"kind": "emulated", "branch": "east", "attenuation_db": 12.25}]}), "test"
    )
    [branch] = rig.branches
    assert branch.radio.path_loss_cdb == 10_000
    assert rig.attenuated(branch).radio.path_loss_cdb == 11_225
    assert rig.virtual_twin().branches[0].radio.path_loss_cdb == 11_225


def test_fewer_unos_leave_the_supplys_leads() -> None:
    feeds = ["east/uno-1", "east/pi", "east/uno-3"]
    rig = rig_from(emulated({"supply": [{"kind": "emulated", **OUTPUT, "feeds": feeds}]}), "test")
    assert rig.with_changes(unos=2).instruments.supply[0].feeds == ("east/uno-1", "east/pi")
    assert rig.with_changes(unos=5).instruments == rig.instruments
    assert rig.supply_of("east/pi") == rig.instruments.supply[0]
    assert rig.supply_of("east/uno-2") is None


def test_changes_keep_the_limits() -> None:
    rig = rig_from(document(), "test")
    with pytest.raises(RigError, match=r"branch\.east\.sensors\[1\]\.per_uno: found 13, expected at most 12"):
        rig.with_changes(sensors_per_uno=13)
    with pytest.raises(RigError, match=r"branch\.east\.radio\.loss: found -0\.1, expected at least 0"):
        rig.with_changes(loss=-0.1)


@given(spreading_factor=st.integers(7, 12), coding_rate=st.integers(5, 8))
def test_the_default_ack_timeout_covers_the_acknowledgement(spreading_factor: int, coding_rate: int) -> None:
    radio = Radio.model_validate({"spreading_factor": spreading_factor, "coding_rate": f"4/{coding_rate}"})
    # Time on air of 19 bytes at 125 kHz with CRC and explicit header, written out as in Semtech AN1200.13.
    symbol_ms = 2**spreading_factor / 125
    low_rate = 2 if symbol_ms > 16 else 0
    per_block = 4 * (spreading_factor - low_rate)
    payload = 8 + max(0, -(-(8 * 19 - 4 * spreading_factor + 28 + 16) // per_block)) * coding_rate
    assert radio.ack_timeout_ms >= (8 + 4.25 + payload) * symbol_ms + 200


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["rig", "branch", "name", "uno", "radio", "sensors", "criteria", "uplink", "outages", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_document_gets_more_than_a_clear_refusal(value: object) -> None:
    for candidate in ({"branch": value}, document(uno=value, radio=value, uplink=value), value):
        try:
            rig_from(candidate, "test")  # type: ignore[arg-type]  # anything at all
        except RigError as error:
            problems = error.problems
        else:
            continue
        assert problems
