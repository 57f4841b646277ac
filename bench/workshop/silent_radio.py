"""An SX1278 on a medium where nobody else is: what the Uno sends is told, and nothing ever answers."""

from collections.abc import Callable

from bench.radio.medium import Medium
from bench.radio.propagation import FixedLinks
from bench.radio.sx1278 import Sx1278
from bench.world.simulation import NS_PER_MS, Simulation
from bench.world.streams import Stream
from bench.world.trace import Record, Trace

_NAME = "uno"
_LOSS_CDB = 9000


def silent_radio(simulation: Simulation, tell: Callable[[str], None]) -> tuple[Sx1278, Trace]:
    """The chip, and the trace to settle now and then so that its doings are told."""
    trace = Trace()
    trace.subscribe(lambda record: _tell(record, tell))
    medium = Medium(Stream(1, "workshop"), trace, simulation, FixedLinks(_LOSS_CDB))
    return Sx1278(_NAME, medium, simulation), trace


def _tell(record: Record, tell: Callable[[str], None]) -> None:
    match record.kind:
        case "transmission":
            end_ns = record.fields["end_ns"]
            assert isinstance(end_ns, int), "a transmission ends at a time"
            tell(f"radio: sends for {(end_ns - record.t_ns) / NS_PER_MS:.3f} ms")
        case "radio_misuse":
            tell(f"radio: set up wrongly: {record.fields['detail']!s}")
        case _:
            pass
