import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.uno.build import build_firmware

ROOT = Path(__file__).parents[1]
RIG = ROOT / "rigs/virtual.toml"


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_without_arguments_it_helps() -> None:
    finished = bench()
    assert "trial" in finished.stdout + finished.stderr
    assert "doctor" in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rig", "no.toml"), "no.toml"),
        (("--rig", RIG, "--hours", "soon"), "expected a number of hours above 0"),
        (("--rig", RIG, "--hours", "-1"), "expected a number of hours above 0"),
        (("--rig", RIG, "--loss", "1.5"), "loss"),
        (("--rig", RIG, "--sensors", "13"), "12"),
        (("--rig", RIG, "--data", "no.csv"), "no.csv"),
        (("--rig", RIG, "--seed", "x"), "seed"),
    ],
)
def test_a_mistake_is_told_in_words(arguments: tuple[str | Path, ...], told: str, tmp_path: Path) -> None:
    finished = bench("trial", *arguments, "--output", tmp_path / "trial")
    assert finished.returncode == 2
    assert told in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("rig", ["virtual", "emulated"])
def test_an_output_that_cannot_be_written_is_told_before_anything_runs(rig: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finished = bench("trial", "--rig", ROOT / f"rigs/{rig}.toml", "--output", tmp_path / "file" / "trial")
    assert finished.returncode == 2
    assert f"{tmp_path}/file/trial cannot be written (Not a directory): choose" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_disk_that_gets_full_is_told(tmp_path: Path) -> None:
    """A limit on the size of files stands for it."""
    bound = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
    program = f"{bound} runpy.run_module('bench', run_name='__main__')"
    finished = subprocess.run(
        [sys.executable, "-c", program, "trial", "--rig", RIG, "--output", tmp_path / "trial"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert finished.returncode == 2
    assert finished.stderr.endswith("File too large; make room there, and run it again\n")
    assert "Traceback" not in finished.stderr


def test_a_folder_for_the_rig_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "trial-rig").touch()
    finished = bench("trial", "--rig", ROOT / "rigs/emulated.toml", "--output", tmp_path / "trial")
    assert finished.returncode == 2
    assert f"{tmp_path}/trial-rig cannot be written (File exists): choose" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_malformed_data_set_is_told_with_its_line(tmp_path: Path) -> None:
    data = tmp_path / "broken.csv"
    data.write_text("time,load_w\n2026-01-01T00:00,100\n2026-01-01T00:01,many\n")
    finished = bench("trial", "--rig", RIG, "--data", data, "--output", tmp_path / "trial")
    assert finished.returncode == 2
    assert "line 3" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_data_set_never_seen_is_played_and_accounted_for(tmp_path: Path) -> None:
    data = tmp_path / "workshop.csv"
    data.write_text(
        "date;saw_kw;light_w;meter_kwh\n"
        "2026-03-01 08:00;90;120;0.9\n"
        "2026-03-01 08:15;;118;0.4\n"
        "2026-03-01 08:30;3.5;0;12.5\n"
    )
    finished = bench(
        *("trial", "--rig", RIG, "--data", data, "--unos", "2", "--hours", "0.1", "--loss", "0.1"),
        *("--seed", "7", "--json", "--output", tmp_path / "trial"),
    )
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert told["readings"]["injected"] > 0
    assert (told["readings"]["altered"], told["readings"]["unaccounted"]) == (0, 0)
    assert any("too large a load" in note for note in told["notes"])


def test_a_firmware_of_ones_own_is_checked_before_it_is_run(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.hex"
    damaged.write_text(":10000000000102030405060708090A0B0C0D0E0F89\n:00000001FF\n")
    finished = bench("trial", "--rig", RIG, "--firmware", damaged, "--output", tmp_path / "trial")
    assert finished.returncode == 2
    assert "line 1: checksum is 89 but the line sums to 78" in finished.stderr


def test_a_firmware_without_the_bench_symbols_is_told(tmp_path: Path) -> None:
    sound = tmp_path / "sound.hex"
    sound.write_text(build_firmware().hex_text)
    arguments = (
        "trial",
        "--rig",
        RIG,
        "--hours",
        "0.05",
        "--firmware",
        sound,
        "--output",
        tmp_path / "trial",
    )
    finished = bench(*arguments)
    assert finished.returncode == 2
    assert "has no symbol frame_plaintext" in finished.stderr
    assert "Traceback" not in finished.stderr
