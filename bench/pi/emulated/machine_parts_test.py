"""QEMU's command line holds what the machine must be, and takes any path."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bench.pi.emulated.machine_parts import MachineParts, emulator_command

PARTS = MachineParts(
    kernel=Path("/c/kernel"),
    initial_ram_disk=Path("/c/disk"),
    card_socket=Path("/s/card"),
    radio_socket=Path("/s,1/radio"),
    monitor_socket=Path("/s/monitor"),
)


def option(command: list[str], name: str) -> list[str]:
    return [value for key, value in pairwise(command) if key == name]


def test_four_cores_one_gigabyte_and_the_fast_clock() -> None:
    command = emulator_command(PARTS)
    assert option(command, "-cpu") == ["cortex-a53"]
    assert option(command, "-smp") == ["4"]
    assert option(command, "-m") == ["1024M"]
    assert option(command, "-accel") == ["tcg,thread=multi"]
    assert option(command, "-icount") == []


def test_the_instruction_clock_takes_the_place_of_threads() -> None:
    command = emulator_command(replace(PARTS, instruction_clock=True))
    assert option(command, "-icount") == ["shift=0,sleep=off"]
    assert option(command, "-accel") == []


def test_the_write_rate_lies_between_device_and_medium() -> None:
    command = emulator_command(replace(PARTS, card_writes_per_s=150))
    assert option(command, "-object") == ["throttle-group,id=card-rate,x-iops-write=150"]
    medium, slowed = map(json.loads, option(command, "-blockdev"))
    assert slowed["file"] == medium["node-name"]
    assert any(device.endswith(f"drive={slowed['node-name']}") for device in option(command, "-device"))
    assert medium["server"] == {"type": "unix", "path": "/s/card"}


def test_commas_in_paths_are_doubled() -> None:
    assert any("path=/s,,1/radio," in chardev for chardev in option(emulator_command(PARTS), "-chardev"))


def test_only_the_loopback_interface_gets_a_port() -> None:
    (netdev,) = option(emulator_command(PARTS), "-netdev")
    assert "hostfwd=tcp:127.0.0.1:0-10.0.2.15:22" in netdev
