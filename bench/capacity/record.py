"""Turns what trials showed into the result model of `capacity.json`."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median_high

from bench.capacity import result
from bench.capacity.figures import (
    awake_share,
    bound_by,
    broken,
    busy_share,
    channel_load,
    figures_of,
    free_sram_bytes,
    longest_airtime_ns,
)
from bench.capacity.result import FreeResource, ProtectionCost, Tier
from bench.capacity.search import PPM
from bench.rig.calibration import load_calibration
from bench.rig.model import Rig
from bench.trial import TrialOutcome
from bench.uno.atmega328p import CLOCK_HZ
from bench.uno.image import BOOTLOADER_BYTES, FLASH_BYTES, SRAM_END, SRAM_START, FirmwareImage
from bench.world.simulation import NS_PER_MS, NS_PER_S
from ledger.ascon import TAG_BYTES
from ledger.effects import Operation
from ledger.frame import AlternatingCurrent, FrameId, Kind, Snapshot, Status

ON_CHIP = "ATmega328P datasheet"
ON_AIR = "SX1278 datasheet"

_DUTY_LIMIT_PPM = 100_000
"""433.05 to 434.79 MHz, 10 mW ERP: 10 % (ERC Recommendation 70-03)."""

_SKETCH_FLASH_BYTES = FLASH_BYTES - BOOTLOADER_BYTES
_SRAM_BYTES = SRAM_END - SRAM_START


def label_of(rig: Rig) -> result.Label:
    """The label of a figure that whole branches make: their Pis' calibrations are their weakest parts."""
    return result.Label(result.Kind(rig.kind), _joined(path.stem for path in _pi_calibrations(rig)))


def _pi_calibrations(rig: Rig) -> list[Path]:
    return sorted({branch.pi.calibration for branch in rig.branches})


def _joined(names: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(names))


def _uno_label(rig: Rig) -> result.Label:
    """A virtual and an emulated Uno run the same core; what a real one shows needs no calibration."""
    kind = _uno_kind(rig)
    return result.Label(kind, None if kind is result.Kind.REAL else ON_CHIP)


def _air_label(rig: Rig) -> result.Label:
    """The medium is a model wherever the Unos are."""
    kind = _uno_kind(rig)
    return result.Label(kind, None if kind is result.Kind.REAL else ON_AIR)


def _uno_kind(rig: Rig) -> result.Kind:
    """As of a rig, real only where every branch is."""
    kinds = {branch.uno.kind for branch in rig.branches}
    return result.Kind(kinds.pop()) if len(kinds) == 1 else result.Kind.EMULATED


def _counted(rig: Rig) -> result.Label:
    return result.Label(result.Kind(rig.kind))


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
    of_pis = [_calibration_of(path) for path in _pi_calibrations(rig)]
    if len(of_pis) > 1:
        names = _joined(calibration.name for calibration in of_pis)
        boards = _joined(calibration.board for calibration in of_pis)
        of_pis.append(result.Calibration(names, boards, "each Pi by its own"))
    return (*found, *of_pis)


def _calibration_of(path: Path) -> result.Calibration:
    calibration = load_calibration(path)
    return result.Calibration(
        path.stem, calibration.board, calibration.label, calibration.date, _sha256(path.read_bytes())
    )


def rig_of(rig: Rig, path: Path) -> result.Rig:
    """The rig file, whole."""
    content = path.read_bytes()
    return result.Rig(rig.name, _sha256(content), content.decode())


def data_sets_of(rig: Rig) -> tuple[result.DataSet, ...]:
    """The data sets that the branches play."""
    paths = sorted({branch.data for branch in rig.branches})
    return tuple(result.DataSet(path.name, _sha256(path.read_bytes()), _origin(path)) for path in paths)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _origin(path: Path) -> str:
    notice = path.with_name("README.md")
    return f"see {notice.parent.name}/{notice.name}" if notice.exists() else "given by the user"


def firmware_of(image: FirmwareImage, rig: Rig, outcomes: Sequence[TrialOutcome]) -> result.Firmware:
    """The image, with the least SRAM that it left free in any trial."""
    return result.Firmware(
        profile=rig.branches[0].uno.profile,
        sha256=image.sha256,
        flash_bytes=image.flash_used,
        flash_size_bytes=_SKETCH_FLASH_BYTES,
        static_sram_bytes=image.static_sram or 0,
        sram_size_bytes=_SRAM_BYTES,
        lowest_free_sram_bytes=min(
            (free for outcome in outcomes if (free := free_sram_bytes(outcome)) is not None), default=None
        ),
        label=_uno_label(rig),
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
        uno=_uno_use_of(outcome),
        pi=result.PiUse(
            busy_ppm=round(busy_share(outcome) * PPM), memory_bytes=_memory_of(outcome)[0], label=label
        ),
        server=result.ServerUse(
            uplink_bytes=sum(pi.uplink_sent_bytes for pi in outcome.pis.values()),
            ledger_bytes=outcome.ledger_bytes,
            ledger_bytes_per_reading=outcome.ledger_bytes / max(1, verdict.in_server_ledger),
            label=_counted(rig),
        ),
    )


