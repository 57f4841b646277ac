"""What eight emulated Unos cost the host: `python -m bench.uno.emulated_benchmark` prints JSON."""

import json
import time

from bench.uno.conftest import KEY, Desk, firmware, programmed
from bench.uno.provisioning import Provisioning

UNOS = 8
WINDOW_S = 10


def main() -> None:
    """Measure and print."""
    figures = {
        "host CPU for 8 Unos, one frame an hour": measure(3_600, ac_count=0),
        "host CPU for 8 Unos, one frame every 5 s": measure(5, ac_count=0),
        "host CPU for 8 Unos, two AC channels each": measure(60, ac_count=2),
    }
    print(json.dumps(figures, indent=2))


def measure(interval_s: int, ac_count: int) -> dict[str, float]:
    """Share of one core's time, and the largest lag of the paced world."""
    desk = Desk()
    for index in range(UNOS):
        provisioning = Provisioning(
            uno_id=index + 1, key=KEY, interval_s=interval_s, ac_count=ac_count, s0_count=4
        )
        board = desk.board(f"uno-{index + 1}", programmed(firmware(), provisioning))
        desk.power_on(board, index * 100_000_000)
    desk.world.start()
    time.sleep(2)
    desk.world.call(lambda: setattr(desk.world, "largest_lag_ns", 0))
    began_s, spent_s = time.monotonic(), time.process_time()
    time.sleep(WINDOW_S)
    share = (time.process_time() - spent_s) / (time.monotonic() - began_s)
    lag_ms = desk.world.largest_lag_ns / 1e6
    desk.close()
    return {"share of one core": round(share, 4), "largest lag in ms": round(lag_ms, 1)}


if __name__ == "__main__":
    main()
