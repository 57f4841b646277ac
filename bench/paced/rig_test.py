"""A lab, as its rig file sees it: every seat real. Behind the ports and hosts there are emulated parts.

Skipped where the emulated Pi has no image (bench pi image).
"""

from __future__ import annotations

import shutil
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.faults.plan import FaultEvidence, planned_faults
from bench.instruments.boards import pi_part
from bench.instruments.load import PI_BROWN_OUT_MV, Load
from bench.instruments.rack import PowerDelivery
from bench.instruments.scpi.channel import SupplyChannel
from bench.instruments.scpi.power_meter import PowerMeterInstrument
from bench.instruments.scpi.server import ScpiServer
from bench.instruments.scpi.supply import SupplyInstrument
from bench.paced.crash import crash_window_ns, strike_all
from bench.paced.lab_cell_test import Wires, programmed
from bench.paced.radio_line import RadioLine
from bench.paced.rig import PacedRig
from bench.pi.deployed.release_test import built_release
from bench.pi.emulated.image import default_cache, find_image
from bench.pi.emulated.machine import PiMachine
from bench.pi.ssh import SshTarget
from bench.pi.vpn.wireguard_test import needs_wireguard
from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.rig.infrastructure import InfrastructureError
from bench.rig.loader import load_rig
from bench.trial import TrialPlan
from bench.uno.build import build_firmware, build_stimulus
from bench.uno.clock import UnoClock
from bench.uno.emulated import EmulatedBoard, EmulatedUno
from bench.world.paced import PacedWorld
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Trace
from ledger.gateway.byte_stream import open_stream
from ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.pi.emulated.image import PiImage
    from ledger.gateway.byte_stream import ByteStream

RIGS = Path(__file__).parents[2] / "rigs"
UNOS = 2
S0_PER_UNO = 4
INTERVAL_S = 5
PATIENCE_S = 300
LOSS_CDB = 9000

pytestmark = [
    needs_wireguard,
    pytest.mark.skipif(shutil.which("avrdude") is None, reason="needs the package avrdude"),
    pytest.mark.skipif(
        shutil.which("qemu-system-aarch64") is None, reason="needs the package qemu-system-arm"
    ),
    pytest.mark.skipif(find_image() is None, reason="needs the emulated Pi's image: run bench pi image"),
]

