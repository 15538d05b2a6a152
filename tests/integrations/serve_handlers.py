"""What the replicas of the Ray Serve test do."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from hoist.function.handler import Request
from hoist.function.model import Model


class Adder:
    """Adds up a model's weights, and says in which process and since when; `?wait=SECONDS` takes so long."""

    def load(self, model: Model) -> dict[str, Any]:
        total = sum(float(tensor.double().sum()) for tensor in model.tensors().values())
        return {"total": total, "loaded_at": time.time()}

    async def handle(self, held: dict[str, Any], request: Request) -> dict[str, Any]:
        if "raise" in request.query:
            raise RuntimeError("no such prompt")
        await asyncio.sleep(float(request.query.get("wait", 0)))
        return {"model": request.model, "pid": os.getpid(), "size": len(request.body), **held}
