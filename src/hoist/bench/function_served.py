"""`hoist serve` in this process, as a benchmark tells it to be: on a free port of this host, with the models of a record."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from hoist.function.service.run import listening, serve
from hoist.function.service.settings import Settings
from hoist.function.states import Budgets


def serve_as_told(told: Mapping[str, Any]) -> None:
    """Serve until a signal: `handler`, `models` (locations by name), `host_bytes`, `device_bytes`, `concurrency`, `device`.

    Says where, once it listens. Nothing is loaded before it is asked for.
    """
    settings = Settings(
        handler=told["handler"],
        models=told["models"],
        host="127.0.0.1",
        port=0,
        device=told.get("device", "cpu"),
        budgets=Budgets(told.get("host_bytes"), told.get("device_bytes")),
        concurrency=told.get("concurrency", 1),
    )
    # Its output is the benchmark's log: what goes wrong is told there.
    logging.basicConfig(level=logging.WARNING)
    with listening(settings) as port:
        sys.stdout.write(f"serving at http://127.0.0.1:{port.getsockname()[1]}\n")
        sys.stdout.flush()
        serve(settings, port)
