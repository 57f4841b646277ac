"""Puts the seats of a rig together: radio cells, and on a virtual rig the islands of branches and server."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.keys import Keyring
from bench.oracle import MeterTruth
from bench.pi.uplink import UplinkEnd, UplinkPlan
from bench.pi.virtual import VirtualPi
from bench.radio import airtime
from bench.radio.intruder import Intruder
from bench.radio.loss import GilbertLoss, IndependentLoss, LossPlan
from bench.radio.medium import Medium
from bench.radio.modulation import Modulation
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.rig.calibration import load_calibration
from bench.rig.model import Branch, Radio, Rig, Uplink
from bench.server.virtual import VirtualServer
from bench.stimulus import BranchStimuli
from bench.uno.clock import CYCLE_HZ, UnoClock
from bench.uno.image import FirmwareImage
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.uno.translation.library import Translation
from bench.uno.virtual import UnoFigures, VirtualUno
from bench.world.island import Island
from bench.world.simulation import NS_PER_MS, NS_PER_S, Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace
from ledger.gateway.gateway import BatchRule
from ledger.gateway.sx1278 import RadioSettings
from ledger.node import Node
from ledger.registry import Issuer, Registry
from ledger.store.sqlite import SqliteStore

SERVER = "server"

LEAD_IN_NS = 2 * NS_PER_S
"""The sensors begin when every Uno has booted."""

_BOOT_SPREAD_NS = NS_PER_S
# Ceramic resonators of Unos are rated 0.5 %; 2021 ppm was measured on one (forum.arduino.cc, topic 69316).
_CLOCK_SPREAD_PPB = 2_500_000


@dataclass(frozen=True, slots=True)
class Stage:
    """What all seats of a trial share. Sensors play from `begin_ns`; nothing happens from `until_ns` on."""

    rig: Rig
    seed: Stream
    keys: Keyring
    firmware: FirmwareImage
    directory: Path
    begin_ns: int
    until_ns: int
    translation: Translation | None = None
    """The firmware in native code; without it the Unos are interpreted."""
    intruder_period_ns: int | None = None
    """How often an intruder attacks every branch's channel; None for a channel without one."""

    @property
    def duration_ns(self) -> int:
        """How long the Unos are powered."""
        return self.until_ns - self.begin_ns + LEAD_IN_NS

    @property
    def server_database(self) -> Path:
        """The server's ledger."""
        return self.directory / "server.db"

    def gateway_database(self, branch: Branch) -> Path:
        """The ledger of a branch's gateway."""
        return self.directory / f"gateway-{branch.name}.db"

    def meter_ids(self, branch: Branch) -> range:
        """The ids of a branch's Unos: counted over the branches in the order of the rig file, from 1."""
        first_id = 1
        for earlier in self.rig.branches:
            ids = range(first_id, first_id + earlier.uno.count)
            if earlier.name == branch.name:
                return ids
            first_id = ids.stop
        raise ValueError(f"{branch.name} is no branch of {self.rig.name}")

    def registry(self, meter_ids: range) -> Registry:
        """All issuers of the rig; of the meters only those whose keys the holder needs."""
        names = [SERVER, *(pi_name(branch) for branch in self.rig.branches)]
        issuers = {bytes(self.keys.signing_key(name).verify_key): Issuer(name) for name in names}
        meters = {uno_id: self.keys.meter_key(uno_id) for uno_id in meter_ids}
        return Registry(self.keys.network_id, 0, issuers, meters)

    def provisioning(self, uno_id: int, branch: Branch) -> Provisioning:
        """What makes an Uno of this branch the one of this id."""
        radio = branch.radio
        return Provisioning(
            uno_id=uno_id,
            key=self.keys.meter_key(uno_id),
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


@dataclass(frozen=True, slots=True)
class PiFigures:
    """What one gateway spent and saw."""

    busy_ns: int
    longest_queue: int
    uplink_sent_bytes: int
    rejected: dict[str, int]
    repeats: int
    spent: dict[str, int]
    blocks: int
    resident_peak_bytes: int | None = None
    """Memory of the gateway's process at its largest; None where there is no process."""
    memory_limit_bytes: int | None = None
    """What its service may have of the Pi's memory."""


@dataclass(frozen=True, slots=True)
class CellHarvest:
    """What the far side of a branch's air found in a trial."""

    branch: str
    pi_name: str
    unos: dict[str, UnoFigures]
    meters: tuple[MeterTruth, ...]
    attacks: dict[str, int]
    notes: tuple[str, ...]

    def with_pi(self, pi: PiFigures) -> "BranchHarvest":
        """The whole branch."""
        return BranchHarvest(self.branch, self.pi_name, self.unos, self.meters, self.attacks, self.notes, pi)


@dataclass(frozen=True, slots=True)
class BranchHarvest(CellHarvest):
    """What one branch found in a trial."""

    pi: PiFigures


MakeUno = Callable[[str, Provisioning, Sx1278, UnoClock, int], VirtualUno]
"""Puts an Uno into a cell, by name, provisioning, radio, clock and the end of the trial (ns).

It starts at its clock's origin.
"""


class RadioCell:
    """What one branch has on the far side of its gateway's antenna, and that antenna's chip.

    The chip is there from the beginning; `populate` brings sensors and Unos.
    """

    def __init__(self, branch: Branch, seed: Stream, simulation: Simulation, trace: Trace) -> None:
        self.unos: list[VirtualUno] = []
        self.meters: list[MeterTruth] = []
        self.notes: list[str] = []
        self._branch = branch
        self._simulation = simulation
        self._trace = trace
        self._seed = seed.child("branch", branch.name)
        self._medium = Medium(
            self._seed.child("medium"),
            trace,
            simulation,
            FixedLinks(branch.radio.path_loss_cdb),
            loss=_loss(branch.radio),
        )
        self.gateway_chip = Sx1278(pi_name(branch), self._medium, simulation, keeps_account=True)
        self._intruder: Intruder | None = None

    def populate(self, stage: Stage, make_uno: MakeUno) -> None:
        """Bring sensors, Unos, and an intruder where there is one.

        Raises DatasetError, S0Error or MainsError for data that a sensor cannot play.
        """
        branch = self._branch
        stimuli = BranchStimuli(branch, self._seed.child("sensors"), stage.begin_ns, stage.until_ns)
        for position, uno_id in enumerate(stage.meter_ids(branch)):
            self._add_uno(stage, position, uno_id, stimuli, make_uno)
        if stage.intruder_period_ns is not None:
            self._intruder = self._made_intruder(stage.intruder_period_ns)
            self._intruder.start()
        now_ns = self._simulation.now_ns
        self._trace.record(now_ns, branch.name, "data", sha256=stimuli.data_sha256)
        self.notes += stimuli.notes

    def harvest(self) -> CellHarvest:
        """What the branch found, beside what its Pi did."""
        attacks = {} if self._intruder is None else self._intruder.attacks
        return CellHarvest(
            branch=self._branch.name,
            pi_name=pi_name(self._branch),
            unos={uno.name: uno.figures() for uno in self.unos},
            meters=tuple(self.meters),
            attacks={attack.value: count for attack, count in attacks.items()},
            notes=tuple(f"{self._branch.name}: {note}" for note in self.notes),
        )

    def _add_uno(
        self, stage: Stage, position: int, uno_id: int, stimuli: BranchStimuli, make_uno: MakeUno
    ) -> None:
        branch = self._branch
        name = uno_name(branch, position)
        spread = self._seed.child("uno", uno_id)
        deviation_ppb = spread.below(2 * _CLOCK_SPREAD_PPB + 1, 0) - _CLOCK_SPREAD_PPB
        origin_ns = stage.begin_ns - LEAD_IN_NS + spread.below(_BOOT_SPREAD_NS, 1)
        clock = UnoClock(origin_ns, branch.uno.clock_ppm * 1000 + deviation_ppb)
        radio = Sx1278(name, self._medium, self._simulation)
        uno = make_uno(name, stage.provisioning(uno_id, branch), radio, clock, stage.until_ns)
        truths = stimuli.play(position, uno)
        interval_ns = clock.ns_at(branch.uno.interval_s * CYCLE_HZ) - clock.origin_ns
        self.meters.append(MeterTruth(name, uno_id, interval_ns, truths))
        self.unos.append(uno)

    def _made_intruder(self, period_ns: int) -> Intruder:
        radio = self._branch.radio
        modulation = Modulation(
            radio.frequency_hz,
            radio.spreading_factor,
            airtime.bandwidth_code_of_hz(radio.bandwidth_hz),
            low_data_rate=radio_settings(radio).low_data_rate_optimize,
        )
        name = f"{self._branch.name}/intruder"
        streams = self._seed.child("intruder")
        return Intruder(name, self._medium, self._simulation, modulation, streams, period_ns)


class BranchPart:
    """One branch on its island: a radio cell, its virtual Pi, and the Pi's end of the uplink.

    Raises DatasetError, S0Error or MainsError for data that a sensor cannot play.
    """

    def __init__(self, branch: Branch, stage: Stage) -> None:
        self.island = Island(branch.name)
        self._branch = branch
        self._stage = stage
        self._cell = RadioCell(branch, stage.seed, self.island.simulation, self.island.trace)
        self._store = SqliteStore(stage.gateway_database(branch), durability="off")
        self._pi = self._made_pi()
        uplink = _uplink_end(branch, stage, self.island, SERVER)
        self._pi.join(uplink, SERVER)
        self._cell.populate(stage, self._made_uno)
        self._pi.power_on()
        uplink.open()

    def harvest(self) -> BranchHarvest:
        """What the branch found."""
        runner = self._pi.runner
        return self._cell.harvest().with_pi(
            PiFigures(
                busy_ns=runner.machine.busy_ns,
                longest_queue=runner.machine.longest_queue,
                uplink_sent_bytes=runner.uplink_sent_bytes,
                rejected=dict(sorted(runner.rejected.items())),
                repeats=runner.repeats,
                spent=dict(sorted(runner.spent.items())),
                blocks=len(runner.accepted_ns),
            )
        )

    def close(self) -> None:
        """Let go of the gateway's database."""
        self._store.close()

    def _made_pi(self) -> VirtualPi:
        branch, stage = self._branch, self._stage
        name = pi_name(branch)
        registry = stage.registry(stage.meter_ids(branch))
        return VirtualPi(
            name,
            Node(stage.keys.signing_key(name), registry, self._store),
            registry,
            self._store,
            BatchRule(branch.pi.batch_size, branch.pi.batch_age_s * NS_PER_S),
            self._cell.gateway_chip,
            radio_settings(branch.radio),
            load_calibration(branch.pi.calibration),
            self.island.simulation,
            self.island.trace,
        )

    def _made_uno(
        self, name: str, provisioning: Provisioning, radio: Sx1278, clock: UnoClock, until_ns: int
    ) -> VirtualUno:
        uno = VirtualUno(
            name,
            self._stage.firmware,
            eeprom_image(provisioning),
            radio,
            clock,
            self.island.simulation,
            self.island.trace,
            until_ns,
            self._stage.translation,
        )
        uno.power_on()
        return uno


class ServerPart:
    """The server on its island, with its ends of all uplinks."""

    def __init__(self, stage: Stage) -> None:
        self.island = Island(SERVER)
        self.store = SqliteStore(stage.server_database, durability="off")
        node = Node(stage.keys.signing_key(SERVER), stage.registry(range(0)), self.store)
        self._server = VirtualServer(SERVER, node, self.island.simulation, self.island.trace)
        for branch in stage.rig.branches:
            uplink = _uplink_end(branch, stage, self.island, branch.name)
            self._server.join(uplink, pi_name(branch))
            uplink.open()

    def harvest(self) -> dict[bytes, int]:
        """The blocks that the server has, and when it got them."""
        return self._server.runner.accepted_ns

    def close(self) -> None:
        """Let go of the server's database."""
        self.store.close()


def _uplink_end(branch: Branch, stage: Stage, island: Island, peer: str) -> UplinkEnd:
    stream = stage.seed.child("uplink", branch.name)
    return UplinkEnd(f"{branch.name}/uplink", uplink_plan(branch.uplink), stream, island, peer)


def pi_name(branch: Branch) -> str:
    """What the branch's Pi and its gateway's issuer are called."""
    return f"{branch.name}/pi"


def uno_name(branch: Branch, position: int) -> str:
    """What the branch's Uno at this position, from 0, is called."""
    return f"{branch.name}/uno-{position + 1}"


def radio_settings(radio: Radio) -> RadioSettings:
    """A branch's radio as its gateway sets it."""
    return RadioSettings(
        frequency_hz=radio.frequency_hz,
        spreading_factor=radio.spreading_factor,
        bandwidth_khz=radio.bandwidth_hz // 1000,
        coding_rate=radio.coding_rate_denominator,
        power_dbm=radio.tx_power_dbm,
    )


def _loss(radio: Radio) -> LossPlan:
    if radio.burst is not None:
        burst = radio.burst
        return GilbertLoss(burst.enter_ppm, burst.leave_ppm, burst.outage_enter_ppm, burst.outage_leave_ppm)
    return IndependentLoss(radio.loss_ppm)


def uplink_plan(uplink: Uplink) -> UplinkPlan:
    """The way between a Pi and the server as the rig file has it."""
    return UplinkPlan(
        delay_ns=uplink.delay_ms * NS_PER_MS,
        jitter_ns=uplink.jitter_ms * NS_PER_MS,
        loss_ppm=uplink.loss_ppm,
        outages=tuple((outage.from_s * NS_PER_S, outage.to_s * NS_PER_S) for outage in uplink.outages),
    )
