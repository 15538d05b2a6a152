"""One instance: a process of its own that switches from model to model as it is told, and measures each switch.

It reads one JSON command a line and answers each with one line: `python -m hoist.bench.worker`.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import hoist.bench.contents  # noqa: F401 what touches a model must not be imported while it is timed
from hoist.bench.loaders import Switch
from hoist.bench.measuring import measured
from hoist.bench.pulled import LOADERS
from hoist.errors import HoistError


def measure(loader: str, switch: Switch) -> tuple[Any, dict[str, Any]]:
    """Do one switch with that loader; the loaded object, and the figures in bytes and seconds."""
    loaded, figures = measured(lambda: LOADERS[loader](switch))
    return loaded.value, {**figures, "bytes_read": loaded.bytes_read}


def main() -> None:
    """Serve commands until the input ends."""
    held: Any = None
    for line in sys.stdin:
        command = json.loads(line)
        # The old model goes first, as in a server with one GPU; and its pages must not count as the new one's.
        held = None
        gc.collect()
        answer: dict[str, Any] = {}
        if command["do"] == "switch":
            try:
                held, answer = measure(command["loader"], Switch(**command["switch"]))
            except HoistError as error:
                answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    del held


if __name__ == "__main__":
    main()
