"""How much faster than real time a branch runs: `python -m bench.trial_benchmark` prints one JSON object.

The rig is eight Unos with pulse sensors in one branch, everything in one process on one core.
"""

import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.rig.loader import load_rig
from bench.trial import TrialPlan, run_trial
from bench.uno.build import build_firmware
from bench.world.simulation import NS_PER_S

RIG = Path(__file__).parents[1] / "rigs/virtual.toml"
HOURS = 2


def measure(hours: int) -> dict[str, object]:
    """Run one trial and tell its pace in CPU time of this process, which a busy host does not change much."""
    rig, firmware = load_rig(RIG), build_firmware()
    with tempfile.TemporaryDirectory() as directory:
        plan = TrialPlan(rig, 1, hours * 3600 * NS_PER_S, Path(directory) / "trial")
        began_s = time.process_time()
        outcome = run_trial(plan, firmware)
        cpu_s = time.process_time() - began_s
    virtual_s = outcome.virtual_ns / NS_PER_S
    return {
        "unos": len(outcome.unos),
        "virtual_s": virtual_s,
        "cpu_s": round(cpu_s, 3),
        "times_real_time": round(virtual_s / cpu_s, 1),
        "readings": outcome.verdict.injected,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "host": f"real, {platform.machine()}, Python {platform.python_version()}, one core",
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else HOURS), indent=2))
