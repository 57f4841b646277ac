"""`bench pi` without a boot: what the image command tells, and options that make no sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from bench.pi.emulated import command
from bench.pi.emulated.image_recipe import Recipe
from bench.rig.infrastructure import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with an image in it that was built before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "dag-bench/pi" / Recipe().digest
    folder.mkdir(parents=True)
    (folder / "host_key.pub").write_text("ssh-ed25519 AAAA\n")
    (folder / "card.raw").write_bytes(bytes(5_000_000))
    (folder / "versions.json").write_text(json.dumps({"linux": "6.1.0-1-arm64", "python3": "3.11.2-1"}))
    return folder


def test_an_image_that_is_there_is_told_and_not_built(cache: Path) -> None:
    result = CliRunner().invoke(command.app, ["image"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{cache}: 5 MB, was there already" in result.output
    assert "Linux 6.1.0-1-arm64, Python 3.11.2-1" in result.output


@pytest.mark.parametrize("rate", ["0", "-5", "many"])
def test_a_write_rate_that_is_none_is_refused(rate: str) -> None:
    result = CliRunner().invoke(command.app, ["boot", "--card-writes-per-s", rate])
    assert result.exit_code == 2
    assert "card-writes-per-s" in result.output


def test_a_shell_needs_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InfrastructureError, match="no ssh on the PATH; apt-get install openssh-client"):
        CliRunner().invoke(command.app, ["shell"], catch_exceptions=False)
