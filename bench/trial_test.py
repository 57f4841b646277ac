import hashlib
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench import trial
from bench.assembly import Stage
from bench.oracle import Cause
from bench.rig.loader import load_rig
from bench.rig.model import Outage, Rig
from bench.sensors.dataset import DatasetError
from bench.trial import TrialError, TrialOutcome, TrialPlan, outcome_of, run_trial
from bench.uno.build import build_firmware
from bench.uno.image import FirmwareImage
from bench.uno.virtual import VirtualUno
from bench.world.simulation import NS_PER_S
from ledger.block import FraudProof, seal
from ledger.fleet import Fleet, reading
from ledger.store.sqlite import SqliteStore
from ledger.verify import verify

RIG = Path(__file__).parents[1] / "rigs/virtual.toml"
MINUTE_NS = 60 * NS_PER_S


@pytest.fixture(scope="module")
def firmware() -> FirmwareImage:
    return build_firmware()


@pytest.fixture(scope="module")
def small_rig() -> Rig:
    return load_rig(RIG).with_changes(unos=3, interval_s=15)


def play(
    rig: Rig,
    firmware: FirmwareImage,
    directory: Path,
    seed: int = 7,
    minutes: int = 2,
    intruder_s: int | None = None,
) -> TrialOutcome:
    period_ns = None if intruder_s is None else intruder_s * NS_PER_S
    return run_trial(TrialPlan(rig, seed, minutes * MINUTE_NS, directory, period_ns), firmware)


def test_a_lossy_trial_delivers_every_reading_unaltered(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path
) -> None:
    outcome = play(small_rig.with_changes(loss=0.2), firmware, tmp_path / "trial")
    verdict = outcome.verdict
    # Clocks are up to 0.25 % off, so that the snapshot due last may fall behind the window.
    assert 3 * 4 * 7 <= verdict.injected <= 3 * 4 * 8
    assert (verdict.in_server_ledger, verdict.altered, verdict.unaccounted) == (verdict.injected, 0, 0)
    assert outcome.retries > 0
    assert len(set(outcome.heads.values())) == 1
    assert verify(outcome.server_database).clean
    trace = outcome.trace_path.read_bytes()
    assert outcome.trace_sha256 == hashlib.sha256(trace).hexdigest()
    times = [json.loads(line)[0] for line in trace.splitlines()]
    assert times == sorted(times)


def test_equal_seeds_give_equal_traces_in_any_process(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path
) -> None:
    here = play(small_rig, firmware, tmp_path / "here", minutes=1)
    command = [
        *(sys.executable, "-m", "bench", "trial", "--rig", str(RIG), "--unos", "3", "--interval", "15"),
        *("--hours", "0.016666666666666666667", "--seed", "7", "--json", "--output", str(tmp_path / "there")),
    ]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    )
    there = json.loads(finished.stdout)
    assert there["trace_sha256"] == here.trace_sha256
    assert there["firmware_sha256"] == firmware.sha256
    assert play(small_rig, firmware, tmp_path / "other", seed=8, minutes=1).trace_sha256 != here.trace_sha256


