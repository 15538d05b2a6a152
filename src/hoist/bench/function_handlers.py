"""Handlers that the function benchmarks serve: their object is all of a model's tensors, every page of them touched."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hoist.bench.contents import touch
from hoist.bench.stages import replace_everywhere
from hoist.function.handler import Request
from hoist.function.model import Model
from hoist.model.blocks import FileBlocks


class Touching:
    """Loads all tensors and reads a byte of each page, as a copy to a device would; answers with how many there are."""

    def load(self, model: Model) -> dict[str, Any]:
        """Their tensors, in memory."""
        found = model.tensors()
        touch(found)
        return found

    def handle(self, held: dict[str, Any], request: Request) -> dict[str, Any]:
        """The least that is an answer from the model."""
        return {"model": request.model, "tensors": len(held)}


class Apart(Touching):
    """The same in a process in which no two files share memory, whatever they have in common: what sharing spares."""

    def __init__(self) -> None:
        # The modules that cut units must be here before the function is replaced in them.
        import hoist.function.opened  # noqa: F401
        from hoist.function.units import Unit, cut_units

        numbers = itertools.count()

        def cut_apart(blocks: FileBlocks, pieces: Iterable[tuple[int, int]]) -> tuple[Unit, ...]:
            own = next(numbers).to_bytes(8, "little")
            return tuple(replace(unit, key=own + unit.key) for unit in cut_units(blocks, pieces))

        replace_everywhere(cut_units, cut_apart)
