"""Which node gets how many instances. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# From this share of a version's bytes on, a node counts as one that has it.
MOSTLY = 0.5


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node: how much of the version its host cache holds (0 to 1), how many instances it has room for (its GPUs or
    cores), and how many it has."""

    name: str
    held_share: float = 0.0
    slots: int = 1
    running: int = 0


def place(count: int, nodes: Sequence[NodeState]) -> list[str]:
    """The node of each of `count` instances.

    Nodes that hold most of the version come first, as long as they have room; then the others that have. Within each of
    the two the emptiest comes first, and of equal ones the one that holds more. Where none has room, all are equal.
    """
    if not nodes:
        raise ValueError("there is no node")
    running = {node.name: node.running for node in nodes}

    def order(node: NodeState) -> tuple[bool, bool, float, float, str]:
        full = running[node.name] >= node.slots
        load = running[node.name] / max(1, node.slots)
        return full, not full and node.held_share < MOSTLY, load, -node.held_share, node.name

    chosen = []
    for _ in range(count):
        best = min(nodes, key=order)
        running[best.name] += 1
        chosen.append(best.name)
    return chosen