def test_running_ahead_changes_nothing(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = play(small_rig, firmware, tmp_path / "ahead", minutes=1, intruder_s=4)
    horizon = VirtualUno._horizon_cycle

    def in_small_steps(uno: VirtualUno) -> int:
        return min(horizon(uno), uno._core.cycle + 16_000)

    monkeypatch.setattr(VirtualUno, "_horizon_cycle", in_small_steps)
    in_step = play(small_rig, firmware, tmp_path / "in step", minutes=1, intruder_s=4)
    assert in_step.trace_sha256 == ahead.trace_sha256


def test_what_a_dead_link_holds_back_is_still_buffered(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path
) -> None:
    verdict = play(small_rig.with_changes(loss=1.0), firmware, tmp_path / "trial", minutes=1).verdict
    assert verdict.in_server_ledger == 0
    assert verdict.missing_by_cause[Cause.STILL_BUFFERED] == verdict.injected > 0


def test_what_a_dead_link_pushes_out_of_the_ring_is_lost_to_the_radio_or_to_memory(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path
) -> None:
    rig = small_rig.with_changes(loss=1.0, interval_s=5, unos=1)
    verdict = play(rig, firmware, tmp_path / "trial", minutes=6).verdict
    dropped = verdict.missing_by_cause[Cause.RADIO] + verdict.missing_by_cause[Cause.MEMORY]
    assert dropped > 0
    assert dropped + verdict.missing_by_cause[Cause.STILL_BUFFERED] == verdict.injected
    assert verdict.unaccounted == 0


def test_what_an_uplink_outage_holds_back_waits_at_the_gateway(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path
) -> None:
    branch = small_rig.branches[0]
    uplink = branch.uplink.model_copy(update={"outages": (Outage(from_s=0, to_s=100_000),)})
    rig = small_rig.model_copy(update={"branch": (branch.model_copy(update={"uplink": uplink}),)})
    verdict = play(rig, firmware, tmp_path / "trial", minutes=1).verdict
    assert verdict.in_server_ledger == 0
    assert verdict.missing_by_cause[Cause.STILL_BUFFERED] == verdict.injected > 0


def test_an_uno_that_faults_is_told_and_its_readings_are_missed(small_rig: Rig, tmp_path: Path) -> None:
    erased = FirmwareImage("erased flash", b"\xff" * 64)
    outcome = play(small_rig, erased, tmp_path / "trial", minutes=1)
    assert all(uno.fault is not None and "cycle" in uno.fault for uno in outcome.unos.values())
    assert outcome.verdict.missing_by_cause[Cause.CPU] == outcome.verdict.injected > 0


def test_a_directory_with_other_things_in_it_is_left_alone(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path
) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(TrialError, match="holds no earlier trial: choose another directory"):
        play(small_rig, firmware, tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_processes_change_nothing(firmware: FirmwareImage, tmp_path: Path) -> None:
    rig = load_rig(RIG.with_name("two_branches.toml")).with_changes(unos=2, interval_s=10)
    one, two = (
        run_trial(
            TrialPlan(rig, 7, MINUTE_NS, tmp_path / str(n), intruder_period_ns=5 * NS_PER_S, processes=n),
            firmware,
        )
        for n in (1, 2)
    )
    assert one.trace_sha256 == two.trace_sha256
    assert (one.verdict, one.heads, one.unos, one.pis) == (two.verdict, two.heads, two.unos, two.pis)


def test_a_data_set_that_a_process_cannot_use_is_told_like_any_other(
    firmware: FirmwareImage, tmp_path: Path
) -> None:
    data = tmp_path / "broken.csv"
    data.write_text("time,load_w\n2026-01-01T00:00,100\n2026-01-01T00:01,many\n")
    rig = load_rig(RIG.with_name("two_branches.toml")).with_changes(data=data)
    with pytest.raises(DatasetError, match="line 3"):
        run_trial(TrialPlan(rig, 1, MINUTE_NS, tmp_path / "trial", processes=2), firmware)


def test_translation_changes_nothing(firmware: FirmwareImage, tmp_path: Path) -> None:
    rig = load_rig(RIG.with_name("mains.toml")).with_changes(interval_s=10)
    interpreted, translated = (
        run_trial(TrialPlan(rig, 7, MINUTE_NS, tmp_path / str(n), translated=n == 1), firmware)
        for n in (0, 1)
    )
    assert interpreted.trace_sha256 == translated.trace_sha256
    assert (interpreted.verdict, interpreted.unos) == (translated.verdict, translated.unos)


def test_entries_are_those_that_the_ledger_offers_where_an_issuer_is_frozen(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ["east", "north", "twin"])
    for name, uno_id in (("north", 1), ("twin", 2), ("east", 3)):
        fleet.write(name, reading(uno_id, 0))
    fleet.join("east", "north")
    fleet.run(60)
    fleet.write("east", reading(3, 1))
    fleet.write("north", reading(1, 1))
    fleet.join("east", "twin")
    fleet.run(60)
    store = fleet.stores["east"]
    offered = [item.key for item in store.readings()]
    assert offered == [(1, 1, 0), (3, 1, 0), (3, 1, 1)], (
        "what east built on counts, the rest of the fork does not"
    )
    assert sorted((e.uno_id, e.boot_epoch, e.counter) for e in trial._entries(store, {})) == offered
    fleet.close()


def test_what_a_frozen_issuer_wrote_is_missed_and_every_ledger_that_froze_it_is_told(
    small_rig: Rig, firmware: FirmwareImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forked(stage: Stage, *rest: Any) -> TrialOutcome:
        key = stage.keys.signing_key("east/pi")
        for path in (stage.server_database, stage.gateway_database(stage.rig.branches[0])):
            with closing(SqliteStore(path)) as store:
                first = store.block(store.blocks_at(bytes(key.verify_key), 0)[0])
                assert first is not None
                header = first.header
                second = seal(
                    key,
                    stage.keys.network_id,
                    seq=0,
                    prev=header.prev,
                    heads=header.heads,
                    leaves=first.leaves,
                    frontier_root=header.frontier_root,
                    sealed_ns=header.sealed_ns + 1,
                    registry_epoch=header.registry_epoch,
                )
                store.put_blocks([second], [FraudProof.of(first.signed, second.signed)])
                assert not list(store.readings())
        return outcome_of(stage, *rest)

    monkeypatch.setattr(trial, "outcome_of", forked)
    outcome = play(small_rig, firmware, tmp_path / "trial", minutes=1)
    verdict = outcome.verdict
    assert (verdict.in_server_ledger, verdict.unaccounted) == (0, verdict.injected)
    told = [f"{name}: east/pi is frozen: it signed two blocks with seq 0" for name in ("server", "east/pi")]
    assert (verdict.altered, list(verdict.examples)) == (2, told)
    assert outcome.notes[-2:] == tuple(told)
