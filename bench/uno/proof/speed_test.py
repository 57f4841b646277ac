"""That the figures compare like with like. What they come out at is the host's affair and not asserted."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.uno import build
from bench.uno.proof import speed
from bench.uno.proof.lockstep import Simavr
from bench.uno.proof.speed import Engine, Outcome, SpeedError, SpeedRow, check_same_work
from ledger.ascon import encrypt

pytestmark = pytest.mark.skipif(
    shutil.which("avr-gcc") is None or not build.ARDUINO.is_dir(),
    reason=f"needs the Debian packages {build.PACKAGES}",
)
needs_simavr = pytest.mark.skipif(not Simavr.is_installed(), reason=speed.SIMAVR_ABSENT)

DIVISOR = 1000


@pytest.fixture(scope="module")
def rows() -> list[SpeedRow]:
    return speed.measure(runs=2, divisor=DIVISOR)


@pytest.fixture(scope="module")
def workloads() -> dict[str, speed.Workload]:
    return {workload.name: workload for workload in speed.workloads(DIVISOR)}


def by_engine(rows: list[SpeedRow], workload: str) -> dict[Engine, SpeedRow]:
    return {row.engine: row for row in rows if row.workload == workload}


def test_there_is_a_row_for_each_workload_and_engine(
    rows: list[SpeedRow], workloads: dict[str, speed.Workload]
) -> None:
    assert [(row.workload, row.engine) for row in rows] == [
        (name, engine) for name in workloads for engine in Engine
    ]


def test_a_row_has_positive_figures_or_says_why_not(rows: list[SpeedRow]) -> None:
    for row in rows:
        figures = (row.cycles, row.cpu_ns, row.simulated_mhz, row.times_real_time)
        if row.note:
            assert figures == (None,) * 4
            assert row.result is None
            assert row.ratio_to_simavr is None
        else:
            assert all(figure is not None and figure > 0 for figure in figures), row
            assert row.result


def test_our_two_engines_did_the_same_cycle_for_cycle(
    rows: list[SpeedRow], workloads: dict[str, speed.Workload]
) -> None:
    for name in workloads:
        engines = by_engine(rows, name)
        interpreted, translated = engines[Engine.INTERPRETER], engines[Engine.TRANSLATION]
        assert not translated.note
        assert (interpreted.cycles, interpreted.result) == (translated.cycles, translated.result)


@needs_simavr
def test_simavr_did_the_same(rows: list[SpeedRow], workloads: dict[str, speed.Workload]) -> None:
    for name, workload in workloads.items():
        engines = by_engine(rows, name)
        theirs = engines[Engine.SIMAVR]
        if not workload.for_simavr:
            assert theirs.note == speed.OURS_ALONE
            continue
        assert theirs.result == engines[Engine.INTERPRETER].result
        assert theirs.ratio_to_simavr == 1
        assert all((row.ratio_to_simavr or 0) > 0 for row in engines.values())
        if "sleeper" not in name:
            assert theirs.cycles == engines[Engine.INTERPRETER].cycles


def test_the_hashes_are_those_of_blake2s(rows: list[SpeedRow]) -> None:
    expected = bytes(32)
    for _ in range(3):
        expected = hashlib.blake2s(expected).digest()
    assert by_engine(rows, "BLAKE2s in C")[Engine.INTERPRETER].result == expected.hex()


def test_the_seals_are_those_of_ascon(rows: list[SpeedRow]) -> None:
    sealed = bytes(48)
    for _ in range(8):
        sealed = encrypt(bytes(16), sealed[32:], bytes(8), sealed[:32])
    assert by_engine(rows, "Ascon-AEAD128")[Engine.INTERPRETER].result == sealed.hex()


@pytest.mark.parametrize(("name", "wake_ups"), [("Timer0", 1000), ("Timer0-2", 50)])
def test_the_sleeper_wakes_by_the_tick_of_timer0(rows: list[SpeedRow], name: str, wake_ups: int) -> None:
    cycles = by_engine(rows, f"Arduino sleeper, {name}")[Engine.INTERPRETER].cycles
    assert cycles is not None
    tick_cycles = 64 * 256
    assert round(cycles / tick_cycles) == wake_ups


def test_the_meter_counted_its_pulses(rows: list[SpeedRow]) -> None:
    """Status, composition, dropped, pending; then the pulses of four channels, one each 3.6 s from 1 s on."""
    row = by_engine(rows, "metering sleeper, 4 S0")[Engine.INTERPRETER]
    assert row.result is not None
    plaintext = bytes.fromhex(row.result)
    counts = {int.from_bytes(plaintext[at : at + 4], "big") for at in range(5, 21, 4)}
    assert counts == {1 + (65 - 1) * 10 // 36}


def test_a_host_without_simavr_is_told_so_in_its_rows(
    monkeypatch: pytest.MonkeyPatch, workloads: dict[str, speed.Workload]
) -> None:
    monkeypatch.setattr(Simavr, "is_installed", lambda: False)
    monkeypatch.setattr(speed, "workloads", lambda _divisor: [workloads["BLAKE2s in C"]])
    rows = speed.measure(runs=1)
    engines = by_engine(rows, "BLAKE2s in C")
    assert engines[Engine.SIMAVR].note == speed.SIMAVR_ABSENT
    assert "apt-get install" in speed.SIMAVR_ABSENT
    assert engines[Engine.INTERPRETER].result
    assert [row.ratio_to_simavr for row in rows] == [None, None, None]


def test_other_work_is_not_compared() -> None:
    ours = Outcome(cycles=1_000_000, cpu_ns=5, result=b"\x01")
    for engine, theirs, same in (
        (Engine.SIMAVR, replace(ours, cycles=1_000_900), True),
        (Engine.SIMAVR, replace(ours, cycles=1_001_100), False),
        (Engine.SIMAVR, replace(ours, result=b"\x02"), False),
        (Engine.TRANSLATION, replace(ours, cycles=1_000_001), False),
    ):
        outcomes = {Engine.INTERPRETER: [ours, ours], engine: [ours, theirs]}
        if same:
            check_same_work("hash", outcomes)
        else:
            with pytest.raises(SpeedError, match=rf"hash: {engine} computed .*: not the same work"):
                check_same_work("hash", outcomes)


@pytest.fixture
def halting(tmp_path: Path) -> speed.Workload:
    """Firmware that goes to sleep for good and marks nothing."""
    source = tmp_path / "program.c"
    source.write_text(
        "#include <avr/sleep.h>\nvolatile char result;\n"
        "int main(void) { result = 1; sleep_enable(); sleep_cpu(); }\n"
    )
    return speed.Workload("halting", build.build_library_image("speed-halting", source, []), b"\xff" * 1024)


def test_firmware_that_does_not_come_to_its_mark_is_told(halting: speed.Workload) -> None:
    with pytest.raises(SpeedError, match="halting: stopped before mark 1: halt, cycle"):
        speed.run_on_core(halting, Engine.INTERPRETER)


@needs_simavr
def test_simavr_that_does_not_come_to_the_end_is_told(halting: speed.Workload, tmp_path: Path) -> None:
    runner = speed.built_runner(tmp_path)
    assert runner is not None
    with pytest.raises(SpeedError, match="halting: simavr ended with exit code 1 before the last mark"):
        speed.run_on_simavr(halting, runner)


def test_the_label_says_what_the_figures_are_of() -> None:
    assert speed.host().startswith("real host, ")
    assert speed.host().endswith(", one core")
