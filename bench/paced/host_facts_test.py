from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from bench.paced.host_facts import address_seen_from, clock_ahead_ns, python_version
from bench.rig.infrastructure import InfrastructureError
from bench.world.simulation import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pi.ssh import SshSeat


def host(answer: Callable[[], str]) -> SshSeat:
    """A login that answers whatever it is asked; a real one is asked in rig_test."""

    def run(_command: str) -> SimpleNamespace:
        return SimpleNamespace(output=answer())

    return cast("SshSeat", SimpleNamespace(run=run, target=SimpleNamespace(name="east/pi")))


def test_a_clock_is_compared_by_the_quickest_of_three_answers() -> None:
    delays_s = iter([0.2, 0.0, 0.2])
    ahead_ns = 3600 * NS_PER_S

    def date() -> str:
        time.sleep(next(delays_s))
        return f"{time.time_ns() + ahead_ns}\n"

    assert abs(clock_ahead_ns(host(date)) - ahead_ns) < NS_PER_S // 10


def test_an_address_of_this_host_is_one_that_its_relay_has() -> None:
    assert address_seen_from(host(lambda: "192.0.2.7 50022 192.0.2.9 22\n")) == "192.0.2.7"
    with pytest.raises(InfrastructureError, match=r"over IPv6 \(from fe80::1%eth0\)"):
        address_seen_from(host(lambda: "fe80::1%eth0 50022 fe80::2 22\n"))


def test_a_version_of_python_is_major_and_minor() -> None:
    assert python_version(host(lambda: "3.11\n")) == "3.11"
