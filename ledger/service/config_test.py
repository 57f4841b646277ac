from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from ledger.gateway.gateway import BatchRule
from ledger.gateway.sx1278 import RadioSettings
from ledger.service import config
from ledger.service.config import (
    AdmittedPeer,
    CalledPeer,
    ConfigError,
    GatewayConfig,
    Hc12Port,
    HostPort,
    SerialWires,
    ServerConfig,
    SpidevWires,
    load,
    load_gateway,
    load_server,
)

NODE = """
name = "east"
store = "east.db"
registry = "/srv/registry.json"
signing_key = "keys/east.key"
"""
GATEWAY = f"""{NODE}
[batch]
readings = 32
age_s = 0.1
[radio]
port = "spidev:0.1"
dio0_gpio = 25
reset_gpio = 17
frequency_hz = 434_000_000
spreading_factor = 9
bandwidth_khz = 250
coding_rate = 6
power_dbm = 14
[[peer]]
name = "server"
address = "198.18.0.1:7400"
[[peer]]
name = "spare"
address = "[fd00::1]:7400"
"""
SERVER = f"""{NODE}
listen = "198.18.0.1:7400"
[[peer]]
name = "west"
address = "198.18.0.7"
[[peer]]
name = "north"
address = "fd00::7"
"""
SMALLEST = f'{NODE}\n[radio]\nport = "serial:/dev/ttyS1"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "ledger.toml"
    file.write_text(text)
    return file


def test_a_gateway_in_full(tmp_path: Path) -> None:
    found = load_gateway(written(tmp_path, GATEWAY))
    assert found.node.store == tmp_path / "east.db"
    assert found.node.registry == Path("/srv/registry.json")
    assert found.node.signing_key == tmp_path / "keys/east.key"
    assert found.batch == BatchRule(32, 100_000_000)
    assert found.wires == SpidevWires(0, 1, 25, 17)
    assert found.settings == RadioSettings(434_000_000, 9, 250, 6, power_dbm=14)
    assert found.peers == (
        CalledPeer("server", HostPort("198.18.0.1", 7400)),
        CalledPeer("spare", HostPort("fd00::1", 7400)),
    )
    assert [str(peer.address) for peer in found.peers] == ["198.18.0.1:7400", "[fd00::1]:7400"]


def test_a_server_in_full(tmp_path: Path) -> None:
    found = load_server(written(tmp_path, SERVER))
    assert found.listen == HostPort("198.18.0.1", 7400)
    assert found.peers == (
        AdmittedPeer("west", ipaddress.ip_address("198.18.0.7")),
        AdmittedPeer("north", ipaddress.ip_address("fd00::7")),
    )


def test_either_is_told_by_listen(tmp_path: Path) -> None:
    assert isinstance(load(written(tmp_path, GATEWAY)), GatewayConfig)
    assert isinstance(load(written(tmp_path, SERVER)), ServerConfig)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    found = load_gateway(written(tmp_path, SMALLEST))
    assert (found.batch, found.settings, found.peers) == (BatchRule(), RadioSettings(), ())
    assert found.wires == SerialWires("/dev/ttyS1")


def test_the_example_in_the_documentation_is_one(tmp_path: Path) -> None:
    lines = [line for line in (config.__doc__ or "").splitlines() if line.startswith("    ")]
    left = "\n".join(line[4:44] for line in lines)
    right = "\n".join(line[45:] for line in lines)
    assert load_gateway(written(tmp_path, left)).wires == SpidevWires(0, 0, 25, 17)
    assert [peer.name for peer in load_server(written(tmp_path, right)).peers] == ["east"]


