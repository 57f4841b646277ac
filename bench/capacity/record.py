"""Turns what trials showed into the result model of `capacity.json`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bench.capacity import result
from bench.capacity.figures import awake_share, bound_by, broken, busy_share, channel_load, figures_of
from bench.capacity.search import PPM
from bench.rig.calibration import load_calibration
from bench.rig.model import Rig
from bench.trial import TrialOutcome
from bench.uno.atmega328p import CLOCK_HZ
from bench.uno.image import BOOTLOADER_BYTES, FLASH_BYTES, SRAM_END, SRAM_START, FirmwareImage
from bench.world.simulation import NS_PER_MS, NS_PER_S
from ledger.effects import Operation
from ledger.frame import FrameId, Kind, Snapshot, Status

ON_CHIP = "ATmega328P datasheet"
ON_AIR = "SX1278 datasheet"

_DUTY_LIMIT_PPM = 100_000
"""433.05 to 434.79 MHz, 10 mW ERP: 10 % (ERC Recommendation 70-03)."""

_UNO_LABEL = result.Label(result.Kind.VIRTUAL, ON_CHIP)
_AIR_LABEL = result.Label(result.Kind.VIRTUAL, ON_AIR)
_COUNTED = result.Label(result.Kind.VIRTUAL)


def label_of(rig: Rig) -> result.Label:
    """The label of a figure that the whole branch makes: the Pi's calibration is its weakest part."""
    return result.Label(result.Kind.VIRTUAL, rig.branches[0].pi.calibration.stem)


def calibrations_of(rig: Rig) -> tuple[result.Calibration, ...]:
    """Everything that a figure of this rig may name as what it is calibrated by."""
    found = [
        result.Calibration(
            ON_CHIP, "Arduino Uno", "cycle counts of DS40002061, checked per instruction and peripheral"
        ),
        result.Calibration(
            ON_AIR, "SX1278 module", "time on air and thresholds of the datasheet and AN1200.13"
        ),
    ]
    for path in sorted({branch.pi.calibration for branch in rig.branches}):
        calibration = load_calibration(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(
            result.Calibration(path.stem, calibration.board, calibration.label, calibration.date, digest)
        )
    return tuple(found)


def rig_of(rig: Rig, path: Path) -> result.Rig:
    """The rig file, whole."""
    content = path.read_bytes()
    return result.Rig(rig.name, hashlib.sha256(content).hexdigest(), content.decode())


def data_sets_of(rig: Rig) -> tuple[result.DataSet, ...]:
    """The data sets that the branches play."""
    paths = sorted({branch.data for branch in rig.branches})
    return tuple(
        result.DataSet(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), _origin(path))
        for path in paths
    )


def _origin(path: Path) -> str:
    notice = path.with_name("README.md")
    return f"see {notice.parent.name}/{notice.name}" if notice.exists() else "given by the user"


def firmware_of(image: FirmwareImage, profile: str, outcomes: Sequence[TrialOutcome]) -> result.Firmware:
    """The image, with the least SRAM that it left free in any trial."""
    return result.Firmware(
        profile=profile,
        sha256=image.sha256,
        flash_bytes=image.flash_used,
        flash_size_bytes=FLASH_BYTES - BOOTLOADER_BYTES,
        static_sram_bytes=image.static_sram or 0,
        sram_size_bytes=SRAM_END - SRAM_START,
        lowest_free_sram_bytes=min(
            (uno.free_sram_bytes for outcome in outcomes for uno in outcome.unos.values()), default=None
        ),
        label=_UNO_LABEL,
    )


def trial_of(name: str, outcome: TrialOutcome) -> result.Trial:
    """One trial, every figure with its label."""
    rig = outcome.plan.rig
    label = label_of(rig)
    faults = broken(rig.criteria.values(), figures_of(outcome))
    verdict = outcome.verdict
    return result.Trial(
        name=name,
        sensors_per_uno=sum(sensors.per_uno for sensors in rig.branches[0].sensors),
        unos_per_pi=rig.branches[0].uno.count,
        seed=outcome.plan.seed,
        virtual_s=outcome.virtual_ns / NS_PER_S,
        wall_s=outcome.wall_s,
        trace_sha256=outcome.trace_sha256,
        firmware_sha256=outcome.firmware.sha256,
        holds=not faults,
        bound_by=bound_by(outcome, faults[0]) if faults else None,
        readings=result.Readings(
            injected=verdict.injected,
            in_server_ledger=verdict.in_server_ledger,
            altered=verdict.altered,
            missing=verdict.missing,
            unaccounted=verdict.unaccounted,
            missing_by_cause={cause.value: count for cause, count in verdict.missing_by_cause.items()},
            label=label,
        ),
        latency=result.Latency.of(verdict.latencies_ns, label),
        radio=_radio_of(outcome),
        uno=result.UnoUse(
            awake_ppm=round(awake_share(outcome) * PPM),
            lowest_free_sram_bytes=min(uno.free_sram_bytes for uno in outcome.unos.values()),
            label=_UNO_LABEL,
        ),
        pi=result.PiUse(busy_ppm=round(busy_share(outcome) * PPM), memory_bytes=None, label=label),
        server=result.ServerUse(
            uplink_bytes=sum(pi.uplink_sent_bytes for pi in outcome.pis.values()),
            ledger_bytes=outcome.ledger_bytes,
            ledger_bytes_per_reading=outcome.ledger_bytes / max(1, verdict.in_server_ledger),
            label=_COUNTED,
        ),
    )


