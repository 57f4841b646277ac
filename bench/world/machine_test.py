from bench.world.machine import Machine
from bench.world.simulation import Simulation


def test_messages_wait_in_line_and_effects_come_when_paid_for() -> None:
    simulation, done = Simulation(), list[tuple[int, str]]()

    def handle(message: str, now_ns: int) -> list[str]:
        return [f"{message} begun at {now_ns}", f"{message} done"]

    machine = Machine[str, str](
        "pi", simulation, handle, lambda _effect: 5, lambda effect: done.append((simulation.now_ns, effect))
    )
    simulation.at(100, "radio", lambda: machine.post("a"))
    simulation.at(103, "radio", lambda: machine.post("b"))
    simulation.at(104, "radio", lambda: machine.post("c"))
    simulation.run(1000)
    assert done == [
        (110, "a begun at 100"),
        (110, "a done"),
        (120, "b begun at 110"),
        (120, "b done"),
        (130, "c begun at 120"),
        (130, "c done"),
    ]
    assert (machine.busy_ns, machine.longest_queue) == (30, 2)


def test_what_is_owed_delays_the_next_message() -> None:
    simulation, done = Simulation(), list[tuple[int, str]]()

    def perform(effect: str) -> None:
        done.append((simulation.now_ns, effect))
        machine.owe(7)

    def handle(message: str, _now_ns: int) -> list[str]:
        return [message]

    machine = Machine[str, str]("pi", simulation, handle, lambda _effect: 5, perform)
    machine.post("a")
    machine.post("b")
    simulation.run(1000)
    assert done == [(5, "a"), (17, "b")]
    assert machine.busy_ns == 24