@pytest.mark.parametrize(
    ("port", "wires"),
    [
        ("serial:/dev/virtio-ports/radio", SerialWires("/dev/virtio-ports/radio")),
        ("serial:socket://127.0.0.1:9000", SerialWires("socket://127.0.0.1:9000")),
        ("serial:rfc2217://lab:9000", SerialWires("rfc2217://lab:9000")),
        ("hc12:/dev/ttyUSB0", Hc12Port("/dev/ttyUSB0")),
    ],
)
def test_radios(tmp_path: Path, port: str, wires: object) -> None:
    assert load_gateway(written(tmp_path, SMALLEST.replace("serial:/dev/ttyS1", port))).wires == wires


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "east"', "", "key name is missing; it must be a name of 1 to 64"),
        ('name = "east"', 'name = "ea\\nst"', r"key name is 'ea\\nst'; it must be"),
        ('name = "east"', 'name = "server"', "own name 'server'"),
        ('store = "east.db"', "store = 7", "key store is 7; it must be the path of a file"),
        ('store = "east.db"', 'stor = "east.db"', "key store is missing"),
        (
            "[batch]",
            'colour = "red"\n[batch]',
            "key colour is not known here; remove it, or write one of: batch",
        ),
        ("readings = 32", "readings = 0", "key batch.readings is 0; it must be a whole number of 1 to 256"),
        ("readings = 32", "readings = true", "key batch.readings is True; it must be a whole number"),
        ("age_s = 0.1", "age_s = -0.5", "key batch.age_s is -0.5; it must be a number of seconds from 0"),
        ("age_s = 0.1", "age_s = nan", "key batch.age_s is NaN"),
        ("age_s = 0.1", "age_s = inf", "key batch.age_s is Infinity"),
        ("[radio]", "[wireless]", "key radio is missing; it must be a table"),
        ("spidev:0.1", "spi:0.1", "key radio.port is 'spi:0.1'; it must be \"spidev:0.0\""),
        ("spidev:0.1", "spidev:0", "key radio.port is 'spidev:0'"),
        ("dio0_gpio = 25", "", "key radio.dio0_gpio is missing; it must be a whole number of 0 to 53"),
        (
            "spreading_factor = 9",
            "spreading_factor = 6",
            "key radio.spreading_factor is 6; it must be 7 to 12",
        ),
        ("power_dbm = 14", "power_dbm = 19", "key radio.power_dbm is 19; PA_BOOST gives"),
        ("power_dbm = 14", "power_w = 1", "key radio.power_w is not known here"),
        ("198.18.0.1:7400", "198.18.0.1", "key peer 1: address is '198.18.0.1'; it must be host and port"),
        ("198.18.0.1:7400", "198.18.0.1:70000", "it must be host and port"),
        ('name = "spare"', 'name = "server"', "two peers are named 'server'"),
        ('name = "spare"', 'nom = "spare"', "key peer 2: name is missing"),
        ('[[peer]]\nname = "server"', '[peer]\nname = "server"', "not TOML"),
        ("[batch]", "[batch", "is not TOML: .*line"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GATEWAY
    file = written(tmp_path, GATEWAY.replace(old, new, 1))
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}: ") as raised:
        load_gateway(file)
    assert re.search(message, str(raised.value)), str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("198.18.0.7", "198.18.0.7:7400", "without a port"),
        ("198.18.0.7", "west.example", "key peer 1: address is 'west.example'"),
        ('listen = "198.18.0.1:7400"', "", "key listen is missing; it must be host and port"),
        ("[[peer]]", "[radio]\nport = 1\n[[peer]]", "key radio is not known here"),
    ],
)
def test_each_mistake_of_a_server_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SERVER
    with pytest.raises(ConfigError, match=message):
        load_server(written(tmp_path, SERVER.replace(old, new, 1)))


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file or directory; give the path"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\xfe" * 50)
    with pytest.raises(ConfigError, match="is not TOML"):
        load(noise)
    noise.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="over 1048576 bytes"):
        load(noise)


def test_what_is_quoted_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(written(tmp_path, GATEWAY.replace("spidev:0.1", "x" * 5000)))
    assert len(str(raised.value)) < 500