def _radio_of(outcome: TrialOutcome) -> result.RadioUse:
    return result.RadioUse(
        stations=tuple(
            result.Station(
                name=name,
                role=result.Role.GATEWAY if name in outcome.pis else result.Role.UNO,
                airtime_ms=station.airtime_ns // NS_PER_MS,
                duty_ppm=station.airtime_ns * PPM // outcome.virtual_ns,
                duty_limit_ppm=_DUTY_LIMIT_PPM,
                sent=station.sent,
                repeated=outcome.repeated.get(name, 0),
            )
            for name, station in outcome.stations.items()
        ),
        retries=outcome.retries,
        outcomes=outcome.receptions,
        label=_AIR_LABEL,
    )


def free_of(name: str, outcome: TrialOutcome) -> tuple[result.FreeResource, ...]:
    """What this trial used of every tier, in the order of the branch."""
    label = label_of(outcome.plan.rig)
    stations = outcome.stations
    busiest = max((stations[uno].airtime_ns for uno in outcome.unos if uno in stations), default=0)
    gateway = max((stations[pi].airtime_ns for pi in outcome.pis if pi in stations), default=0)
    limit_s = outcome.virtual_ns * _DUTY_LIMIT_PPM / PPM / NS_PER_S
    seconds = outcome.virtual_ns / NS_PER_S
    sram = SRAM_END - SRAM_START
    flash = FLASH_BYTES - BOOTLOADER_BYTES
    used_sram = sram - min(uno.free_sram_bytes for uno in outcome.unos.values())
    rows: tuple[tuple[result.Tier, str, int | float, int | float, str, result.Label], ...] = (
        (result.Tier.UNO, "CPU", awake_share(outcome), 1, "share", _UNO_LABEL),
        (result.Tier.UNO, "SRAM", used_sram, sram, "B", _UNO_LABEL),
        (result.Tier.UNO, "flash", outcome.firmware.flash_used, flash, "B", _UNO_LABEL),
        (result.Tier.UNO, "airtime", busiest / NS_PER_S, limit_s, "s at 10 % duty", _AIR_LABEL),
        (result.Tier.RADIO, "channel", channel_load(outcome), 1, "share", _AIR_LABEL),
        (result.Tier.PI, "airtime", gateway / NS_PER_S, limit_s, "s at 10 % duty", _AIR_LABEL),
        (result.Tier.PI, "CPU and card", busy_share(outcome) * seconds, seconds, "s of one core", label),
    )
    return tuple(
        result.FreeResource(tier, resource, used, total, unit, name, row_label)
        for tier, resource, used, total, unit, row_label in rows
    )


def protection_of(outcome: TrialOutcome) -> tuple[result.ProtectionCost, ...]:
    """What encryption, acknowledgement and signature cost between the tiers."""
    seals = sorted(cycles for uno in outcome.unos.values() for cycles in uno.seal_cycles)
    label = label_of(outcome.plan.rig)
    calibration = load_calibration(outcome.plan.rig.branches[0].pi.calibration)
    overhead = len(FrameId(0, 0, 0).header(Kind.DATA)) + 16
    plaintext = len(Snapshot(Status(0), 0, 0, (), (0,) * outcome.plan.rig.branches[0].s0_per_uno).encode())
    median = seals[len(seals) // 2] if seals else 0
    costs = [
        result.ProtectionCost(result.Tier.UNO, "Ascon-AEAD128 seal", median, "cycles", "frame", _UNO_LABEL),
        result.ProtectionCost(
            result.Tier.UNO,
            "Ascon-AEAD128 seal",
            round(median * 1000 / CLOCK_HZ, 3),
            "ms",
            "frame",
            _UNO_LABEL,
        ),
        result.ProtectionCost(
            result.Tier.RADIO, "header and tag", overhead, "B", f"frame of {plaintext + overhead} B", _COUNTED
        ),
    ]
    for operation, per in (
        (Operation.ASCON_OPEN, "frame"),
        (Operation.ASCON_TAG, "acknowledgement"),
        (Operation.ED25519_SIGN, "block"),
        (Operation.ED25519_VERIFY, "block"),
    ):
        cost_ms = round(calibration.cost_ns(operation) / NS_PER_MS, 3)
        costs.append(result.ProtectionCost(result.Tier.PI, operation.value, cost_ms, "ms", per, label))
    return tuple(costs)
