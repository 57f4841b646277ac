"""The configuration of a gateway and of a server, in TOML; all of it is checked before anything starts.

A gateway listens to a radio and calls its peers; a server is called by them::

    name = "east"                            name = "server"
    store = "east.db"                        store = "server.db"
    registry = "registry.json"               registry = "registry.json"
    signing_key = "east.key"                 signing_key = "server.key"
                                             listen = "198.18.0.1:7400"
    [batch]
    readings = 64                            [[peer]]
    age_s = 60                               name = "east"
                                             address = "198.18.0.7"
    [radio]
    port = "spidev:0.0"
    dio0_gpio = 25
    reset_gpio = 17
    frequency_hz = 433_175_000
    spreading_factor = 7
    bandwidth_khz = 125
    coding_rate = 5
    power_dbm = 10

    [[peer]]
    name = "server"
    address = "198.18.0.1:7400"

``batch``, all radio settings, ``reset_gpio`` and the peers may be left out. Other radios are
``port = "serial:ADDRESS"``, an SX1278 behind a serial line, and ``port = "hc12:ADDRESS"``; for the addresses
see :mod:`ledger.gateway.byte_stream`. Relative paths start from the folder of the file.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.block import MAX_BATCH
from ledger.gateway.gateway import BatchRule
from ledger.gateway.sx1278 import RadioSettingError, RadioSettings
from ledger.registry import MAX_NAME_CHARACTERS
from ledger.service.table import ConfigError, Table

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ConfigError", "GatewayConfig", "ServerConfig", "load", "load_gateway", "load_server"]

LONGEST_AGE_S: Final = 86_400
HIGHEST_GPIO: Final = 53
"""The last of the processor's lines on all Pis up to the 4."""
HIGHEST_PORT: Final = 65_535

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class SpidevWires:
    """An SX1278 on the Pi's own pins."""

    bus: int
    chip_select: int
    dio0_gpio: int
    reset_gpio: int | None


@dataclass(frozen=True, slots=True)
class SerialWires:
    """An SX1278 behind a serial line (:mod:`ledger.gateway.spi_line`)."""

    address: str


@dataclass(frozen=True, slots=True)
class Hc12Port:
    """An HC-12 on a serial port."""

    address: str


Wires = SpidevWires | SerialWires | Hc12Port


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address of TCP."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CalledPeer:
    """A peer that this node calls."""

    name: str
    address: HostPort


@dataclass(frozen=True, slots=True)
class AdmittedPeer:
    """A peer that may call this node, from one address that the tunnel vouches for."""

    name: str
    address: IpAddress


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What every node has. ``file`` is where it was read from."""

    file: Path
    name: str
    store: Path
    registry: Path
    signing_key: Path


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """A gateway's configuration. The settings say nothing to an HC-12, which keeps its own."""

    node: NodeConfig
    batch: BatchRule
    wires: Wires
    settings: RadioSettings
    peers: tuple[CalledPeer, ...]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A server's configuration."""

    node: NodeConfig
    listen: HostPort
    peers: tuple[AdmittedPeer, ...]


def load(file: Path) -> GatewayConfig | ServerConfig:
    """Read either: a file with the key ``listen`` is a server's. Raises ConfigError."""
    table = Table.read(file)
    return _server(table) if "listen" in table else _gateway(table)


def load_gateway(file: Path) -> GatewayConfig:
    """Read a gateway's configuration. Raises ConfigError."""
    return _gateway(Table.read(file))


def load_server(file: Path) -> ServerConfig:
    """Read a server's configuration. Raises ConfigError."""
    return _server(Table.read(file))


def _gateway(table: Table) -> GatewayConfig:
    node = _node(table)
    batch = table.table("batch", required=False)
    rule = BatchRule(
        batch.integer("readings", 1, MAX_BATCH, BatchRule().readings),
        batch.seconds("age_s", LONGEST_AGE_S, BatchRule().age_ns),
    )
    batch.close()
    radio = table.table("radio", required=True)
    wires = _wires(radio)
    settings = _settings(radio)
    radio.close()
    peers = tuple(_called(entry) for entry in table.tables("peer"))
    _check_names(table, node, [peer.name for peer in peers])
    table.close()
    return GatewayConfig(node, rule, wires, settings, peers)


