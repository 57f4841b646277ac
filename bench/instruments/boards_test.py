"""Loads that follow what really runs: an emulated Uno in a paced world, a process of the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from bench.instruments.boards import core_usage, packet_listener, pi_part, process_cpu_ns, uno_part
from bench.instruments.load import (
    ATMEGA328P_ACTIVE_UA,
    UNO_BOARD_UA,
    UNO_BROWN_OUT_MV,
    CoreUsage,
    Load,
    RadioPart,
    sx1278_current_ua,
)
from bench.instruments.rack import open_rack
from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.registers import Mode
from bench.radio.sx1278 import Sx1278
from bench.rig.instruments import Instruments, Supply
from bench.uno.clock import UnoClock
from bench.uno.emulated import EmulatedBoard
from bench.world.paced import PacedWorld
from bench.world.simulation import Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

if TYPE_CHECKING:
    from bench.instruments.conftest import Eventually

UNO = "east/uno-1"
SUPPLY = Instruments(supply=(Supply(kind="emulated", voltage_mv=5_000, current_limit_ma=500, feeds=(UNO,)),))
_OFF = CoreUsage(0, 0, 0)
BUSY_LOOP = bytes.fromhex("ffcf")
"""rjmp .-2: a chip that is always awake."""


def test_an_output_really_powers_a_board_and_cuts_it(eventually: Eventually) -> None:
    simulation, trace = Simulation(), Trace()
    medium = Medium(Stream(0, "desk"), trace, simulation, FixedLinks(20_000))
    radio = Sx1278(UNO, medium, simulation)
    board = EmulatedBoard(UNO, boot_loader=BUSY_LOOP)
    part, _ = uno_part(board, lambda: radio.mode)
    with PacedWorld(simulation, trace) as world:

        def switch(powered: bool) -> None:
            if powered:
                board.power_on(world, radio, UnoClock(world.now_ns, 0))
            else:
                board.power_off()

        loads = {UNO: Load(UNO, part, UNO_BROWN_OUT_MV, switch)}
        with open_rack(SUPPLY, loads) as rack:
            supply = rack.supply_of(UNO)
            assert core_usage(board) is None
            supply.output(True)
            eventually(lambda: board.uno is not None)
            eventually(lambda: (core_usage(board) or _OFF).cycles > 1_600_000)
            awake_ua = UNO_BOARD_UA + ATMEGA328P_ACTIVE_UA + sx1278_current_ua(Mode.STANDBY)
            # What the core did since the last look does not end with the supply's step: within 10 %.
            eventually(lambda: abs(supply.measured_current_ua() - awake_ua) < awake_ua // 10)
            supply.set_voltage_mv(2_600)
            eventually(lambda: board.uno is None)
            supply.set_voltage_mv(5_000)
            eventually(lambda: board.uno is not None)
            supply.output(False)
            eventually(lambda: board.uno is None)
            eventually(lambda: supply.measured_current_ua() == 0)
            assert rack.power_failures == ()
    board.close()


def test_a_radio_is_told_of_its_own_packets_alone() -> None:
    radio = RadioPart(lambda: Mode.SLEEP)
    listen = packet_listener(UNO, radio)
    listen(Record(1_000, UNO, "transmission", {"end_ns": 51_000, "power_cdbm": 1700}))
    listen(Record(1_000, "east/uno-2", "transmission", {"end_ns": 51_000, "power_cdbm": 1700}))
    listen(Record(1_000, UNO, "received", {}))
    assert radio.charge_fc(10**9) == 50_000 * (87_000 - 1_600)


def test_the_pi_draws_by_the_cpu_time_of_its_emulator(eventually: Eventually) -> None:
    work = "while True: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], start_new_session=True) as process:
        try:
            part = pi_part(lambda: process.pid)
            # The work is done by a process below the one that is named.
            eventually(lambda: process_cpu_ns(process.pid) > 500_000_000)
            idle_fc, second_ns = 260_000 * 10**9, 10**9
            assert part.charge_fc(second_ns) > idle_fc + 10**14 // 2
        finally:
            # Its own session: the process below it goes as well.
            os.killpg(process.pid, signal.SIGKILL)
    assert process_cpu_ns(process.pid) == 0
    assert pi_part(lambda: None).charge_fc(10**9) == 260_000 * 10**9
