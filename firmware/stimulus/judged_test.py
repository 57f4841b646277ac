"""From the data to the oracle as on a real rig: nothing is known but what the stimulus Uno says, the metering
Uno's greeting, and the readings that came out of its radio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.oracle import LedgerEntry, Oracle, UnobservedMeterTruth, Verdict
from bench.sensors.stimulus_port import StimulusPlayer, StimulusPort
from bench.sensors.stimulus_schedule import Performance, Schedule
from bench.truth import PulseTruth
from bench.uno.clock import UnoClock
from bench.uno.provisioning import Provisioning, eeprom_image
from bench.world.trace import Record
from firmware.stimulus.conftest import StimulusUno
from firmware.stimulus.stimulus_test import uci_signals
from ledger.frame import Snapshot, data_frame_id, open_frame, seal_ack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware.conftest import Workbench

KEY = bytes.fromhex("8c1f6b2e90d3475aa4e87712cc35f06d")
UNO_ID = 17
INTERVAL_S = 5
NS_PER_S = 1_000_000_000


class Rig:
    """A stimulus Uno, a metering Uno and a gateway that hears everything."""

    def __init__(self, workbench: Workbench, stimulus_ppb: int, meter_ppb: int) -> None:
        self.stimulus = StimulusUno(UnoClock(0, stimulus_ppb))
        eeprom = eeprom_image(Provisioning(uno_id=UNO_ID, key=KEY, s0_count=12, interval_s=INTERVAL_S))
        self.meter = workbench.uno(eeprom)
        self.meter_clock = UnoClock(0, meter_ppb)
        self.stimulus.wire_to(self.meter, self.meter_clock)
        self.meter.radio.gateway = self._hear
        self.entries: list[LedgerEntry] = []
        self.greeting = b""
        self.greeted_ns = 0

    def _hear(self, frame: bytes) -> Iterable[bytes]:
        opened = open_frame(KEY, frame)
        named = opened.frame_id
        t_ns = self.meter_clock.ns_at(self.meter.core.cycle)
        self.entries.append(
            LedgerEntry(named.uno_id, named.boot_epoch, named.counter, opened.snapshot.encode(), t_ns)
        )
        return (seal_ack(KEY, data_frame_id(frame)),)

    def play(self, schedule: Schedule) -> Performance:
        self.meter.run_ms(100, until=lambda: self.meter.console.endswith(b"\r\n"))
        self.greeting = self.meter.console
        self.greeted_ns = self.meter_clock.ns_at(self.meter.core.cycle)
        stimulus = self.stimulus
        stimulus.run_until(self.greeted_ns + NS_PER_S)
        player = StimulusPlayer(
            StimulusPort("stimulus", stimulus, stimulus.now_ns), schedule, stimulus.now_ns
        )
        while (again_ns := player.advance()) is not None:
            stimulus.run_until(again_ns)
        stimulus.run_until(schedule.ends_ns + 12 * NS_PER_S)
        return player.performance()

    def judged(self, schedule: Schedule, record: Performance, entries: list[LedgerEntry]) -> Verdict:
        channels = tuple(
            PulseTruth(line, record.signals[line], schedule.began_ns, record.uncertainty_ns)
            for line in sorted(record.signals)
        )
        oracle = Oracle(schedule.ends_ns + 6 * NS_PER_S)
        text = self.greeting.decode().strip()
        oracle(Record(self.greeted_ns, "uno-1", "console", {"text": text}))
        meter = UnobservedMeterTruth("uno-1", UNO_ID, INTERVAL_S * NS_PER_S, channels)
        return oracle.judge([meter], entries, [])


@pytest.mark.parametrize(("stimulus_ppb", "meter_ppb"), [(0, 0), (-4_000_000, 4_900_000)])
def test_a_true_ledger_passes_and_one_altered_pulse_is_found(
    workbench: Workbench, stimulus_ppb: int, meter_ppb: int
) -> None:
    rig = Rig(workbench, stimulus_ppb, meter_ppb)
    schedule = Schedule.of(uci_signals(40 * NS_PER_S), 5 * NS_PER_S)
    record = rig.play(schedule)
    verdict = rig.judged(schedule, record, rig.entries)
    assert (verdict.altered, verdict.examples, verdict.unaccounted) == (0, (), 0)
    assert verdict.in_server_ledger == verdict.injected >= 12 * 8
    assert len({entry.key for entry in rig.entries}) == len(rig.entries)

    last = max(rig.entries, key=lambda entry: entry.counter)
    registers = Snapshot.decode(last.plaintext)
    assert registers.pulses == tuple(len(record.signals[line].starts_ns) for line in range(12))
    one_more = (registers.pulses[0] + 1, *registers.pulses[1:])
    altered = Snapshot(
        registers.status, registers.dropped, registers.pending, registers.alternating_current, one_more
    )
    entries = [entry for entry in rig.entries if entry is not last]
    entries.append(LedgerEntry(*last.key[:1], last.boot_epoch, last.counter, altered.encode()))
    assert rig.judged(schedule, record, entries).altered == 1