def _server(table: Table) -> ServerConfig:
    node = _node(table)
    listen = _host_port(table, "listen")
    peers = tuple(_admitted(entry) for entry in table.tables("peer"))
    _check_names(table, node, [peer.name for peer in peers])
    table.close()
    return ServerConfig(node, listen, peers)


def _node(table: Table) -> NodeConfig:
    return NodeConfig(
        table.file, _name(table), table.path("store"), table.path("registry"), table.path("signing_key")
    )


def _name(table: Table) -> str:
    def parse(text: str) -> str:
        if not 1 <= len(text) <= MAX_NAME_CHARACTERS or not text.isprintable() or not text.isascii():
            raise ValueError
        return text

    return table.text("name", parse, f"a name of 1 to {MAX_NAME_CHARACTERS} printable ASCII characters")


def _called(table: Table) -> CalledPeer:
    peer = CalledPeer(_name(table), _host_port(table, "address"))
    table.close()
    return peer


def _admitted(table: Table) -> AdmittedPeer:
    expected = 'the IP address of the peer in the tunnel, without a port, like "198.18.0.7"'
    peer = AdmittedPeer(_name(table), table.text("address", ipaddress.ip_address, expected))
    table.close()
    return peer


def _check_names(table: Table, node: NodeConfig, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{table.file}: two peers are named {name!r}; give each a name of its own")
        if name == node.name:
            raise ConfigError(f"{table.file}: a peer has this node's own name {name!r}; give it another one")


def _host_port(table: Table, key: str) -> HostPort:
    def parse(text: str) -> HostPort:
        matched = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", text)
        if not matched or not 1 <= int(matched[3]) <= HIGHEST_PORT:
            raise ValueError
        return HostPort(matched[1] or matched[2], int(matched[3]))

    return table.text(key, parse, 'host and port, like "198.18.0.1:7400" or "[fd00::1]:7400"')


def _wires(radio: Table) -> Wires:
    def parse(text: str) -> tuple[str, str]:
        kind, _, address = text.partition(":")
        form = {
            "spidev": r"\d{1,3}\.\d{1,3}",
            "serial": r"(/|socket://|rfc2217://).+",
            "hc12": r"(/|socket://|rfc2217://).+",
        }
        if kind not in form or not re.fullmatch(form[kind], address):
            raise ValueError
        return kind, address

    kind, address = radio.text(
        "port",
        parse,
        '"spidev:0.0", "serial:/dev/ttyUSB0", "serial:socket://HOST:PORT" or "hc12:/dev/ttyUSB0"',
    )
    # Other radios have no pins of the Pi; the keys may stay in the file when the port is changed.
    dio0_gpio = radio.integer("dio0_gpio", 0, HIGHEST_GPIO, None if kind == "spidev" else 0)
    reset_gpio = radio.optional_integer("reset_gpio", 0, HIGHEST_GPIO)
    if kind == "spidev":
        bus, _, chip_select = address.partition(".")
        return SpidevWires(int(bus), int(chip_select), dio0_gpio, reset_gpio)
    return SerialWires(address) if kind == "serial" else Hc12Port(address)


def _settings(radio: Table) -> RadioSettings:
    usual = RadioSettings()

    def number(key: str) -> int:
        return radio.integer(key, -(2**31), 2**31, getattr(usual, key))

    try:
        return RadioSettings(
            frequency_hz=number("frequency_hz"),
            spreading_factor=number("spreading_factor"),
            bandwidth_khz=number("bandwidth_khz"),
            coding_rate=number("coding_rate"),
            power_dbm=number("power_dbm"),
        )
    except RadioSettingError as error:
        raise ConfigError(f"{radio.file}: key radio.{error}") from None
