"""How much faster than real time the virtual rig runs: `python -m bench.trial_benchmark` prints JSON.

Two rigs: eight Unos with pulse sensors in one branch on one core, and a thousand in four branches on two.
"""

import json
import platform
import resource
import tempfile
import time
from pathlib import Path

from bench.rig.loader import load_rig
from bench.rig.model import Rig
from bench.trial import TrialPlan, run_trial
from bench.uno.build import build_firmware
from bench.world.simulation import NS_PER_S

RIGS = Path(__file__).parents[1] / "rigs"


def main() -> None:
    """Run both and print what was measured."""
    branch = load_rig(RIGS / "virtual.toml")
    many = branch.with_changes(unos=250, interval_s=300, data=RIGS / "datasets/swiss_households_15min.csv")
    thousand = many.model_copy(
        update={
            "branch": tuple(many.branches[0].model_copy(update={"name": f"village-{n}"}) for n in range(4))
        }
    )
    figures = {
        "host": f"real, {platform.machine()}, Python {platform.python_version()}",
        "8 Unos, 1 branch, 1 process": measure(branch, 7200, 1),
        "1000 Unos, 4 branches, 1 process": measure(thousand, 600, 1),
        "1000 Unos, 4 branches, 2 processes": measure(thousand, 600, 2),
    }
    print(json.dumps(figures, indent=2))


def measure(rig: Rig, window_s: int, processes: int) -> dict[str, float | int | str]:
    """Run one trial; the pace is by wall clock, and on one core also by this process's CPU time."""
    firmware = build_firmware()
    with tempfile.TemporaryDirectory() as directory:
        plan = TrialPlan(rig, 1, window_s * NS_PER_S, Path(directory) / "trial", processes=processes)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        outcome = run_trial(plan, firmware)
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    virtual_s = outcome.virtual_ns / NS_PER_S
    peaks_kib = [
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {
        "virtual_s": virtual_s,
        "wall_s": round(wall_s, 1),
        "times_real_time": round(virtual_s / wall_s, 1),
        **({"times_real_time_per_cpu": round(virtual_s / cpu_s, 1)} if processes == 1 else {}),
        "readings": outcome.verdict.injected,
        "peak_process_mib": max(peaks_kib) // 1024,
        "trace_sha256": outcome.trace_sha256,
    }


if __name__ == "__main__":
    main()
