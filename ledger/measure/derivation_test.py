from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.effects import Operation
from ledger.measure.derivation import (
    ALONE,
    LEFT_OF,
    RADIO,
    DerivationError,
    composites,
    left_for,
    operation_costs,
)
from ledger.measure.timing import Batch

COSTS = st.fixed_dictionaries({operation: st.integers(50, 10_000_000) for operation in (*ALONE, *LEFT_OF)})
CALLS = 8


def made_up(costs: dict[Operation, int], disturbance_ns: int = 0) -> dict[str, list[Batch]]:
    """Batches as they would be if every operation cost exactly this."""
    spent = {
        "frame_stored": {"blake2b": 1, "ascon_open": 1, "ascon_tag": 1, "commit": 1},
        "block_64_sealed": {"ed25519_sign": 1, "block_encode": 6000, "commit": 1, "blake2b": 131},
        "block_64_admitted": {"ed25519_verify": 1, "block_decode": 6000, "commit": 1, "blake2b": 130},
    }
    batches = {
        operation.value: [Batch(costs[operation] * CALLS, costs[operation] * CALLS, CALLS, {})] * 3
        for operation in ALONE
    }
    for name, counts in spent.items():
        by_operation = {Operation(operation): count * CALLS for operation, count in counts.items()}
        total_ns = sum(costs[operation] * count for operation, count in by_operation.items())
        batches[name] = [Batch(total_ns + disturbance_ns, total_ns, CALLS, by_operation)] * 3
    return batches


@given(COSTS)
def test_costs_that_made_the_batches_are_found_again(costs: dict[Operation, int]) -> None:
    found = operation_costs(made_up(costs))
    assert {operation: round(cost.cost_ns.median) for operation, cost in found.items()} == costs
    assert found[Operation.COMMIT].calls == 3 * CALLS
    assert found[Operation.BLOCK_ENCODE].calls == 3 * CALLS * 6000


@given(COSTS, st.integers(0, 1_000_000))
def test_what_is_charged_for_a_source_of_costs_is_what_it_took(
    costs: dict[Operation, int], disturbance_ns: int
) -> None:
    batches = made_up(costs, disturbance_ns)
    found = {operation: cost.cost_ns.median for operation, cost in operation_costs(batches).items()}
    whole = composites(batches, found)
    assert set(whole) == {"frame_stored", "block_64_sealed", "block_64_admitted"}
    for composite in whole.values():
        assert composite.charged_ns == pytest.approx(composite.cpu_ns.median)


def test_every_operation_has_a_way_to_its_cost() -> None:
    assert {*ALONE, *LEFT_OF, *RADIO} == set(Operation)


def test_a_cost_below_nothing_is_no_cost() -> None:
    batch = Batch(100, 100, 1, {Operation.COMMIT: 1, Operation.BLAKE2B: 2})
    assert left_for(Operation.COMMIT, batch, {Operation.BLAKE2B: 20.0}) == 60
    with pytest.raises(DerivationError, match=r"commit: the work around it took 100 ns.*disturbed"):
        left_for(Operation.COMMIT, batch, {Operation.BLAKE2B: 50.0})
    with pytest.raises(DerivationError, match=r"ed25519_sign: .* spends none"):
        left_for(Operation.ED25519_SIGN, batch, {})
