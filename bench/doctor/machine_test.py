from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.doctor import machine
from bench.doctor.finding import Finding, State
from bench.doctor.machine import machine_findings

if TYPE_CHECKING:
    from bench.doctor.conftest import Commands


def finding(subject: str) -> Finding:
    [match] = [candidate for candidate in machine_findings() if candidate.subject.startswith(subject)]
    return match


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("subject", "package"),
    [
        ("AVR compiler", "gcc-avr"),
        ("AVR binutils", "binutils-avr"),
        ("C compiler", "gcc"),
        ("Node.js", "nodejs"),
        ("npm", "npm"),
    ],
)
def test_on_a_bare_machine_everything_is_named_with_its_package(subject: str, package: str) -> None:
    assert finding(subject).state is State.MISSING
    assert finding(subject).mend == f"apt-get install {package}"


@pytest.mark.usefixtures("commands")
def test_what_make_brings_is_got_by_make() -> None:
    assert finding("Allure").state is State.MISSING
    assert finding("Allure").mend == "make setup"


def test_versions_are_told(commands: Commands) -> None:
    commands.add("avr-gcc", "5.4.0")
    commands.add("node", "v18.20.4")
    commands.add("allure", "3.18.0")
    assert finding("AVR compiler").found == "5.4.0"
    assert finding("Node.js").found == "18.20.4"
    assert finding("Allure").found == "3.18.0"


def test_what_is_too_old_counts_as_missing(commands: Commands) -> None:
    commands.add("node", "v16.3.0")
    commands.add("allure", "2.30.0")
    assert finding("Node.js").state is State.MISSING
    assert finding("Node.js").found == "16.3.0, expected 18 or later"
    assert finding("Allure").state is State.MISSING


def test_the_report_tool_of_this_folder_comes_first(commands: Commands) -> None:
    local = Path("build/tools/node_modules/.bin")
    local.mkdir(parents=True)
    commands.add("allure", "3.20.1").rename(local / "allure")
    commands.add("allure", "2.30.0")
    assert finding("Allure").found == "3.20.1"


@pytest.mark.usefixtures("commands")
def test_a_build_folder_that_cannot_be_written_is_told() -> None:
    Path("build").write_text("in the way")
    assert finding("write permission").state is State.MISSING


@pytest.mark.usefixtures("commands")
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NEEDED_BYTES", 10**18)
    found = finding("disk space")
    assert found.state is State.MISSING
    assert found.mend.startswith("free ")
