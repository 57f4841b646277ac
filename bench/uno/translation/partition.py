"""Blocks shared out among C functions: together what jumps among itself, and loops with what they call.

A C compiler takes more than linear time for long functions; going over from one to another costs some
nanoseconds, because the working registers go through memory.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from bench.uno.translation.flow import Block, Flow
from bench.uno.translation.instruction import CALLS, CONDITIONS, JUMPS, SKIPS

LARGEST_PART: Final = 300
"""Instructions in a part put together of several; what jumps among itself may be longer."""
_LOOP_WEIGHT: Final = 8


def successors(block: Block) -> Iterator[int]:
    """Where control may go directly, calls aside; a call is taken to return."""
    for i in block.instructions:
        if i.operation in JUMPS or i.operation in CONDITIONS:
            yield i.k
        elif i.operation in SKIPS:
            yield i.next + i.skipped
    if block.instructions[-1].operation not in JUMPS | {"RET", "RETI", "IJMP"}:
        yield block.next


def partition(flow: Flow) -> list[list[Block]]:
    """Every block in one part; parts and blocks in order of address."""
    owner = {address: address for address in flow.blocks}

    def find(address: int) -> int:
        while owner[address] != address:
            owner[address] = owner[owner[address]]
            address = owner[address]
        return address

    for block in flow.blocks.values():
        for target in successors(block):
            if target in owner:
                owner[find(block.address)] = find(target)
    size = Counter[int]()
    for block in flow.blocks.values():
        size[find(block.address)] += len(block.instructions)
    for caller, callee in _calls_by_weight(flow):
        a, b = find(caller), find(callee)
        if a != b and size[a] + size[b] <= LARGEST_PART:
            owner[a] = b
            size[b] += size[a]
    parts = defaultdict(list)
    for block in flow.blocks.values():
        parts[find(block.address)].append(block)
    return _packed(sorted(parts.values(), key=lambda part: part[0].address))


def _calls_by_weight(flow: Flow) -> list[tuple[int, int]]:
    jumps = ((target, block.address) for block in flow.blocks.values() for target in successors(block))
    loops = [(low, high) for low, high in jumps if low <= high]
    weight = Counter[tuple[int, int]]()
    for block in flow.blocks.values():
        last = block.instructions[-1]
        if last.operation in CALLS and last.k in flow.blocks:
            depth = sum(low <= block.address <= high for low, high in loops)
            weight[block.address, last.k] += _LOOP_WEIGHT ** min(depth, 4)
    return [call for call, _ in sorted(weight.items(), key=lambda item: (-item[1], item[0]))]


def _packed(parts: list[list[Block]]) -> list[list[Block]]:
    """Small neighbours together, so that there are few functions."""
    packed: list[list[Block]] = []
    room = 0
    for part in parts:
        size = sum(len(block.instructions) for block in part)
        if size > room:
            packed.append([])
            room = LARGEST_PART
        packed[-1].extend(part)
        room -= size
    return packed
