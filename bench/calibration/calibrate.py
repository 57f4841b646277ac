"""One calibration of one Pi: the ledger is brought there, measures itself, and goes again."""

from __future__ import annotations

import contextlib
import datetime
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.calibration.document import CalibrationError, calibration_from, file_text
from bench.calibration.residuals import Residual, residuals
from bench.pi.deployed.deployment import install_release
from bench.pi.deployed.release import build_release
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.pi.ssh import SshSeat
    from bench.rig.calibration import Calibration

MEASURING_S: Final = 600.0
"""Longest that a measurement may take, on an emulated Pi on a busy host."""
FOLDER: Final = "/var/tmp"
"""On the card on a Raspberry Pi OS and on Debian, unlike /tmp, which may be memory."""

EMULATED_BOARD: Final = "QEMU Cortex-A53, instruction clock"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one calibration found."""

    calibration: Calibration
    kept: frozenset[str]
    residuals: list[Residual]
    measured: dict[str, Any]

    @property
    def costs(self) -> dict[str, float]:
        """The measured costs, ns, not rounded."""
        return {name: entry["cost_ns"] for name, entry in self.measured["operation"].items()}


def calibrate(
    seat: SshSeat,
    cache: Path,
    published: Calibration,
    *,
    emulated: bool,
    spi: str | None = None,
    tell: Callable[[str], None],
) -> Outcome:
    """Measure on a machine that is up, and compare with published figures.

    Whatever is deployed there goes on as it is; `spi` as in :func:`measure_on`. Raises InfrastructureError
    and CalibrationError.
    """
    tell("looking at the machine")
    version = seat.run(
        "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'; uname -m", check=False
    )
    if version.status or len(version.output.split()) != 2:
        raise InfrastructureError(
            seat.target.name, "there is no python3 on it", "install Python: apt-get install python3"
        )
    python_version, platform = version.output.split()
    tell("bringing the ledger to it")
    folder = install_release(seat, build_release(cache, python_version, platform))
    tell("measuring")
    measured = measure_on(seat, folder, spi)
    board = EMULATED_BOARD if emulated else measured["board"]["model"]
    today = datetime.date.today().isoformat()
    calibration, kept = calibration_from(measured, published, board=board, date=today)
    return Outcome(calibration, kept, residuals(calibration, published, kept), measured)


def measure_on(seat: SshSeat, release_folder: str, spi: str | None = None) -> dict[str, Any]:
    """Run the ledger's own measurement out of a release's folder; return its document.

    `spi` is bus and chip select of the radio, as "0.0", where there is one on the board's own pins.
    """
    site = shlex.quote(f"{release_folder}/site")
    port = f" --spi {shlex.quote(spi)}" if spi is not None else ""
    finished = seat.run(
        # A fixed seed of hashes: without it dictionaries of bytes are laid out anew in every run.
        f"cd {FOLDER} && env -i PATH=/usr/bin:/bin PYTHONHASHSEED=0 PYTHONPATH={site}"
        f" python3 -S -P -B -m ledger.measure --json --folder {FOLDER}{port}",
        timeout_s=MEASURING_S,
        check=False,
    )
    if finished.status:
        raise InfrastructureError(
            seat.target.name,
            f"the measurement ended with {finished.status} ({finished.last_words})",
            "mend what it says and calibrate again",
            retry_helps=True,
        )
    try:
        document: dict[str, Any] = json.loads(finished.output)
    except ValueError:
        raise CalibrationError(
            f"{seat.target.name}: the measurement printed no JSON: deploy the same checkout"
        ) from None
    return document


def text_of(outcome: Outcome, *, emulated: bool) -> str:
    """Return the calibration file of an outcome, whose head says how it was made."""
    board = outcome.measured["board"]
    how = (
        "QEMU's cortex-a53 (-icount shift=0,sleep=off: 1 ns is 1 instruction)."
        if emulated
        else f"the board itself ({board['model']})."
    )
    comments = [
        "What the gateway's software costs on the Pi named below, made by `bench calibrate --rig FILE`.",
        "",
        f"Measured by `python -m ledger.measure` on {how}",
        f"Python {board['python']}, SQLite {board['sqlite']}, Linux {board['kernel']}; CPU time of one core,"
        f" {outcome.measured['rounds']} rounds.",
        "cost_ns is counted once per `per`. spread is the standard deviation of the cost's natural logarithm",
        "over the rounds: how well the figure repeats, not how far another board is from it.",
    ]
    comments += [f"Doubt: {doubt}." for doubt in outcome.measured["doubts"]]
    return file_text(outcome.calibration, comments)


def write_file(path: Path, text: str) -> None:
    """Write the file whole or not at all. Raises CalibrationError."""
    fresh = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise CalibrationError(
            f"{path}: cannot be written ({error.strerror}): name another file by --output"
        ) from None
