from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.doctor import Finding, State, diagnose, machine, render

VIRTUAL = Path(__file__).parents[2] / "rigs" / "virtual.toml"


def finding(subject: str, findings: list[Finding]) -> Finding:
    [match] = [candidate for candidate in findings if candidate.subject.startswith(subject)]
    return match


def printed(findings: list[Finding]) -> tuple[int, str]:
    text = io.StringIO()
    status = render(findings, Console(file=text, width=100))
    return status, text.getvalue()


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no commands, and a folder to work in."""
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    monkeypatch.chdir(tmp_path)
    return commands


def command(folder: Path, name: str, output: str) -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\necho '{output}'\n")
    script.chmod(0o755)


@pytest.mark.usefixtures("empty_path")
def test_on_a_bare_machine_everything_is_named_with_its_package() -> None:
    findings = diagnose()
    for subject, package in (
        ("AVR compiler", "gcc-avr"),
        ("AVR binutils", "binutils-avr"),
        ("C compiler", "gcc"),
        ("Node.js", "nodejs"),
        ("npm", "npm"),
    ):
        assert finding(subject, findings).state is State.MISSING
        assert finding(subject, findings).mend == f"apt-get install {package}"
    assert finding("Allure", findings).mend == "make setup"
    assert finding("avrdude", findings).state is State.OPTIONAL
    status, text = printed(findings)
    assert status == 1
    assert "apt-get install gcc-avr" in text
    assert "Needed and not ok: " in text


def test_versions_are_told(empty_path: Path) -> None:
    command(empty_path, "avr-gcc", "5.4.0")
    command(empty_path, "node", "v18.20.4")
    command(empty_path, "allure", "3.18.0")
    findings = diagnose()
    assert finding("AVR compiler", findings).found == "5.4.0"
    assert finding("Node.js", findings).found == "18.20.4"
    assert finding("Allure", findings).found == "3.18.0"


def test_what_is_too_old_counts_as_missing(empty_path: Path) -> None:
    command(empty_path, "node", "v16.3.0")
    command(empty_path, "allure", "2.30.0")
    findings = diagnose()
    assert finding("Node.js", findings).state is State.MISSING
    assert finding("Node.js", findings).found == "16.3.0, expected 18 or later"
    assert finding("Allure", findings).state is State.MISSING


def test_the_report_tool_of_this_folder_comes_first(empty_path: Path) -> None:
    local = Path("build/tools/node_modules/.bin")
    local.mkdir(parents=True)
    command(local, "allure", "3.20.1")
    command(empty_path, "allure", "2.30.0")
    assert finding("Allure", diagnose()).found == "3.20.1"


def test_a_command_that_does_not_run_is_told(empty_path: Path) -> None:
    broken = empty_path / "avr-gcc"
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    assert finding("AVR compiler", diagnose()).found == f"{broken} (does not run)"


@pytest.mark.usefixtures("empty_path")
def test_a_build_folder_that_cannot_be_written_is_told() -> None:
    Path("build").write_text("in the way")
    assert finding("write permission", diagnose()).state is State.MISSING


@pytest.mark.usefixtures("empty_path")
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NEEDED_BYTES", 10**18)
    found = finding("disk space", diagnose())
    assert found.state is State.MISSING
    assert found.mend.startswith("free ")


@pytest.mark.usefixtures("empty_path")
def test_the_rig_file_is_checked(tmp_path: Path) -> None:
    good = finding("rig file", diagnose(VIRTUAL))
    assert good.state is State.PRESENT
    assert good.found.endswith("virtual village; east (8 Unos)")
    faulty = tmp_path / "rig.toml"
    faulty.write_text("[rig]\nnam = 'x'\n")
    bad = finding("rig file", diagnose(faulty))
    assert bad.state is State.MISSING
    assert 'did you mean "name"?' in bad.found


def test_nothing_missing_means_status_0() -> None:
    status, text = printed(
        [Finding("a", State.PRESENT, "x[1].y"), Finding("b", State.OPTIONAL, "none", "get [b]")]
    )
    assert status == 0
    assert "x[1].y" in text
    assert "get [b]" in text
    assert "Everything needed is here." in text
