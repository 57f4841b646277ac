"""Packets per wall second that the medium carries, as JSON: `python -m bench.radio.medium_benchmark`.

LoRaSim's experiment 4 (20 B at SF12, each node idle for 1000 s on average) on one gateway, without a trace.
"""

from __future__ import annotations

import json
import time

from bench.radio.aloha import AlohaTrial, disk_attenuations_cdb
from bench.radio.reception import Outcome


def measure(nodes: int, packets: int, seed: int = 1) -> dict[str, int | float]:
    """One trial, timed."""
    trial = AlohaTrial(disk_attenuations_cdb(nodes, seed), packets, seed)
    began_s = time.perf_counter()
    outcomes = trial.run()
    elapsed_s = time.perf_counter() - began_s
    judged = outcomes.total()
    return {
        "nodes": nodes,
        "packets": judged,
        "delivered": outcomes[Outcome.DELIVERED],
        "elapsed_s": round(elapsed_s, 3),
        "packets_per_s": round(judged / elapsed_s),
    }


if __name__ == "__main__":
    print(json.dumps([measure(100, 50_000), measure(1000, 50_000)], indent=2))
