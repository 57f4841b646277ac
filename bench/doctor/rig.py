"""What a rig file is, and what each of its seats needs: only that is looked for."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.doctor.command import look_for
from bench.doctor.emulation import AVRDUDE, pi_findings, server_findings, uno_findings
from bench.doctor.finding import Finding, missing, present
from bench.doctor.host import Shell, host_findings
from bench.doctor.host_facts import (
    DATE,
    Demands,
    Device,
    clock_finding,
    fact_findings,
    parse_facts,
    script_for,
)
from bench.doctor.inquiry import Inquiry, ask
from bench.doctor.instrument import instrument_inquiries
from bench.doctor.network import UnreachableError, addresses_of
from bench.doctor.serial_port import far_finding, is_far, near_finding
from bench.pi.deployed.deployment import GPIO_CHIP
from bench.pi.deployed.release import PLATFORMS
from bench.rig.loader import load_rig
from bench.rig.problem import RigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.rig.model import Branch, Pi, Rig, Server

PI_MACHINE: Final = "aarch64"
_SPI_MEND: Final = "sudo raspi-config nonint do_spi 0 (or dtparam=spi=on in config.txt), and boot again"


def rig_findings(path: Path) -> list[Finding]:
    """Look at a rig file, and side by side at what its seats need."""
    try:
        rig = load_rig(path)
    except RigError as error:
        return [missing("rig file", str(error), "mend the file as said above")]
    branches = ", ".join(f"{branch.name} ({branch.uno.count} Unos)" for branch in rig.branches)
    return [present("rig file", f"{path}: {rig.name}; {branches}"), *ask(inquiries_of(rig))]


def inquiries_of(rig: Rig) -> list[Inquiry]:
    """All that is to be found out for a rig, in the order of the data: Unos, Pis, server."""
    inquiries = _emulated_unos(rig.branches)
    for branch in rig.branches:
        inquiries += _real_unos(branch)
    inquiries += _emulated_pis(rig.branches)
    for branch in rig.branches:
        inquiries += _real_pi(branch, vpn=rig.server.vpn != "none")
    return inquiries + _server(rig.server) + instrument_inquiries(rig.instruments)


def _names(branches: Sequence[Branch]) -> str:
    *others, last = [branch.name for branch in branches]
    return f"{', '.join(others)} and {last}" if others else last


def _emulated_unos(branches: Sequence[Branch]) -> list[Inquiry]:
    emulated = [branch for branch in branches if branch.uno.kind == "emulated"]
    if not emulated:
        return []
    count = sum(branch.uno.count for branch in emulated)
    return [Inquiry(f"Unos of {_names(emulated)} (emulated)", partial(uno_findings, count))]


def _real_unos(branch: Branch) -> list[Inquiry]:
    if branch.uno.kind != "real":
        return []
    seat = f"Unos of {branch.name} (real)"
    return [
        Inquiry(seat, lambda: [look_for(AVRDUDE)]),
        *(Inquiry(seat, partial(_port, port)) for port in (*branch.uno.ports, *branch.uno.stimuli)),
    ]


def _port(port: str) -> list[Finding]:
    return [far_finding(port) if is_far(port) else near_finding(port)]


def _line(port: str) -> list[Finding]:
    """Unlike a board, the Pi's end of a line can be a Unix socket, as an emulator serves it."""
    return [present(port, "a Unix socket")] if Path(port).is_socket() else _port(port)


def _emulated_pis(branches: Sequence[Branch]) -> list[Inquiry]:
    emulated = [branch for branch in branches if branch.pi.kind == "emulated"]
    if not emulated:
        return []
    seat = f"{'Pis' if len(emulated) > 1 else 'Pi'} of {_names(emulated)} (emulated)"
    return [Inquiry(seat, partial(pi_findings, len(emulated)))]


def _real_pi(branch: Branch, *, vpn: bool) -> list[Inquiry]:
    pi = branch.pi
    if pi.kind != "real" or pi.login is None:
        return []
    seat = f"Pi of {branch.name} (real)"
    demands = Demands((PI_MACHINE,), vpn, radio_devices(pi))
    inquiries = [Inquiry(seat, partial(host_findings, pi.login, partial(_look, demands)))]
    if pi.bench_line is not None:
        inquiries.append(Inquiry(f"line to the Pi of {branch.name}", partial(_line, pi.bench_line)))
    return inquiries


def _server(server: Server) -> list[Inquiry]:
    vpn = server.vpn != "none"
    if server.kind == "emulated":
        return [Inquiry("server (emulated)", partial(server_findings, vpn=vpn))]
    if server.kind != "real" or server.login is None:
        return []
    login, demands = server.login, Demands(PLATFORMS, vpn)

    def there() -> Iterator[Finding]:
        if server.endpoint is not None:
            yield _endpoint(server.endpoint)
        yield from host_findings(login, partial(_look, demands))

    return [Inquiry("server (real)", there)]


def _endpoint(endpoint: str) -> Finding:
    """UDP gives no sign of who listens: all that can be told beforehand is whether the name resolves."""
    host, _, port = endpoint.rpartition(":")
    try:
        addresses = addresses_of(host)
    except UnreachableError as problem:
        return missing("endpoint", problem.what, problem.mend)
    name = "" if addresses == [host] else f" ({', '.join(addresses)})"
    return present(
        "endpoint",
        f"{endpoint}{name}; whether UDP port {port} is open to this machine, only the first handshake shows",
    )


def _look(demands: Demands, shell: Shell) -> Iterator[Finding]:
    facts = parse_facts(shell.run(f"sh -c {shlex.quote(script_for(demands.devices))}").output)
    date = shell.run(DATE)
    yield from fact_findings(facts, demands)
    yield clock_finding(date.output, date.began_at_s, date.ended_at_s, facts.get("synchronized", ""))


def radio_devices(pi: Pi) -> tuple[Device, ...]:
    """The devices by which a real Pi reaches its radio."""
    kind, _, address = pi.radio_port.partition(":")
    if kind == "spidev":
        pins = [f"DIO0 at GPIO {pi.dio0_gpio}"]
        if pi.reset_gpio is not None:
            pins.append(f"RESET at GPIO {pi.reset_gpio}")
        return (
            Device(f"/dev/spidev{address}", "radio's SPI", _SPI_MEND),
            Device(GPIO_CHIP, f"radio's pins ({', '.join(pins)})", "update its kernel: 5.10 or later has it"),
        )
    if is_far(address):
        return ()
    return (
        Device(
            address,
            "radio's serial port",
            "plug the adapter in; the Pi's own port: sudo raspi-config nonint do_serial_hw 0, and boot again",
            is_serial=True,
        ),
    )