def _uno_use_of(outcome: TrialOutcome) -> result.UnoUse | None:
    awake, free_bytes = awake_share(outcome), free_sram_bytes(outcome)
    if awake is None or free_bytes is None:
        return None
    return result.UnoUse(
        awake_ppm=round(awake * PPM),
        lowest_free_sram_bytes=free_bytes,
        label=_uno_label(outcome.plan.rig),
    )


def _radio_of(outcome: TrialOutcome) -> result.RadioUse | None:
    if not outcome.stations:
        return None
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
            if name in outcome.pis or name in outcome.unos
        ),
        retries=outcome.retries,
        outcomes=outcome.receptions,
        label=_air_label(outcome.plan.rig),
    )


def free_of(name: str, outcome: TrialOutcome) -> tuple[FreeResource, ...]:
    """What this trial used of every tier, in the order of the branch; without what was not measured."""
    rig = outcome.plan.rig
    label, on_chip, on_air = label_of(rig), _uno_label(rig), _air_label(rig)
    seconds = outcome.virtual_ns / NS_PER_S
    limit_s = outcome.virtual_ns * _DUTY_LIMIT_PPM / PPM / NS_PER_S
    awake, free_bytes = awake_share(outcome), free_sram_bytes(outcome)
    sram_bytes = None if free_bytes is None else _SRAM_BYTES - free_bytes
    flash_bytes = outcome.firmware.flash_used
    uno_s, gateway_s = (_seconds(longest_airtime_ns(outcome, names)) for names in (outcome.unos, outcome.pis))
    busy_s = busy_share(outcome) * seconds
    memory_bytes, limit_bytes = _memory_of(outcome)
    rows = (
        (Tier.UNO, "CPU", awake, 1, "share", on_chip),
        (Tier.UNO, "SRAM", sram_bytes, _SRAM_BYTES, "B", on_chip),
        (Tier.UNO, "flash", flash_bytes, _SKETCH_FLASH_BYTES, "B", on_chip),
        (Tier.UNO, "airtime", uno_s, limit_s, "s at 10 % duty", on_air),
        (Tier.RADIO, "channel", channel_load(outcome), 1, "share", on_air),
        (Tier.PI, "airtime", gateway_s, limit_s, "s at 10 % duty", on_air),
        (Tier.PI, "CPU and card", busy_s, seconds, "s of one core", label),
        (Tier.PI, "memory of its service", memory_bytes, limit_bytes, "B", _counted(rig)),
    )
    return tuple(
        FreeResource(tier, resource, used, total, unit, name, kind)
        for tier, resource, used, total, unit, kind in rows
        if used is not None
    )


def _memory_of(outcome: TrialOutcome) -> tuple[int | None, int]:
    """The largest process of a gateway, None where there is none, and how large it may grow."""
    found = [
        (pi.resident_peak_bytes, pi.memory_limit_bytes)
        for pi in outcome.pis.values()
        if pi.resident_peak_bytes is not None and pi.memory_limit_bytes is not None
    ]
    return max(found, default=(None, 0))


def _seconds(span_ns: int | None) -> float | None:
    return None if span_ns is None else span_ns / NS_PER_S


def protection_of(outcome: TrialOutcome) -> tuple[ProtectionCost, ...]:
    """What encryption, acknowledgement and signature cost between the tiers, as far as it was measured."""
    branch = outcome.plan.rig.branches[0]
    rig = outcome.plan.rig
    label = result.Label(result.Kind(rig.kind), branch.pi.calibration.stem)
    on_chip, counted = _uno_label(rig), _counted(rig)
    calibration = load_calibration(branch.pi.calibration)
    seals = [cycles for uno in outcome.unos.values() for cycles in uno.seal_cycles]
    added = len(FrameId(0, 0, 0).header(Kind.DATA)) + TAG_BYTES
    mains = (AlternatingCurrent(0, 0, 0, 0),) * branch.mains_per_uno
    frame = added + len(Snapshot(Status(0), 0, 0, mains, (0,) * branch.s0_per_uno).encode())
    per_operation = (
        (Operation.ASCON_OPEN, "frame"),
        (Operation.ASCON_TAG, "acknowledgement"),
        (Operation.ED25519_SIGN, "block"),
        (Operation.ED25519_VERIFY, "block"),
    )
    return (
        *(_seal_costs(median_high(seals), on_chip) if seals else ()),
        ProtectionCost(Tier.RADIO, "header and tag", added, "B", f"frame of {frame} B", counted),
        *(
            ProtectionCost(
                Tier.PI,
                operation.value,
                round(calibration.cost_ns(operation) / NS_PER_MS, 3),
                "ms",
                per,
                label,
            )
            for operation, per in per_operation
        ),
    )


def _seal_costs(cycles: int, label: result.Label) -> tuple[ProtectionCost, ...]:
    milliseconds = round(cycles * 1000 / CLOCK_HZ, 3)
    return tuple(
        ProtectionCost(Tier.UNO, "Ascon-AEAD128 seal", value, unit, "frame", label)
        for value, unit in ((cycles, "cycles"), (milliseconds, "ms"))
    )