RIG = """
[rig]
name = "lab"

[[branch]]
name = "east"
data = "{rigs}/datasets/uci_household_1min.csv"
sensors = {{ kind = "s0", per_uno = {s0_per_uno}, pulses_per_kwh = 1000 }}
uno = {{ kind = "real", ports = {ports}, stimuli = {stimuli}, interval_s = {interval_s} }}
uplink = {{ delay_ms = 20 }}

[branch.pi]
kind = "real"
calibration = "{rigs}/calibration/pi3b-published.toml"
radio = "serial:/dev/virtio-ports/radio"
batch_age_s = 2
login = {pi}

[server]
kind = "real"
vpn = "wireguard"
endpoint = "127.0.0.1:{vpn_port}"
login = {server}

[[instruments.supply]]
kind = "real"
resource = "{supply}"
voltage_mv = 5100
current_limit_ma = 2500
feeds = ["east/pi"]

[instruments.power_meter]
kind = "real"
resource = "{power_meter}"
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def login_table(target: SshTarget) -> str:
    return (
        f'{{ host = "{target.host}", port = {target.port}, user = "{target.user}",'
        f' identity = "{target.identity}", host_key = "{target.host_key}" }}'
    )


class Lab:
    """The parts: two hosts, boards wired to stimulus Unos, the air, and a supply that feeds the Pi."""

    def __init__(self, stack: ExitStack, image: PiImage) -> None:
        self.server = stack.enter_context(PiMachine(image, name="lab server"))
        self.server.start()
        port = free_port(socket.SOCK_STREAM)
        self.pi = stack.enter_context(PiMachine(image, name="lab pi", ssh_port=port))
        self.pi_login = SshTarget("east/pi", "127.0.0.1", port, image.user, image.identity, image.host_key)
        self._simulation = Simulation()
        trace = Trace()
        self._medium = Medium(Stream(3, "air"), trace, self._simulation, FixedLinks(LOSS_CDB))
        self._world = stack.enter_context(PacedWorld(self._simulation, trace))
        self._line = RadioLine("line", self._world, self._chip("gateway"), self._open_line)
        stack.callback(self._line.close)
        self.ports, self.stimuli = [], []
        for place in range(UNOS):
            boards = EmulatedBoard(f"bench {place}"), programmed(f"stimulus {place}", build_stimulus())
            meter, stimulus = (self._powered(stack, board, 20_000 * (place + 1)) for board in boards)
            self._world.call(partial(Wires, stimulus, meter, self._simulation))
            self.ports.append(boards[0].port)
            self.stimuli.append(boards[1].port)
        power = stack.enter_context(PowerDelivery())
        load = Load("east/pi", pi_part(lambda: self.pi.process_id), PI_BROWN_OUT_MV, self._switch_pi)
        output = SupplyChannel([load], power.put)
        supply, meter_of_supply = SupplyInstrument([output]), PowerMeterInstrument([output])
        instruments = stack.enter_context(ScpiServer([supply, meter_of_supply]))
        self.supply = instruments.resource_of(supply)
        self.power_meter = instruments.resource_of(meter_of_supply)

    def _chip(self, name: str) -> Sx1278:
        return self._world.call(partial(Sx1278, name, self._medium, self._simulation))

    def _powered(self, stack: ExitStack, board: EmulatedBoard, deviation_ppb: int) -> EmulatedUno:
        stack.callback(board.close)
        return board.power_on(
            self._world, self._chip(board.name), UnoClock(self._world.now_ns, deviation_ppb)
        )

    def _open_line(self) -> ByteStream:
        return open_stream(str(self.pi.radio_socket), 0)

    def _switch_pi(self, on: bool) -> None:
        if on:
            self.pi.start()
        else:
            self.pi.cut_power(seed=1)
            self._line.cut_power()


def test_a_lab_is_brought_up_struck_and_judged(stack: ExitStack, tmp_path: Path) -> None:
    built_release(default_cache() / "release")
    image = find_image()
    assert image is not None
    lab = Lab(stack, image)
    lab.server.wait_until_reachable(PATIENCE_S)
    vpn_port = free_port(socket.SOCK_DGRAM)
    assert lab.server.forward(vpn_port, "udp", vpn_port) == vpn_port
    file = tmp_path / "lab.toml"
    text = RIG.format(
        rigs=RIGS,
        s0_per_uno=S0_PER_UNO,
        ports=lab.ports,
        stimuli=lab.stimuli,
        interval_s=INTERVAL_S,
        pi=login_table(lab.pi_login),
        server=login_table(lab.server.ssh_target),
        vpn_port=vpn_port,
        supply=lab.supply,
        power_meter=lab.power_meter,
    )
    file.write_text(text, encoding="utf-8")
    rig = load_rig(file)
    assert rig.kind == "real"
    faults = planned_faults(Stream(1, "faults"), kills=1, power_cuts=1)
    evidence: list[FaultEvidence] = []
    standing = stack.enter_context(PacedRig(rig, build_firmware(), tmp_path / "rig", print))
    plan = TrialPlan(rig, 1, crash_window_ns(faults), tmp_path / "trial")
    strike = partial(strike_all, faults, found=evidence.append)
    outcome = standing.play(plan, lambda _share: None, strike)
    assert [(found.fired, found.clean) for found in evidence] == [(True, True)] * 2
    verdict = outcome.verdict
    assert verdict.examples == ()
    assert verdict.injected >= 6 * UNOS * S0_PER_UNO
    assert (verdict.altered, verdict.unaccounted) == (0, 0)
    assert verdict.in_server_ledger + verdict.missing == verdict.injected
    assert verdict.delivered > 0.5
    assert any(note.startswith("power meter: ") for note in outcome.notes), outcome.notes
    for ledger in tmp_path.glob("trial/*.db"):
        assert verify(ledger).clean
    standing.seats.server.check_way(rig.branches[0])
    with pytest.raises(InfrastructureError, match="east/pi: the Pi has rebooted during the trial") as caught:
        standing.seats.gateways["east"].check()
    assert caught.value.retry_helps
