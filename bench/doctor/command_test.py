from __future__ import annotations

from typing import TYPE_CHECKING

from bench.doctor import command
from bench.doctor.command import Command, look_for
from bench.doctor.finding import State

if TYPE_CHECKING:
    import pytest

    from bench.doctor.conftest import Commands

COMPILER = Command("AVR compiler", "avr-gcc", "gcc-avr", ("-dumpversion",))


def test_an_absent_command_is_named_with_its_package(commands: Commands) -> None:
    assert not list(commands.folder.iterdir())
    found = look_for(COMPILER)
    assert (found.state, found.found) == (State.MISSING, "no avr-gcc on the PATH")
    assert found.mend == "apt-get install gcc-avr"
    assert look_for(COMPILER, needed=False).state is State.OPTIONAL


def test_the_version_is_the_first_thing_that_looks_like_one(commands: Commands) -> None:
    commands.add("avr-gcc", "avr-gcc of build 7\nversion 5.4.0, not 6.1")
    assert look_for(COMPILER).found == "5.4.0"


def test_a_command_without_a_version_is_told_with_its_path(commands: Commands) -> None:
    path = commands.add("avr-gcc", "hello", status=3)
    assert look_for(COMPILER).found == str(path)


def test_a_command_that_does_not_run_is_told(commands: Commands) -> None:
    broken = commands.folder / "avr-gcc"
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    assert look_for(COMPILER).found == f"{broken} (does not run)"


def test_a_command_that_hangs_is_told(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_ENOUGH_TIME_S", 0.2)
    path = commands.write("avr-gcc", "exec sleep 600")
    assert look_for(COMPILER).found == f"{path} (does not run)"
