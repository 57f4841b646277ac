"""What a branch of real Unos has on the far side of the air: boards that nobody can look into.

A stimulus Uno beside each plays the data into its pins and tells what it really played: that record is the
truth. Of the metering Uno the bench sees nothing but its console.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.assembly import CellHarvest, pi_name, uno_name
from bench.oracle import UnobservedMeterTruth
from bench.rig.closable import Closable
from bench.sensors.stimulus_port import BackgroundStimulus, SerialLine, StimulusPlayer, StimulusPort
from bench.sensors.stimulus_schedule import Schedule
from bench.sensors.waveform import MainsError
from bench.stimulus import BranchStimuli
from bench.truth import PulseTruth
from bench.uno.clock import UnoClock
from bench.uno.console import boot
from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.assembly import Stage
    from bench.rig.model import Branch
    from bench.sensors.s0 import S0Signal
    from bench.sensors.signal import AnalogSegment
    from bench.uno.atmega328p import Pin
    from bench.uno.serial_port import UnoPort
    from bench.world.paced import PacedWorld
    from bench.world.streams import Stream


class Leads:
    """Stands for a board whose pins a stimulus Uno drives; what it plays is read from the truths."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock = UnoClock(0, 0)

    def play_pulses(self, pin: Pin, falling_ns: Sequence[int], width_ns: int) -> None:
        """Pulses go by the stimulus Uno."""

    def play_waveform(self, channel: int, segments: Sequence[AnalogSegment]) -> None:  # noqa: ARG002  # refused
        """Raises MainsError: no waveform generator is driven yet."""
        raise MainsError(
            f"{self.name} AC channel {channel // 2 + 1}: a stimulus Uno plays pulses and no AC;"
            ' give branches of real Unos sensors of kind "s0"'
        )


@dataclass(frozen=True, slots=True)
class _Player:
    """One stimulus Uno at work on one metering Uno."""

    name: str
    uno_id: int
    line: SerialLine
    play: BackgroundStimulus


class LabCell(Closable):
    """Real Unos of one branch with their stimuli, by name.

    Raises InfrastructureError, from any call but `close`.
    """

    def __init__(
        self,
        branch: Branch,
        seed: Stream,
        world: PacedWorld,
        consoles: Mapping[str, UnoPort],
        stimulus_urls: Mapping[str, str],
    ) -> None:
        self._branch = branch
        self._seed = seed.child("branch", branch.name)
        self._world = world
        self._consoles = consoles
        self._stimulus_urls = stimulus_urls
        self._players: list[_Player] = []
        self._notes: list[str] = []
        self._begin_ns = 0

    def raise_curtain(self, stage: Stage) -> None:
        """Start all stimuli, which begin to play at the stage's beginning, and boot the boards."""
        branch = self._branch
        self._begin_ns = stage.begin_ns
        stimuli = BranchStimuli(branch, self._seed.child("sensors"), stage.begin_ns, stage.until_ns)
        for position, uno_id in enumerate(stage.meter_ids(branch)):
            name = uno_name(branch, position)
            truths = stimuli.play(position, Leads(name))
            signals = {truth.register: truth.signal for truth in truths if isinstance(truth, PulseTruth)}
            self._players.append(self._started(name, uno_id, signals))
        self._world.record(branch.name, "data", sha256=stimuli.data_sha256)
        self._notes += stimuli.notes
        with ThreadPoolExecutor(max(1, len(self._players))) as executor:
            list(executor.map(boot, [self._consoles[player.name] for player in self._players]))

    def harvest(self) -> CellHarvest:
        """End the stimuli, and give what they played as the truth of each board."""
        meters = []
        for player in self._players:
            record = player.play.finish()
            self._notes += [
                f"{player.name}: pulse not played: {unplayed.reason}" for unplayed in record.unplayed
            ]
            channels = tuple(
                PulseTruth(line, signal, self._begin_ns, record.uncertainty_ns)
                for line, signal in sorted(record.signals.items())
            )
            interval_ns = self._branch.uno.interval_s * NS_PER_S
            meters.append(UnobservedMeterTruth(player.name, player.uno_id, interval_ns, channels))
        return CellHarvest(
            branch=self._branch.name,
            pi_name=pi_name(self._branch),
            unos={},
            meters=tuple(meters),
            attacks={},
            notes=tuple(f"{self._branch.name}: {note}" for note in self._notes),
        )

    def close(self) -> None:
        """Stop all stimuli and let go of their ports. What an Uno still holds, 2 s at most, it plays."""
        # Lines first: a player whose world has stopped would wait for an answer for ever.
        for player in self._players:
            player.line.close()
        for player in self._players:
            player.play.stop()

    def _started(self, name: str, uno_id: int, signals: Mapping[int, S0Signal]) -> _Player:
        def now_ns() -> int:
            return self._world.now_ns

        seat = f"{name} stimulus"
        schedule = Schedule.of(signals, self._begin_ns)
        line = SerialLine(seat, self._stimulus_urls[name])
        player = StimulusPlayer(StimulusPort(seat, line, now_ns), schedule, now_ns)
        play = BackgroundStimulus(player, now_ns)
        play.start()
        return _Player(name, uno_id, line, play)
