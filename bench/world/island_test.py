from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.world.island import Conductor, Island, Letter, LocalHost
from bench.world.process import ProcessError, ProcessHost
from bench.world.trace import Record, Trace

NAMES = ("east", "north", "west")
DELAY_NS = 7
END_NS = 400

Plan = list[tuple[int, str, str]]
"""Who sends to whom, and when; each receiver answers the sender once."""


class Player:
    """An island that sends what it is told to, and answers what it gets."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.island = Island(name)
        self.received = 0
        for other in NAMES:
            self.island.receive_at(other, partial(self._receive, other))
        for t_ns, sender, receiver in plan:
            if sender == name:
                self.island.simulation.at(t_ns, name, partial(self._send, receiver, b"question"))

    def _send(self, receiver: str, payload: bytes) -> None:
        now_ns = self.island.simulation.now_ns
        self.island.trace.record(now_ns, self.island.name, "sent", to=receiver, payload=payload)
        self.island.send(Letter(receiver, self.island.name, now_ns + DELAY_NS, payload))

    def _receive(self, sender: str, payload: bytes) -> None:
        self.received += 1
        now_ns = self.island.simulation.now_ns
        self.island.trace.record(now_ns, self.island.name, "received", sender=sender, payload=payload)
        if payload == b"question":
            self._send(sender, b"answer")

    def harvest(self) -> tuple[str, int]:
        return self.island.name, self.received

    def close(self) -> None:
        pass


def played(hosts: list[LocalHost | ProcessHost]) -> list[Record]:
    trace, records = Trace(), list[Record]()
    trace.subscribe(records.append)
    conductor = Conductor(hosts, DELAY_NS, trace)
    for until_ns in (END_NS // 3, END_NS):
        conductor.play(until_ns)
    trace.settle()
    return records


plans = st.lists(
    st.tuples(st.integers(0, END_NS - 50), st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=25
)


@given(plans)
def test_how_islands_are_spread_over_hosts_changes_nothing(plan: Plan) -> None:
    together = played([LocalHost([Player(name, plan).island for name in NAMES])])
    apart = played([LocalHost([Player(name, plan).island]) for name in reversed(NAMES)])
    assert together == apart
    assert sum(record.kind == "received" for record in together) == 2 * len(plan)
    for record in together:
        if record.kind == "received":
            assert any(
                sent.kind == "sent"
                and sent.source == record.fields["sender"]
                and sent.t_ns == record.t_ns - DELAY_NS
                for sent in together
            )


def test_processes_of_their_own_change_nothing() -> None:
    plan: Plan = [(t_ns, NAMES[t_ns % 3], NAMES[t_ns % 2]) for t_ns in range(0, 300, 11)]
    here = played([LocalHost([Player(name, plan).island for name in NAMES])])
    hosts = [ProcessHost(partial(made, ("east", "west"), plan)), ProcessHost(partial(made, ("north",), plan))]
    try:
        assert played([*hosts]) == here
        harvests = [harvest for host in hosts for harvest in host.harvest()]
    finally:
        for host in hosts:
            host.close()
    assert [name for name, _ in harvests] == ["east", "west", "north"]
    assert sum(received for _, received in harvests) == 2 * len(plan)


def made(names: tuple[str, ...], plan: Plan) -> list[Player]:
    return [Player(name, plan) for name in names]


def fails(error: Exception) -> list[Player]:
    raise error


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (partial(fails, ValueError("no such data set")), ValueError),
        (partial(fails, UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")), ProcessError),
    ],
)
def test_what_building_raises_reaches_the_parent(
    build: Callable[[], list[Player]], expected: type[Exception]
) -> None:
    host = ProcessHost(build)
    try:
        with pytest.raises(expected):
            _ = host.islands
    finally:
        host.close()
