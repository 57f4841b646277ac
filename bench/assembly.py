"""Puts the seats of a virtual rig together: sensors, Unos, radio, Pis, uplinks, server, in one simulation."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import keys
from bench.oracle import MeterTruth
from bench.pi.uplink import Uplink, UplinkPlan
from bench.pi.virtual import VirtualPi
from bench.radio import airtime
from bench.radio.intruder import Intruder
from bench.radio.loss import GilbertLoss, IndependentLoss, LossPlan
from bench.radio.medium import Medium
from bench.radio.modulation import Modulation
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.rig.calibration import load_calibration
from bench.rig.model import Branch, Radio, Rig
from bench.server.virtual import VirtualServer
from bench.stimulus import BranchStimuli
from bench.uno.clock import CYCLE_HZ, UnoClock
from bench.uno.image import FirmwareImage
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.uno.virtual import VirtualUno
from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace
from ledger.gateway.gateway import BatchRule
from ledger.gateway.sx1278 import RadioSettings
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import SqliteStore

SERVER = "server"

_BOOT_SPREAD_NS = NS_PER_S
# Ceramic resonators of Unos are rated 0.5 %; 2021 ppm was measured on one (forum.arduino.cc, topic 69316).
_CLOCK_SPREAD_PPB = 2_500_000


@dataclass(slots=True)
class VirtualRig:
    """The seats of a rig, wired; `power_on` starts them all."""

    server: VirtualServer
    server_store: SqliteStore
    unos: list[VirtualUno] = field(default_factory=list)
    pis: dict[str, VirtualPi] = field(default_factory=dict)
    uplinks: list[Uplink] = field(default_factory=list)
    intruders: list[Intruder] = field(default_factory=list)
    meters: list[MeterTruth] = field(default_factory=list)
    data_sha256: dict[str, str] = field(default_factory=dict)
    calibrations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def stores(self) -> Iterator[tuple[str, SqliteStore]]:
        """Every ledger of the rig, by the name of its seat."""
        yield self.server.name, self.server_store
        for name, pi in self.pis.items():
            yield name, pi.store

    def power_on(self) -> None:
        """Start every seat; the Unos start each at its own moment."""
        for pi in self.pis.values():
            pi.power_on()
        for uplink in self.uplinks:
            uplink.open()
        for uno in self.unos:
            uno.power_on()
        for intruder in self.intruders:
            intruder.start()

    def close(self) -> None:
        """Let go of the databases."""
        for _, store in self.stores():
            store.close()


@dataclass(frozen=True, slots=True)
class Stage:
    """What all seats of a trial share. Sensors play from `begin_ns`; nothing happens from `until_ns` on."""

    seed: Stream
    firmware: FirmwareImage
    directory: Path
    simulation: Simulation
    trace: Trace
    begin_ns: int
    until_ns: int


def assemble(rig: Rig, stage: Stage, intruder_period_ns: int | None = None) -> VirtualRig:
    """Build all seats of a rig, and an intruder on every branch's channel when it has a period.

    Raises DatasetError, S0Error or MainsError for data that a sensor cannot play.
    """
    registry = _registry(rig, stage.seed)
    store = SqliteStore(stage.directory / "server.db", durability="off")
    node = Node(keys.signing_key(stage.seed, SERVER), _without_meters(registry), store)
    assembled = VirtualRig(VirtualServer(SERVER, node, stage.simulation, stage.trace), store)
    first_id = 1
    for branch in rig.branches:
        ids = range(first_id, first_id + branch.uno.count)
        medium = _add_branch(assembled, branch, ids, registry, stage)
        if intruder_period_ns is not None:
            assembled.intruders.append(_intruder(branch, medium, stage, intruder_period_ns))
        first_id = ids.stop
    return assembled


def _registry(rig: Rig, seed: Stream) -> Registry:
    names = [SERVER, *(_pi_name(branch) for branch in rig.branches)]
    issuers = {bytes(keys.signing_key(seed, name).verify_key): Issuer(name) for name in names}
    unos = sum(branch.uno.count for branch in rig.branches)
    meters = {uno_id: keys.meter_key(seed, uno_id) for uno_id in range(1, unos + 1)}
    return Registry(keys.network_id(seed), 0, issuers, meters)


def _without_meters(registry: Registry) -> Registry:
    return Registry(registry.network, registry.epoch, registry.issuers)


def _pi_name(branch: Branch) -> str:
    return f"{branch.name}/pi"


def _add_branch(
    assembled: VirtualRig, branch: Branch, ids: range, registry: Registry, stage: Stage
) -> Medium:
    name = _pi_name(branch)
    seed = stage.seed.child("branch", branch.name)
    links = FixedLinks(branch.radio.path_loss_cdb)
    medium = Medium(seed.child("medium"), stage.trace, stage.simulation, links, loss=_loss(branch.radio))
    pi = _pi(name, branch, ids, registry, medium, stage)
    uplink = Uplink(
        f"{branch.name}/uplink", _uplink_plan(branch), seed.child("uplink"), stage.simulation, stage.trace
    )
    pi.join(uplink, SERVER)
    assembled.server.join(uplink, name)
    assembled.pis[name] = pi
    assembled.uplinks.append(uplink)
    calibration = str(load_calibration(branch.pi.calibration))
    if calibration not in assembled.calibrations:
        assembled.calibrations.append(calibration)
    stimuli = BranchStimuli(branch, seed.child("sensors"), stage.begin_ns, stage.until_ns)
    assembled.data_sha256[branch.name] = stimuli.data_sha256
    for position, uno_id in enumerate(ids):
        uno = _uno(f"{branch.name}/uno-{position + 1}", uno_id, branch, seed, medium, stage)
        truths = stimuli.play(position, uno)
        interval_ns = uno.clock.ns_at(branch.uno.interval_s * CYCLE_HZ) - uno.clock.origin_ns
        assembled.unos.append(uno)
        assembled.meters.append(MeterTruth(uno.name, uno_id, interval_ns, truths))
    assembled.notes += [f"{branch.name}: {note}" for note in stimuli.notes]
    return medium


def _pi(name: str, branch: Branch, ids: range, registry: Registry, medium: Medium, stage: Stage) -> VirtualPi:
    own = Registry(
        registry.network,
        registry.epoch,
        registry.issuers,
        {uno_id: registry.meters[uno_id] for uno_id in ids},
    )
    store = SqliteStore(stage.directory / f"gateway-{branch.name}.db", durability="off")
    return VirtualPi(
        name,
        Node(keys.signing_key(stage.seed, name), own, store),
        own,
        store,
        BatchRule(branch.pi.batch_size, branch.pi.batch_age_s * NS_PER_S),
        Sx1278(name, medium, stage.simulation, keeps_account=True),
        _radio_settings(branch.radio),
        load_calibration(branch.pi.calibration),
        stage.simulation,
        stage.trace,
    )


def _uno(name: str, uno_id: int, branch: Branch, seed: Stream, medium: Medium, stage: Stage) -> VirtualUno:
    radio = branch.radio
    provisioning = Provisioning(
        uno_id=uno_id,
        key=keys.meter_key(stage.seed, uno_id),
        interval_s=branch.uno.interval_s,
        s0_count=branch.s0_per_uno,
        ac_count=branch.mains_per_uno,
        frequency_hz=radio.frequency_hz,
        spreading_factor=radio.spreading_factor,
        bandwidth_hz=radio.bandwidth_hz,
        coding_rate=radio.coding_rate_denominator,
        tx_power_dbm=radio.tx_power_dbm,
        ack_timeout_ms=radio.ack_timeout_ms,
    )
    spread = seed.child("uno", uno_id)
    deviation_ppb = spread.below(2 * _CLOCK_SPREAD_PPB + 1, 0) - _CLOCK_SPREAD_PPB
    clock = UnoClock(spread.below(_BOOT_SPREAD_NS, 1), branch.uno.clock_ppm * 1000 + deviation_ppb)
    chip = Sx1278(name, medium, stage.simulation)
    image = eeprom_image(provisioning)
    return VirtualUno(name, stage.firmware, image, chip, clock, stage.simulation, stage.trace, stage.until_ns)


def _radio_settings(radio: Radio) -> RadioSettings:
    return RadioSettings(
        frequency_hz=radio.frequency_hz,
        spreading_factor=radio.spreading_factor,
        bandwidth_khz=radio.bandwidth_hz // 1000,
        coding_rate=radio.coding_rate_denominator,
        power_dbm=radio.tx_power_dbm,
    )


def _loss(radio: Radio) -> LossPlan:
    if radio.burst is not None:
        return GilbertLoss(radio.burst.enter_ppm, radio.burst.leave_ppm)
    return IndependentLoss(radio.loss_ppm)


def _uplink_plan(branch: Branch) -> UplinkPlan:
    uplink = branch.uplink
    return UplinkPlan(
        delay_ns=uplink.delay_ms * NS_PER_MS,
        jitter_ns=uplink.jitter_ms * NS_PER_MS,
        loss_ppm=uplink.loss_ppm,
        outages=tuple((outage.from_s * NS_PER_S, outage.to_s * NS_PER_S) for outage in uplink.outages),
    )


def _intruder(branch: Branch, medium: Medium, stage: Stage, period_ns: int) -> Intruder:
    radio = branch.radio
    settings = _radio_settings(radio)
    modulation = Modulation(
        radio.frequency_hz,
        radio.spreading_factor,
        airtime.bandwidth_code_of_hz(radio.bandwidth_hz),
        low_data_rate=settings.low_data_rate_optimize,
    )
    streams = stage.seed.child("intruder", branch.name)
    return Intruder(f"{branch.name}/intruder", medium, stage.simulation, modulation, streams, period_ns)
