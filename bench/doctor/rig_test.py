from __future__ import annotations

import os
import platform
import pty
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.doctor import diagnosis
from bench.doctor.diagnosis import diagnose
from bench.doctor.finding import Finding, State, present
from bench.doctor.rig import radio_devices, rig_findings
from bench.rig.model import Pi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.doctor.conftest import Commands, Sshd

RIGS = Path(__file__).parents[2] / "rigs"
EXAMPLE_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGBbj13CVA/Wt7DOELkzPsXUc/UlRTyA8RG2v/7mSFjb"
CALIBRATION = RIGS / "calibration" / "pi3b-published.toml"


@pytest.fixture(autouse=True)
def nobody_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names under .example belong to nobody; no resolver is troubled with them."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **more: Any) -> Any:
        if str(host).endswith(".example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def by_seat(findings: Iterable[Finding]) -> dict[str, dict[str, Finding]]:
    seats: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        seats.setdefault(finding.seat, {})[finding.subject] = finding
    return seats


def written(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A rig of the project with some of its text changed, and paths as they were."""
    text = (RIGS / name).read_text(encoding="utf-8")
    text = text.replace('"datasets/', f'"{RIGS}/datasets/')
    text = re.sub(r'"calibration/.*?"', f'"{CALIBRATION}"', text)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_virtual_rig_needs_nothing_beyond_its_file() -> None:
    [finding] = rig_findings(RIGS / "virtual.toml")
    assert (finding.subject, finding.state) == ("rig file", State.PRESENT)
    assert finding.found.endswith("virtual village; east (8 Unos)")


def test_an_emulated_rig_needs_the_emulators_and_no_host(tmp_path: Path) -> None:
    seats = by_seat(rig_findings(written(tmp_path, "emulated.toml")))
    assert list(seats) == ["", "Unos of east (emulated)", "Pi of east (emulated)", "server (emulated)"]
    assert "avrdude (flashes Unos)" in seats["Unos of east (emulated)"]
    assert "memory" in seats["Pi of east (emulated)"]
    assert "WireGuard's tool" in seats["server (emulated)"]


def test_a_lab_is_told_seat_by_seat_what_is_missing() -> None:
    seats = by_seat(rig_findings(RIGS / "lab.toml"))
    assert list(seats) == [
        "",
        "Unos of east (real)",
        "Pi of east (real)",
        "server (real)",
        "instruments (real)",
    ]
    assert all(finding.state is State.MISSING for finding in seats["instruments (real)"].values())
    unos = seats["Unos of east (real)"]
    assert [subject for subject in unos if "/" in subject] == [
        "/dev/serial/by-id/usb-Arduino__www.arduino.cc__0043_SERIAL_NUMBER_1-if00",
        "/dev/serial/by-id/usb-Arduino__www.arduino.cc__0043_SERIAL_NUMBER_2-if00",
        "/dev/ttyACM2",
        "rfc2217://exporter.example:4001",
        *(f"/dev/ttyACM{number}" for number in range(4, 8)),
    ]
    assert unos["/dev/ttyACM2"].found.startswith("not there; ")
    assert unos["rfc2217://exporter.example:4001"].found.startswith("the name exporter.example does not")
    for seat, host in (("Pi of east (real)", "pi-east.example"), ("server (real)", "server.example")):
        assert seats[seat]["connection"].found.startswith(f"the name {host} does not resolve")
        assert seats[seat]["connection"].state is State.MISSING
    assert seats["server (real)"]["endpoint"].found.startswith("192.0.2.10:51820; whether UDP port 51820")


def test_a_mixed_rig_needs_its_real_pi_and_the_line_to_it() -> None:
    seats = by_seat(rig_findings(RIGS / "mixed.toml"))
    assert list(seats) == [
        "",
        "Unos of east (emulated)",
        "Pi of east (real)",
        "line to the Pi of east",
        "server (emulated)",
    ]
    assert list(seats["line to the Pi of east"]) == ["/dev/ttyUSB0"]


def test_an_emulators_socket_can_be_the_line_to_a_pi(tmp_path: Path) -> None:
    path = tmp_path / "radio"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        rig = written(tmp_path, "mixed.toml", ('bench_line = "/dev/ttyUSB0"', f'bench_line = "{path}"'))
        finding = by_seat(rig_findings(rig))["line to the Pi of east"][str(path)]
    assert (finding.state, finding.found) == (State.PRESENT, "a Unix socket")


def test_real_ports_are_looked_at_each_in_its_way(tmp_path: Path, commands: Commands) -> None:
    commands.add("avrdude", "avrdude version 7.1")
    master, slave = pty.openpty()
    port = os.ttyname(slave)
    os.close(slave)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = f"socket://127.0.0.1:{listener.getsockname()[1]}"
        path = written(tmp_path, "lab.toml", ("/dev/ttyACM2", port), ("rfc2217://exporter.example:4001", far))
        unos = by_seat(rig_findings(path))["Unos of east (real)"]
    os.close(master)
    assert (unos[port].found, unos[far].found) == ("free", "answers")
    assert unos["avrdude (flashes Unos)"].found == "7.1"


def test_a_server_without_a_name_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "lab.toml", ('"192.0.2.10:51820"', '"vpn.example:51820"'))
    server = by_seat(rig_findings(path))["server (real)"]
    assert server["endpoint"].state is State.MISSING
    assert "vpn.example" in server["endpoint"].mend


def test_a_real_pi_is_asked_over_ssh(tmp_path: Path, sshd: Sshd) -> None:
    """This machine stands for the Pi, which it mostly is not."""
    login = sshd.login()
    path = written(
        tmp_path,
        "lab.toml",
        ('host = "pi-east.example"', f'host = "{login.host}"'),
        ('port = 22\nuser = "bench"', f'port = {login.port}\nuser = "{login.user}"'),
        ("~/.ssh/id_bench", login.identity),
        (EXAMPLE_KEY, login.host_key),
        ("spidev:0.0", "spidev:77.7"),
    )
    pi = by_seat(rig_findings(path))["Pi of east (real)"]
    assert list(pi) == [
        "connection",
        "login",
        "sudo without a password",
        "architecture",
        "Python",
        "systemd",
        "room on its disk",
        "WireGuard",
        "WireGuard's tool",
        "radio's SPI",
        "radio's pins (DIO0 at GPIO 25, RESET at GPIO 17)",
        "clock",
    ]
    assert pi["login"].state is State.PRESENT
    assert pi["architecture"].found.startswith(platform.machine())
    assert pi["clock"].found.startswith("within ")
    assert pi["radio's SPI"].found == "no /dev/spidev77.7"
    assert "dtparam=spi=on" in pi["radio's SPI"].mend


@pytest.mark.parametrize(
    ("radio", "devices"),
    [
        (None, ["/dev/spidev0.0", "/dev/gpiochip0"]),
        ("spidev:1.2", ["/dev/spidev1.2", "/dev/gpiochip0"]),
        ("serial:/dev/ttyUSB0", ["/dev/ttyUSB0"]),
        ("hc12:/dev/serial0", ["/dev/serial0"]),
        ("serial:socket://127.0.0.1:7000", []),
    ],
)
def test_the_radio_says_which_devices_a_pi_must_have(radio: str | None, devices: list[str]) -> None:
    pi = Pi.model_validate(
        {
            "kind": "real",
            "calibration": CALIBRATION,
            "login": {"host": "pi", "user": "bench", "identity": "key", "host_key": EXAMPLE_KEY},
            "radio": radio,
        }
    )
    found = radio_devices(pi)
    assert [device.path for device in found] == devices
    assert [device.is_serial for device in found] == [len(devices) == 1] * len(devices)


# The rig file


def test_a_faulty_rig_file_is_told_and_nothing_is_asked(tmp_path: Path) -> None:
    faulty = tmp_path / "rig.toml"
    faulty.write_text("[rig]\nnam = 'x'\n")
    [finding] = rig_findings(faulty)
    assert finding.state is State.MISSING
    assert 'did you mean "name"?' in finding.found


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("dio0_gpio = 25", "dio_gpio = 25", 'unknown key; did you mean "dio0_gpio"?'),
        ("dio0_gpio = 25", "dio0_gpio = 99", "found 99, expected at most 53"),
        ("ssh-ed25519 AAAA", "SHA256:AAAA", "expected the host's public key"),
        ('"/dev/ttyACM2",', '"rfc2217://exporter.example:4001",', "found a port twice"),
        ("port = 22", "port = 0", "found 0, expected at least 1"),
        ('endpoint = "192.0.2.10:51820"', "", "found a real server without endpoint"),
    ],
)
def test_typing_errors_are_told_with_their_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    [finding] = rig_findings(written(tmp_path, "lab.toml", (old, new)))
    assert finding.state is State.MISSING
    assert told in finding.found


# The diagnosis


def test_without_a_rig_other_rigs_tools_are_optional(commands: Commands) -> None:
    states = {finding.subject.split()[0]: finding.state for finding in diagnose()}
    assert states["avrdude"] is states["QEMU"] is states["simavr"] is State.OPTIONAL
    assert states["AVR"] is State.MISSING
    commands.add("qemu-system-aarch64", "QEMU emulator version 7.2.19")
    assert {finding.subject.split()[0]: finding.found for finding in diagnose()}["QEMU"] == "7.2.19"


def test_with_a_rig_only_what_it_needs_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "machine_findings", lambda: [present("this machine", "fine")])
    assert [finding.subject for finding in diagnose(RIGS / "virtual.toml")] == ["this machine", "rig file"]
    assert "simavr" in " ".join(finding.subject for finding in diagnose())
