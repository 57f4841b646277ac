"""What the bench writes, the ledger's own reader takes."""

from __future__ import annotations

from pathlib import Path

from bench.paced.configuration import NodeFiles, gateway_text, server_text
from bench.rig.loader import load_rig
from ledger.gateway.sx1278 import RadioSettings
from ledger.service.config import load_gateway, load_server

RIG = Path(__file__).parents[2] / "rigs/virtual.toml"
FILES = NodeFiles("/srv/gateway.db", "registry.json", "signing.key")


def test_a_gateway_reads_what_was_written_for_it(tmp_path: Path) -> None:
    [branch] = load_rig(RIG).branches
    file = tmp_path / "gateway.toml"
    file.write_text(gateway_text(branch, FILES, {"port": "spidev:0.1", "dio0_gpio": 25}, "198.18.0.1:7400"))
    config = load_gateway(file)
    assert config.node.name == "east/pi"
    assert (config.node.store, config.node.registry) == (Path("/srv/gateway.db"), tmp_path / "registry.json")
    assert config.settings == RadioSettings()
    assert (config.batch.readings, config.batch.age_ns) == (64, 10_000_000_000)
    [peer] = config.peers
    assert (peer.name, str(peer.address)) == ("server", "198.18.0.1:7400")


def test_a_server_reads_what_was_written_for_it(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    gateways = {"east/pi": "198.18.0.7", "west/pi": "198.18.0.8"}
    file.write_text(server_text(FILES, "198.18.0.1:7400", gateways))
    config = load_server(file)
    assert (config.node.name, str(config.listen)) == ("server", "198.18.0.1:7400")
    assert {peer.name: str(peer.address) for peer in config.peers} == gateways
