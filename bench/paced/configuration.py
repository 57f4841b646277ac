"""What gateways and the server of a paced rig are told: the text of their configuration files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.assembly import SERVER, pi_name, radio_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.rig.model import Branch

Scalar = str | int


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Where a node has its store, its registry and its signing key."""

    store: str
    registry: str
    signing_key: str


def gateway_text(branch: Branch, files: NodeFiles, radio: Mapping[str, Scalar], server: str) -> str:
    """TOML of a branch's gateway; `radio` says where its radio is, `server` is the server's "host:port"."""
    settings = radio_settings(branch.radio)
    return "\n".join(
        [
            *_node(pi_name(branch), files),
            *_table("[batch]", {"readings": branch.pi.batch_size, "age_s": branch.pi.batch_age_s}),
            *_table(
                "[radio]",
                {
                    **radio,
                    "frequency_hz": settings.frequency_hz,
                    "spreading_factor": settings.spreading_factor,
                    "bandwidth_khz": settings.bandwidth_khz,
                    "coding_rate": settings.coding_rate,
                    "power_dbm": settings.power_dbm,
                },
            ),
            *_table("[[peer]]", {"name": SERVER, "address": server}),
            "",
        ]
    )


def server_text(files: NodeFiles, listen: str, gateways: Mapping[str, str]) -> str:
    """TOML of the server; `gateways` are the names and addresses of those that may call it."""
    peers = [
        line
        for name, address in gateways.items()
        for line in _table("[[peer]]", {"name": name, "address": address})
    ]
    return "\n".join([*_node(SERVER, files), *_lines({"listen": listen}), *peers, ""])


def _node(name: str, files: NodeFiles) -> list[str]:
    return _lines(
        {
            "name": name,
            "store": files.store,
            "registry": files.registry,
            "signing_key": files.signing_key,
        }
    )


def _table(heading: str, values: Mapping[str, Scalar]) -> list[str]:
    return ["", heading, *_lines(values)]


def _lines(values: Mapping[str, Scalar]) -> list[str]:
    # JSON's strings and integers are TOML's as well.
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
