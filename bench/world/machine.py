"""A computer of one core in virtual time: one message after the other, each as long as it costs."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from bench.world.simulation import Simulation

Message = TypeVar("Message")
Effect = TypeVar("Effect")


class Machine(Generic[Message, Effect]):
    """Runs a sans-I/O state machine `handle(message, now_ns) -> effects` on a simulated processor.

    The effects of a message come out when the processor has worked off `cost_ns` of them all; messages that
    arrive meanwhile wait in line. `busy_ns` and `longest_queue` tell what was left free.
    """

    def __init__(
        self,
        name: str,
        simulation: Simulation,
        handle: Callable[[Message, int], Iterable[Effect]],
        cost_ns: Callable[[Effect], int],
        perform: Callable[[Effect], None],
    ) -> None:
        self.name = name
        self.busy_ns = 0
        self.longest_queue = 0
        self._simulation = simulation
        self._handle = handle
        self._cost_ns = cost_ns
        self._perform = perform
        self._queue: deque[Message] = deque()
        self._working = False
        self._owed_ns = 0

    def post(self, message: Message) -> None:
        """Hand over a message, now."""
        self._queue.append(message)
        self.longest_queue = max(self.longest_queue, len(self._queue))
        if not self._working:
            self._start()

    def _start(self) -> None:
        self._working = True
        effects = list(self._handle(self._queue.popleft(), self._simulation.now_ns))
        spent_ns = sum(map(self._cost_ns, effects))
        self.busy_ns += spent_ns
        self._simulation.at(self._simulation.now_ns + spent_ns, self.name, lambda: self._finish(effects))

    def owe(self, cost_ns: int) -> None:
        """Keep the processor busy for longer, for costs that show only while an effect is performed."""
        self._owed_ns += cost_ns

    def _finish(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._perform(effect)
        owed_ns, self._owed_ns = self._owed_ns, 0
        self.busy_ns += owed_ns
        self._simulation.at(self._simulation.now_ns + owed_ns, self.name, self._go_on)

    def _go_on(self) -> None:
        self._working = False
        if self._queue:
            self._start()
