"""What a run says to the bench's four questions: plain sentences, made of the result's own figures."""

from collections.abc import Sequence

from bench.capacity.result import (
    Answer,
    Capacity,
    Figure,
    FreeResource,
    ProtectionCost,
    Question,
    Tier,
    Trial,
)
from bench.capacity.search import PPM
from ledger.effects import Operation

_CARRIED = "The Pi carries the DAG"
_NOT_CARRIED = "The Pi does not carry the DAG within the rig's criteria"
_NO_MEMORY = "The memory of the Pi is not modelled on the virtual seat."
_UNSEEN = "Time on air was not measured, nor were CPU and SRAM of real Unos."


def answers_of(
    trial: Trial,
    free: Sequence[FreeResource],
    protection: Sequence[ProtectionCost],
    capacities: Sequence[Capacity],
) -> tuple[Answer, ...]:
    """The four answers, in the order of the questions."""
    return (_carrier(trial), _free(free), _protection(protection), _fan_in(capacities))


def _carrier(trial: Trial) -> Answer:
    readings = trial.readings
    delivered = readings.in_server_ledger / max(1, readings.injected)
    busy = 0.0 if trial.pi is None else trial.pi.busy_ppm / PPM
    return Answer(
        Question.CARRIER,
        f"{_CARRIED if trial.holds else _NOT_CARRIED}: for {trial.unos_per_pi} Unos of "
        f"{trial.sensors_per_uno} sensors each its gateway is busy {busy:.1%} of the time, and "
        f"{delivered:.2%} of the readings reach the server. The Uno, in profile collect, seals and "
        "repeats its frames, and trusts its gateway.",
        (
            Figure("delivered", round(delivered, 6), "share of readings", readings.label),
            *([] if trial.pi is None else [Figure("Pi busy", busy, "share of one core", trial.pi.label)]),
        ),
        ("Profiles sign and node, in which the Uno signs or keeps its own chain, are not measured here.",),
    )


def _free(free: Sequence[FreeResource]) -> Answer:
    shares = [(f"{row.tier.value} {row.resource}", 1 - row.used / row.total, row.label) for row in free]
    scarce = sorted(shares, key=lambda share: share[1])[:3]
    named = ", ".join(f"{name} {share:.1%}" for name, share, _ in scarce)
    return Answer(
        Question.FREE,
        f"While data flows, the scarcest resources still have free: {named}.",
        tuple(Figure(f"{name} free", round(share, 6), "share", label) for name, share, label in shares),
        (
            *(() if any(row.tier is Tier.PI and row.unit == "B" for row in free) else (_NO_MEMORY,)),
            "The wear of the Pi's card is not judged.",
            *(() if any(row.tier is Tier.RADIO for row in free) else (_UNSEEN,)),
        ),
    )


def _protection(costs: Sequence[ProtectionCost]) -> Answer:
    by_name = {(cost.tier, cost.operation, cost.unit): cost for cost in costs}
    seal_cycles = by_name.get((Tier.UNO, "Ascon-AEAD128 seal", "cycles"))
    seal_ms = by_name.get((Tier.UNO, "Ascon-AEAD128 seal", "ms"))
    sealing = "" if seal_cycles is None or seal_ms is None else _sealing(seal_cycles, seal_ms)
    added = by_name[Tier.RADIO, "header and tag", "B"]
    opened = by_name[Tier.PI, Operation.ASCON_OPEN, "ms"]
    signed = by_name[Tier.PI, Operation.ED25519_SIGN, "ms"]
    return Answer(
        Question.PROTECTION,
        f"Sealing a frame {sealing}adds {added.value} B on the air; "
        f"opening it takes the Pi {opened.value} ms, signing a block {signed.value} ms.",
        tuple(
            Figure(f"{cost.operation} per {cost.per}", cost.value, cost.unit, cost.label) for cost in costs
        ),
        (
            "Signatures on the Uno belong to the profiles sign and node.",
            *(() if sealing else ("What sealing takes the Uno was not measured.",)),
        ),
    )


def _sealing(cycles: ProtectionCost, milliseconds: ProtectionCost) -> str:
    return f"takes the Uno {cycles.value} cycles ({milliseconds.value} ms) and "


def _fan_in(capacities: Sequence[Capacity]) -> Answer:
    return Answer(
        Question.FAN_IN,
        " ".join(map(_held, capacities)) or "No fan-in was searched in this run.",
        tuple(
            Figure(
                f"largest {capacity.axis.value} that held",
                capacity.largest_held,
                capacity.unit,
                capacity.label,
            )
            for capacity in capacities
            if capacity.largest_held is not None
        ),
        ("Branches per server are not searched on the virtual rig.",),
    )


def _held(capacity: Capacity) -> str:
    if not capacity.settled:
        return f"The search for {capacity.unit} ended before both sides were confirmed."
    held = f"{capacity.largest_held or 'None'} {capacity.unit} held"
    if capacity.smallest_failed is None:
        return f"{held}, which is as far as the search goes: {capacity.ceiling_reason}."
    return f"{held} and {capacity.smallest_failed} did not, bound by {capacity.bound_by}."
