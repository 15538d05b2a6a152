"""What the kernel knows of the tree by number."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from hoist.mount.shelf import Shelf, Shelved
from hoist.mount.tree import Named

ROOT = 1


@dataclass(eq=False, slots=True)
class Node:
    """One folder, file or link. `number` is what the kernel calls it, `ino` what stat shows: the same for as long as its
    content is. `kind` is a file type of stat's, `path` where it is in its shelf's catalogue, or in its version (`shelved`).

    `cached` counts the handles that are open through the page cache of this node: the kernel has no node with such
    handles and others that go past it. `given`: its bytes were put into the kernel's page cache before it asked.
    """

    number: int
    ino: int
    kind: int
    parent: int
    name: str
    size: int
    time_ns: int
    path: str = ""
    named: Named | None = None
    shelf: Shelf | None = None
    shelved: Shelved | None = None
    lookups: int = 0
    cached: int = 0
    given: bool = False
    lock: Lock = field(default_factory=Lock, repr=False)


class Nodes:
    """The nodes that the kernel has looked up and not forgotten, or has open."""

    def __init__(self, root: Node) -> None:
        self._lock = Lock()
        self._known: dict[int, Node] = {root.number: root}

    def get(self, number: int) -> Node | None:
        """The node of that number, if it is known."""
        return self._known.get(number)

    def remember(self, node: Node) -> Node:
        """The kernel is told of a node once more: it, or the one of its number that it knows already."""
        with self._lock:
            found = self._known.setdefault(node.number, node)
            found.lookups += 1
            return found

    def forget(self, number: int, count: int) -> None:
        """The kernel forgets so many of the times that it was told."""
        with self._lock:
            node = self._known.get(number)
            if node is None or number == ROOT:
                return
            node.lookups -= count
            if node.lookups <= 0:
                del self._known[number]

    def __len__(self) -> int:
        return len(self._known)
