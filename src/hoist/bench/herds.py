"""Herds, as the benchmark sees them: instances that a process with everything imported starts all at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hoist.bench.herd_task import Task
from hoist.bench.nursery import Nursery

_END_SECONDS = 5.0


class Herds(Nursery):
    """Starts herds, for the length of a `with` block. Raises LocalError where its process does not start."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__("hoist.bench.herd_nursery", "instances", environ, _END_SECONDS)

    def run(self, tasks: Sequence[Task], patience: float, *, learn: bool = False) -> list[dict[str, Any]]:
        """Start an instance for each task, all at one moment; a result each: `seconds` and figures, or an `error`.

        Those that have not loaded after `patience` seconds are ended. `learn`: what they imported is there for all later
        ones. Raises LocalError when the nursery has died.
        """
        command = {"tasks": [task.to_json() for task in tasks], "patience": patience, "learn": learn}
        results = self.ask(command)["results"]
        assert isinstance(results, list) and len(results) == len(tasks)
        return results
